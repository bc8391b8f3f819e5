"""The gate equals `stop_gradient`, equals the gradient taken piece by piece, and stops what has exploded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params
from jaxrnn.cells import lstm
from jaxrnn.gradients import Chunk, accumulate, bptt, gate, stop
from jaxrnn.gradients.segments import chunk_loss, reverse_mode, segmented
from jaxrnn.losses import squared_error

ROWS, STEPS, LENGTH = 3, 7, 2
INF = float("inf")


def cotangent_through(g, *args, **kwargs):
    """What a gate makes of a cotangent; compiled as one, for each operation by itself would be compiled too."""

    @jax.jit
    def back(g):
        return jax.vjp(lambda carry: gate(carry, *args, **kwargs), jax.tree.map(jnp.zeros_like, g))[1](g)[0]

    return back(g)


def test_three_ways_to_truncate_are_one():
    """A gate of weight 0 between segments, `stop_gradient` there, and the gradient taken segment by segment."""
    cell = lstm(3, 4)
    params, carry = random_params(0, cell), random_like(1, cell.initial_carry(ROWS))
    chunk = random_like(2, Chunk(*(np.zeros((STEPS, ROWS, n)) for n in (3, 4)), np.zeros((STEPS, ROWS))))
    key = jax.random.key(0)
    run = chunk_loss(cell, squared_error)

    def estimate(estimator):
        return jax.jit(estimator.estimate)(params, estimator.init(key, params, carry, chunk), chunk)

    @jax.jit
    def gated(weight):
        through = reverse_mode(segmented(run, LENGTH, between=lambda carry, s: gate(carry, weight)))
        return through.estimate(params, through.init(key, params, carry, chunk), chunk)

    stopped = estimate(reverse_mode(segmented(run, LENGTH, between=lambda carry, s: stop(carry))))
    assert_close(gated(jnp.zeros(ROWS)), stopped)
    assert_close(gated(jnp.zeros(ROWS)), estimate(accumulate(bptt(cell, squared_error), LENGTH)))
    whole = estimate(bptt(cell, squared_error))
    assert_close(gated(jnp.ones(ROWS)), whole)
    assert not np.allclose(stopped[0].grads["w_hh"], whole[0].grads["w_hh"], rtol=1e-2)

    def open_row(row):  # rows do not mix, so gradients add over rows
        return gated((jnp.arange(ROWS) == row).astype(float))[0].grads["w_hh"] - stopped[0].grads["w_hh"]

    differences = [open_row(row) for row in range(ROWS)]
    assert all(np.abs(difference).max() > 1e-3 for difference in differences)
    assert_close(stopped[0].grads["w_hh"] + sum(differences), whole[0].grads["w_hh"])


def test_forward_is_the_identity_for_every_leaf():
    carry = (jnp.array([[1.0, jnp.nan], [INF, -0.0]]), jnp.arange(2), jax.random.split(jax.random.key(0), 2))
    passed = gate(carry, jnp.zeros(2), clip_norm=1.0)
    assert_close(passed, carry, tolerance=0)
    assert_close(gate((carry[1],), 0.0, clip_norm=1.0), (carry[1],))  # a carry without floats


def test_weight_is_per_row_and_zero_stops_what_has_exploded():
    g = (jnp.array([[INF, 1.0], [jnp.nan, 2.0], [3.0, 4.0]]), jnp.array([1.0, INF, 2.0]))
    weighed = cotangent_through(g, jnp.array([0.0, 0.0, 2.5]))
    assert_close(weighed, (jnp.array([[0.0, 0], [0, 0], [7.5, 10]]), jnp.array([0.0, 0, 5])), tolerance=0)


def test_weight_is_data():
    slope = jax.grad(lambda w: jnp.sum(gate(jnp.ones((2, 1)), w)))(jnp.array([2.0, 3.0]))
    assert_close(slope, jnp.zeros(2), tolerance=0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_clipping_is_by_the_norm_of_a_row_over_all_leaves(dtype):
    huge = 1e30 if dtype == jnp.float32 else 1e300  # its square overflows
    rows = [[3.0, 4.0], [0.0, 0.0], [0.6, 0.0], [huge, 0.0], [INF, 1.0], [0.0, jnp.nan]]
    a, b = (jnp.array(column, dtype)[:, None] for column in zip(*rows, strict=True))
    clipped = jnp.concatenate(cotangent_through((a, b), clip_norm=1.0), axis=1)
    expected = jnp.array([[0.6, 0.8], [0, 0], [0.6, 0], [1, 0], [0, 0], [0, 0]], dtype)
    assert_close(clipped, expected, tolerance=2 * float(jnp.finfo(dtype).eps))


def test_the_norm_of_a_row_of_many_narrow_numbers_is_taken_in_32_bits():
    """The sum of their 70,000 squares is more than float16 holds."""
    clipped = cotangent_through(jnp.ones((1, 70_000), jnp.float16), clip_norm=100.0)
    np.testing.assert_allclose(clipped, 100 / np.sqrt(70_000), rtol=1e-3)


def test_clipping_comes_before_weighing():
    back = cotangent_through(jnp.array([[3.0, 4.0]]), 10.0, clip_norm=1.0)
    assert_close(back, jnp.array([[6.0, 8.0]]))
