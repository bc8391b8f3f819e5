"""Embedding, core and readout, tied or not, against the same by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, count_of, random_like, random_params
from jaxrnn import training
from jaxrnn.cells import lstm
from jaxrnn.compose import Noise, dense, dropout, language_model
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.optimizers import optimizer

STEPS, ROWS, HIDDEN, VOCABULARY = 6, 2, 4, 7
RNG = np.random.default_rng(0)
IDS, TARGETS = RNG.integers(0, VOCABULARY, (2, STEPS, ROWS))
WEIGHT = RNG.random((STEPS, ROWS)) * (RNG.random((STEPS, ROWS)) < 0.7)


def estimated(model, params, carry):
    estimator = bptt(model, softmax_cross_entropy)
    state = estimator.init(None, params, carry, None)
    return jax.jit(lambda: estimator.estimate(params, state, Chunk(IDS, TARGETS, WEIGHT))[0])()


@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
def test_loss_and_gradient_are_those_by_hand(tie):
    """Tied: the table is the readout's matrix as well, so its gradient is the sum of those of both uses."""
    model = language_model(lstm(HIDDEN, HIDDEN), VOCABULARY, tie=tie)
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS))
    apart = params | {"readout": params["readout"] | ({"w": params["embedding"]["w"].T} if tie else {})}
    loss, grads = reference.language_model(reference.lstm(), apart, carry[1], IDS, TARGETS, WEIGHT)
    if tie:
        grads["embedding"]["w"] += grads["readout"].pop("w").T
    found = estimated(model, params, carry)
    assert_close((found.loss, found.weight, found.grads), (np.asarray(loss), np.asarray(WEIGHT.sum()), grads))


def test_a_tied_table_is_one_array_and_counts_once():
    tied, apart = (language_model(lstm(HIDDEN, HIDDEN), VOCABULARY, tie=tie) for tie in (True, False))
    params = [model.init(jax.random.key(0)) for model in (tied, apart)]
    assert "w" not in params[0]["readout"]
    assert count_of(params[1]) - count_of(params[0]) == HIDDEN * VOCABULARY
    carry, chunk = tied.initial_carry(ROWS), Chunk(IDS, TARGETS, WEIGHT)
    rule, sgd = bptt(tied, softmax_cross_entropy), optimizer("sgd", 0.1)
    state = training.init(rule, sgd, jax.random.key(1), params[0], carry, chunk)
    _, metrics = jax.jit(partial(training.update, rule, sgd))(state, jax.tree.map(lambda leaf: leaf[None], chunk))
    grads = estimated(tied, params[0], carry).grads
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(grads))) / WEIGHT.sum()
    assert_close(metrics.gradient_norm, jnp.asarray(norm))  # so a global norm counts it once too


def test_layers_sit_below_and_above_the_core():
    model = language_model(lstm(HIDDEN, HIDDEN), VOCABULARY, below=dropout(0.5), above=dropout(0.5))
    params = random_params(1, model)
    noisy, quiet = model.initial_carry(ROWS, jax.random.key(0)), model.initial_carry(ROWS)
    assert [isinstance(carry, Noise) for carry in noisy] == [False, True, False, True, False]
    run = jax.jit(lambda carry: model.unroll(params, carry, IDS)[1])
    assert np.abs(run(noisy) - run(quiet)).max() > 1e-3
    bare = language_model(lstm(HIDDEN, HIDDEN), VOCABULARY)
    assert_close(run(quiet), bare.unroll(params, (quiet[0], quiet[2], quiet[4]), IDS)[1])


def test_the_readout_takes_what_the_layer_above_the_core_gives():
    """So a narrower one lets the weights be tied."""
    for tie in (False, True):
        model = language_model(lstm(3, HIDDEN), VOCABULARY, above=dense(HIDDEN, 3), tie=tie)
        params = jax.eval_shape(model.init, jax.random.key(0))
        _, logits = jax.eval_shape(model.unroll, params, model.initial_carry(ROWS), IDS)
        assert logits.shape == (STEPS, ROWS, VOCABULARY)
        assert tie or params["readout"]["w"].shape == (3, VOCABULARY)


def test_cores_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="tied weights need equal sizes, but the core takes 3 and the readout 4"):
        language_model(lstm(3, 4), VOCABULARY, tie=True)
    with pytest.raises(InputError, match="tied weights need equal sizes, but the core takes 4 and the readout 3"):
        language_model(lstm(4, 4), VOCABULARY, above=dense(4, 3), tie=True)
    with pytest.raises(InputError, match="the core needs fixed sizes"):
        language_model(dropout(0.5), VOCABULARY)


def test_a_tied_table_starts_as_small_as_a_readout():
    table = language_model(lstm(25, 25), 400, tie=True).init(jax.random.key(0))["embedding"]["w"]
    assert np.std(table) == pytest.approx(1 / 5, rel=0.05)  # 10,000 normal numbers
