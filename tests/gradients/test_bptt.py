"""Full BPTT over a chunk: by hand, by differences, over long times; its weights; what the carry hands on."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, random_like, random_params, scanned
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.compose import stack
from jaxrnn.gradients import Chunk, bptt, checkpointed_bptt, truncated_bptt
from jaxrnn.losses import squared_error
from jaxrnn.marks import within_lengths
from jaxrnn.types import Marked

STEPS, ROWS, INPUT, HIDDEN = 8, 3, 2, 4
CELLS = {
    "elman": (elman(INPUT, HIDDEN), reference.elman()),
    "lstm": (lstm(INPUT, HIDDEN), reference.lstm()),
    "gru_reset_after": (gru(INPUT, HIDDEN), reference.gru_reset_after()),
    "gru_reset_before": (gru(INPUT, HIDDEN, reset_after=False), reference.gru_reset_before()),
}
DEEP = stack(gru(INPUT, HIDDEN), lstm(HIDDEN, HIDDEN))
PARAMS, CARRY = random_params(0, DEEP), random_like(1, DEEP.initial_carry(ROWS))


def chunk_of(steps, rows=ROWS):
    rng = np.random.default_rng(2)
    weight = rng.random((steps, rows)) * (rng.random((steps, rows)) < 0.7)
    return Chunk(rng.normal(size=(steps, rows, INPUT)), rng.normal(size=(steps, rows, HIDDEN)), weight)


CHUNK = chunk_of(STEPS)
ESTIMATOR = bptt(DEEP, squared_error)
START = ESTIMATOR.init(jax.random.key(0), PARAMS, CARRY, CHUNK)
estimate = jax.jit(ESTIMATOR.estimate)


@pytest.mark.parametrize("name", CELLS)
def test_loss_gradient_and_carry_are_those_by_hand(name):
    cell, by_hand = CELLS[name]
    params = random_params(3, cell)
    states = random_like(4, (np.zeros((ROWS, HIDDEN)),) * by_hand.states)
    carry = states if by_hand.states > 1 else states[0]
    estimator = bptt(cell, squared_error)
    found, state = jax.jit(estimator.estimate)(params, estimator.init(None, params, carry, CHUNK), CHUNK)

    last, ys, tape = reference.unroll(by_hand, params, states, CHUNK.inputs)
    loss, d_ys = reference.squared_error(ys, CHUNK.targets, CHUNK.weight)
    grads, _, _ = reference.bptt(by_hand, params, tape, [np.zeros_like(s) for s in states], d_ys)
    assert_close((found.loss, found.weight), (np.asarray(loss), np.asarray(CHUNK.weight.sum())))
    assert_close((found.grads, state.carry), (grads, last if by_hand.states > 1 else last[0]))


def test_the_gradient_is_the_slope_of_the_loss():
    """Along a random direction, to what a central difference of width 1e-5 can tell."""
    direction = random_like(5, PARAMS)
    above, below = (
        estimate(jax.tree.map(lambda p, v, w=width: p + w * v, PARAMS, direction), START, CHUNK)[0].loss
        for width in (1e-5, -1e-5)
    )
    inner = jax.tree.map(lambda g, v: jnp.sum(g * v), estimate(PARAMS, START, CHUNK)[0].grads, direction)
    np.testing.assert_allclose(sum(jax.tree.leaves(inner)), (above - below) / 2e-5, rtol=1e-8)


@cache
def slopes_over_2000_steps():
    """A long chunk, and three directions with the slope of its loss along each, by `jvp` of the scan of the step."""
    chunk = chunk_of(2000)

    def loss(params):
        _, ys = scanned(DEEP)(params, CARRY, chunk.inputs)
        return jnp.sum(chunk.weight * squared_error(ys, chunk.targets))

    along = jax.jit(lambda direction: jax.jvp(loss, (PARAMS,), (direction,))[1])
    directions = [random_like(seed, PARAMS) for seed in range(3)]
    return chunk, [(direction, along(direction)) for direction in directions]


@pytest.mark.parametrize("estimator", [ESTIMATOR, checkpointed_bptt(DEEP, squared_error, segment_length=45)])
def test_over_2000_steps_it_is_the_derivative_forward_in_time(estimator):
    """Another mode, another path, constant memory.

    To 1e-10: a sum over 2,000 steps, taken in another order, loses a digit or two of its sixteen.
    """
    chunk, slopes = slopes_over_2000_steps()
    grads = jax.jit(estimator.estimate)(PARAMS, START, chunk)[0].grads
    for direction, slope in slopes:
        inner = sum(jnp.sum(g * v) for g, v in zip(*map(jax.tree.leaves, (grads, direction)), strict=True))
        assert_close(inner, slope, tolerance=1e-10)


# What goes from chunk to chunk.


def test_chunk_by_chunk_the_forward_pass_is_that_of_the_whole():
    whole, last = estimate(PARAMS, START, CHUNK)
    state, total = START, 0.0
    for half in (jax.tree.map(lambda a: a[:4], CHUNK), jax.tree.map(lambda a: a[4:], CHUNK)):
        part, state = estimate(PARAMS, state, half)
        total += part.loss
    assert_close((total, state.carry), (whole.loss, last.carry))


def test_the_carry_matters():
    """Zeroing it between chunks, as a trainer that loses it would, changes the loss and the gradient."""
    _, state = estimate(PARAMS, START, CHUNK)
    carried, _ = estimate(PARAMS, state, CHUNK)
    lost, _ = estimate(PARAMS, state._replace(carry=jax.tree.map(jnp.zeros_like, state.carry)), CHUNK)
    assert abs(carried.loss / lost.loss - 1) > 1e-3
    with pytest.raises(AssertionError):
        assert_close(carried.grads, lost.grads, tolerance=1e-3)


def test_rows_are_independent():
    """Permuted rows give the same sums, and the carry with its rows permuted."""
    order = np.array([2, 0, 1])
    there, state = estimate(PARAMS, START, CHUNK)
    permuted = jax.tree.map(lambda a: a[:, order], CHUNK)
    start = jax.tree.map(lambda a: a[order], START)
    back, permuted_state = estimate(PARAMS, start, permuted)
    assert_close(back, there)
    assert_close(permuted_state.carry, jax.tree.map(lambda a: a[order], state.carry), tolerance=1e-15)


# Weights.


def test_the_loss_of_a_part_is_its_weights():
    """Weights that are 0 outside a part give the loss and gradient of that part alone, with all that led to it."""
    weight = np.where((np.arange(STEPS) >= 5)[:, None] & (np.arange(ROWS) != 1), 1.0, 0.0)
    found, _ = estimate(PARAMS, START, CHUNK._replace(weight=weight))

    def part(params):
        _, ys = scanned(DEEP)(params, CARRY, CHUNK.inputs)
        return jnp.sum(squared_error(ys[5:], CHUNK.targets[5:])[:, np.array([0, 2])])

    assert_close((found.loss, found.grads), jax.jit(jax.value_and_grad(part))(PARAMS))
    assert float(found.weight) == 3 * 2


def test_weights_are_factors():
    once, _ = estimate(PARAMS, START, CHUNK)
    thrice, _ = estimate(PARAMS, START, CHUNK._replace(weight=3 * CHUNK.weight))
    assert_close(thrice, jax.tree.map(lambda a: 3 * a, once))
    for dtype in (bool, np.int32):
        ones = np.ones((STEPS, ROWS))
        same = [estimate(PARAMS, START, CHUNK._replace(weight=w)) for w in (ones, ones.astype(dtype))]
        assert_close(same[1], same[0])


def distance(outputs, targets):
    """A loss whose slope is infinite where it is 0, as it is on padding: outputs are zero there."""
    return jnp.sqrt(jnp.sum((outputs - targets) ** 2, axis=-1))


@pytest.mark.parametrize("rule", [bptt, partial(truncated_bptt, horizon=3)], ids=["bptt", "truncated"])
def test_a_loss_without_weight_may_be_infinite_or_infinitely_steep(rule):
    """Whether the step is padding, or one that counts for nothing."""
    keep = np.asarray(within_lengths(np.array([STEPS, 3, 0]), STEPS))
    weight = np.where(keep, CHUNK.weight, 0)
    assert np.any(keep & (weight == 0)), "steps that run and count for nothing"
    estimator = rule(DEEP, distance)
    estimate = jax.jit(estimator.estimate)
    start = estimator.init(jax.random.key(0), PARAMS, CARRY, CHUNK)
    inputs = Marked(CHUNK.inputs, keep=keep)
    fine, *others = (
        estimate(PARAMS, start, Chunk(inputs, np.where((weight > 0)[..., None], CHUNK.targets, nothing), weight))
        for nothing in (1.0, 0.0, np.inf, np.nan)
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(fine))
    for other in others:
        assert_close(other, fine, tolerance=0)
