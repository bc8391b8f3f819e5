"""Dynamic evaluation against a plain NumPy loop: forward, backward and every update by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, random_params
from jaxrnn.cells.elman import elman
from jaxrnn.compose import language_model
from jaxrnn.data.chunks import make_streams, number_of_chunks, read
from jaxrnn.dynamic import Adaptation, make_dynamic_evaluate, make_mean_squares
from jaxrnn.errors import InputError
from jaxrnn.evaluation import make_evaluate
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import softmax_cross_entropy, squared_error
from jaxrnn.stepwise import from_step

V, B = 5, 2
IDS = np.random.default_rng(0).integers(V, size=40)
TEXT = make_streams(IDS, B, 4, drop_tail=False)
CHUNKS = [read(TEXT, index) for index in range(number_of_chunks(TEXT))]  # 39 targets in 5 chunks, one place of padding
CELL = language_model(elman(3, 4), V)
PARAMS, CARRY = random_params(1, CELL), CELL.initial_carry((B,))
ESTIMATOR = bptt(CELL, softmax_cross_entropy)
evaluate, mean_squares = make_dynamic_evaluate(ESTIMATOR), make_mean_squares(ESTIMATOR)
BY_HAND = reference.elman()


def plain_gradients(params, carry, chunk):
    """A chunk's summed loss, the gradient of its mean, and the carry after it; padding comes last in a row."""
    loss, grads = reference.language_model(BY_HAND, params, carry, *map(np.asarray, chunk))
    carry, _, _ = reference.unroll(BY_HAND, params["core"], carry, params["embedding"]["w"][chunk.inputs])
    return loss, jax.tree.map(lambda g: g / chunk.weight.sum(), grads), carry


def plain_dynamic(adaptation, squares):
    local, carry, total = PARAMS, (np.zeros((B, 4)),), 0.0
    for chunk in CHUNKS:
        loss, grads, carry = plain_gradients(local, carry, chunk)
        total += loss
        if squares is None:
            local = jax.tree.map(
                lambda w, g, w0: w - adaptation.rate * g + adaptation.decay * (w0 - w), local, grads, PARAMS
            )
        else:
            roots = jax.tree.map(np.sqrt, squares)
            mean = np.mean(np.concatenate([root.ravel() for root in jax.tree.leaves(roots)]))
            local = jax.tree.map(
                lambda w, g, w0, root, mean=mean: (
                    w
                    - adaptation.rate * g / (root + adaptation.epsilon)
                    + np.minimum(adaptation.decay * root / mean, 1) * (w0 - w)
                ),
                *(local, grads, PARAMS, roots),
            )
    return total


def plain_squares():
    carry, squares = (np.zeros((B, 4)),), []
    for chunk in CHUNKS:
        _, grads, carry = plain_gradients(PARAMS, carry, chunk)
        squares.append(jax.tree.map(np.square, grads))
    return jax.tree.map(lambda *parts: np.mean(parts, axis=0), *squares)


def test_mean_squares_are_those_of_the_plain_loop():
    assert_close(mean_squares(PARAMS, CARRY, CHUNKS), plain_squares())


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("adaptation", [Adaptation(0.3), Adaptation(0.2, 0.1), Adaptation(0.05, 0.7, 0.5)])
def test_a_score_is_that_of_the_plain_loop(adaptation, scaled):
    squares = plain_squares() if scaled else None
    result = evaluate(PARAMS, CARRY, CHUNKS, adaptation, squares)
    np.testing.assert_allclose(result.score.loss_sum, plain_dynamic(adaptation, squares), rtol=1e-12)
    assert result.score.weight == result.protocol.targets == len(IDS) - 1
    assert result.protocol.tail == "1 places of padding"
    assert "learn from every 4 steps after their score" in result.protocol.carry


def test_way_back_goes_no_further_than_the_trained_parameters():
    """With a decay of 1 and no step every chunk is scored by them; so it is without a step at all."""
    plain = make_evaluate(CELL, softmax_cross_entropy)(PARAMS, CARRY, CHUNKS).score
    for adaptation in (Adaptation(0.0, 1.0), Adaptation(0.0)):
        for squares in (None, plain_squares()):
            score = evaluate(PARAMS, CARRY, CHUNKS, adaptation, squares).score
            np.testing.assert_allclose(score.nats, plain.nats, rtol=1e-14)


def test_the_first_chunk_is_scored_before_anything_is_learned_from_it():
    plain = make_evaluate(CELL, softmax_cross_entropy)(PARAMS, CARRY, CHUNKS[:1]).score
    np.testing.assert_allclose(evaluate(PARAMS, CARRY, CHUNKS[:1], Adaptation(5.0)).score.nats, plain.nats, rtol=1e-14)
    before = jax.tree.map(np.copy, PARAMS)
    evaluate(PARAMS, CARRY, CHUNKS, Adaptation(5.0))
    jax.tree.map(np.testing.assert_array_equal, before, PARAMS)


@pytest.mark.parametrize(("field", "value"), [("rate", -1.0), ("rate", float("nan")), ("decay", 1.5), ("epsilon", 0.0)])
def test_numbers_that_make_no_sense_are_refused(field, value):
    with pytest.raises(InputError, match=f"dynamic evaluation: {field} is"):
        evaluate(PARAMS, CARRY, CHUNKS, Adaptation(0.1)._replace(**{field: value}))


def test_no_text_is_refused():
    for call in (lambda: evaluate(PARAMS, CARRY, [], Adaptation(0.1)), lambda: mean_squares(PARAMS, CARRY, [])):
        with pytest.raises(InputError, match="no text to learn from"):
            call()


def test_gradients_that_were_always_nothing_leave_the_score_finite():
    nothing = jax.tree.map(np.zeros_like, PARAMS)
    assert np.isfinite(evaluate(PARAMS, CARRY, CHUNKS, Adaptation(1e-3, 0.1), nothing).score.nats)


def test_mean_squares_of_narrow_floats_are_summed_in_wider_ones():
    """401 squares of 4, each 2^2: in bfloat16 the sum would stop."""
    zero = np.zeros((), jnp.bfloat16)
    cell = from_step(
        lambda key: {"b": zero}, lambda shape, key=None: (), lambda params, carry, x: (carry, params["b"] + x)
    )
    chunk = Chunk(np.full((1, 1, 1), zero), np.full((1, 1, 1), zero - 1), np.ones((1, 1), np.float32))
    assert make_mean_squares(bptt(cell, squared_error))(cell.init(None), (), [chunk] * 401)["b"] == 4
