"""Random truncation: the mean over *all* outcomes is the exact gradient, and without the factor it is not."""

from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params
from jaxrnn.cells import elman
from jaxrnn.gradients import Chunk, bptt, geometric, heavy_tailed, randomized_bptt, truncated_bptt
from jaxrnn.gradients.randomized import crossing_weights, uniform_draws
from jaxrnn.losses import squared_error

STEPS, EDGES, ROWS = 7, 6, 1
LAWS = {"geometric": geometric(0.4), "heavy_tailed": heavy_tailed(1.7, exponent=3.5)}
CELL = elman(2, 3)
PARAMS = random_params(0, CELL)
CHUNK = random_like(1, Chunk(np.zeros((STEPS, ROWS, 2)), np.zeros((STEPS, ROWS, 3)), np.zeros((STEPS, ROWS))))


def estimate(estimator, chunk=CHUNK, key=3):
    state = estimator.init(jax.random.key(key), PARAMS, CELL.initial_carry(chunk.weight.shape[1]), chunk)
    return jax.jit(estimator.estimate)(PARAMS, state, chunk)


def probability(law, cuts):
    """Of one pattern of cuts, by the definition, in a Python loop."""
    p, since = 1.0, 1
    for cut in cuts:
        c = float(law(jnp.array([since]))[0])
        p, since = (p * c, 1) if cut else (p * (1 - c), since + 1)
    return p


@cache
def all_outcomes(law):
    """The probability of each pattern of cuts, and the gradient that it leads to."""

    def of_pattern(cuts):
        draw = lambda key, edges: jnp.where(cuts, 0.0, 1.0)[:, None]  # noqa: E731
        estimator = randomized_bptt(CELL, squared_error, segment_length=1, truncation=LAWS[law], draw=draw)
        state = estimator.init(jax.random.key(0), PARAMS, CELL.initial_carry(ROWS), CHUNK)
        return estimator.estimate(PARAMS, state, CHUNK)[0].grads

    patterns = list(product((False, True), repeat=EDGES))
    chances = np.array([probability(LAWS[law], cuts) for cuts in patterns])
    return chances, jax.jit(jax.vmap(of_pattern))(jnp.array(patterns))


@cache
def exact():
    return estimate(bptt(CELL, squared_error))[0].grads


@pytest.mark.parametrize("law", LAWS)
def test_the_mean_over_all_outcomes_is_the_exact_gradient(law):
    chances, grads = all_outcomes(law)
    assert abs(chances.sum() - 1) < 1e-14
    mean = jax.tree.map(lambda g: jnp.tensordot(chances, g, axes=1), grads)
    assert_close(mean, exact())
    spread = jnp.std(grads["w_hh"], axis=0).max()
    assert spread > 0.1  # the outcomes differ: this mean is a mean of something


def test_without_the_factor_the_mean_is_wrong(monkeypatch):
    """The same cuts with weight 1 in the place of 1 / (1 - c): what random chunk lengths alone do."""
    unweighted = lambda truncation, draws: (crossing_weights(truncation, draws) > 0).astype(float)  # noqa: E731
    monkeypatch.setattr("jaxrnn.gradients.randomized.crossing_weights", unweighted)
    chances, grads = all_outcomes.__wrapped__("geometric")
    mean = jnp.tensordot(chances, grads["w_hh"], axes=1)
    assert jnp.linalg.norm(mean - exact()["w_hh"]) > 0.05 * jnp.linalg.norm(exact()["w_hh"])


def test_the_limits_are_full_and_truncated_bptt():
    full = randomized_bptt(CELL, squared_error, segment_length=2, truncation=geometric(0.0))
    assert_close(estimate(full)[0].grads, exact())
    # With this seed and rate no boundary is crossed; what is left is truncation.
    cut = randomized_bptt(CELL, squared_error, segment_length=2, truncation=geometric(1 - 1e-9))
    assert_close(estimate(cut)[0], estimate(truncated_bptt(CELL, squared_error, horizon=2))[0])
    always = randomized_bptt(CELL, squared_error, segment_length=2, truncation=lambda since: jnp.ones(since.shape))
    assert_close(estimate(always)[0], estimate(truncated_bptt(CELL, squared_error, horizon=2))[0])


def test_sampling_finds_the_exact_gradient():
    """4,096 rows, alike but for their cuts, are 4,096 independent draws; each entry's mean within 5 standard errors."""
    draws, batch = 4096, 64
    law = heavy_tailed(3.0)
    rows = jax.tree.map(lambda a: np.broadcast_to(a, (STEPS, batch, *a.shape[2:])), CHUNK)
    estimator = randomized_bptt(CELL, squared_error, segment_length=1, truncation=law)

    def once(key):
        state = estimator.init(key, PARAMS, CELL.initial_carry(batch), rows)
        return estimator.estimate(PARAMS, state, rows)[0].grads["w_hh"] / batch

    samples = jax.jit(lambda keys: jax.lax.map(once, keys))(jax.random.split(jax.random.key(5), draws // batch))
    error = jnp.std(samples, axis=0, ddof=1) / jnp.sqrt(draws / batch)
    z = (jnp.mean(samples, axis=0) - exact()["w_hh"]) / error
    assert jnp.all(error > 0) and jnp.max(jnp.abs(z)) < 5


def test_rows_are_cut_by_themselves_and_anew_at_each_call():
    keys = jax.random.split(jax.random.key(0), 3)
    draws = uniform_draws(keys, EDGES)
    assert draws.shape == (EDGES, 3)
    assert_close(draws[:, 1:2], uniform_draws(keys[1:2], EDGES), tolerance=0)  # a batch split over devices
    assert len(set(np.asarray(draws).ravel().tolist())) == draws.size
    estimator = randomized_bptt(CELL, squared_error, segment_length=1, truncation=LAWS["geometric"])
    first, state = estimate(estimator)
    again = estimator.estimate(PARAMS, state._replace(carry=CELL.initial_carry(ROWS)), CHUNK)[0]
    assert float(first.loss) == pytest.approx(float(again.loss), rel=1e-14)
    assert not np.allclose(first.grads["w_hh"], again.grads["w_hh"])


def test_heavy_tailed_lengths_have_the_mean_asked_for():
    """By the product of the probabilities of no cut, summed up to where the tail is negligible (exponent 6)."""
    since = jnp.arange(1, 200_001)
    survival = jnp.cumprod(1 - heavy_tailed(3.0, exponent=6.0)(since))
    assert float(1 + survival.sum()) == pytest.approx(3.0, rel=1e-12)


def test_a_law_may_be_a_plain_number():
    draws = jnp.array([[0.3], [0.7]])
    assert_close(crossing_weights(lambda since: 0.5, draws), crossing_weights(geometric(0.5), draws))


def test_rows_are_cut_each_by_a_key_of_its_own():
    chunk = Chunk(np.zeros((2, 8, 2)), np.zeros((2, 8, 3)), np.zeros((2, 8)))
    cell = elman(2, 3)
    estimator = randomized_bptt(cell, squared_error, segment_length=1, truncation=geometric(0.4))
    state = estimator.init(jax.random.key(3), {}, cell.initial_carry(8), chunk)
    assert len(np.unique(jax.random.key_data(state.key), axis=0)) == 8


def test_memory_grows_no_faster_than_the_square_root():
    """Segments are computed again: 16 times the steps in 4 times the memory, as the compiler says."""

    def temporaries(length):
        steps = length**2
        chunk = Chunk(*(jax.ShapeDtypeStruct((steps, ROWS, *more), float) for more in ((2,), (3,), ())))
        estimator = randomized_bptt(CELL, squared_error, segment_length=length, truncation=geometric(0.5))
        state = jax.eval_shape(estimator.init, jax.random.key(0), PARAMS, CELL.initial_carry(ROWS), chunk)
        program = jax.jit(estimator.estimate).lower(PARAMS, state, chunk).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporaries(2**7) <= 4 * temporaries(2**5)
