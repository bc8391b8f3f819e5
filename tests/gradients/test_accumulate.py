"""Parts of a chunk, one after another: truncation by its definition, at every awkward length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, estimate_by_definition, random_like, random_params
from jaxrnn.cells import lstm
from jaxrnn.gradients import Chunk, accumulate, bptt, checkpointed_bptt, truncated_bptt
from jaxrnn.gradients.base import CarryState
from jaxrnn.losses import squared_error
from jaxrnn.stepwise import from_step

ROWS, K = 2, 3
CELL = lstm(2, 4)
PARAMS, CARRY = random_params(0, CELL), random_like(1, CELL.initial_carry(ROWS))


def chunk_of(steps):
    return random_like(2, Chunk(*(np.zeros((steps, ROWS, n)) for n in (2, 4)), np.zeros((steps, ROWS))))


def estimated(estimator, chunk):
    state = estimator.init(jax.random.key(0), PARAMS, CARRY, chunk)
    return jax.jit(estimator.estimate)(PARAMS, state, chunk)


@pytest.mark.parametrize("steps", [0, 1, K - 1, K, K + 1, 2 * K, 2 * K + 1])
def test_in_parts_it_is_stop_gradient_at_every_boundary(steps):
    """One gradient over the whole chunk with `stop_gradient` before every K-th step, to 1e-12."""
    chunk = chunk_of(steps)
    (loss, weight, grads), last = jax.jit(
        lambda: estimate_by_definition(CELL, squared_error, PARAMS, CARRY, chunk, K, K)
    )()
    found, state = estimated(accumulate(bptt(CELL, squared_error), K), chunk)
    assert_close((tuple(found), state.carry), ((loss, weight, grads), last))
    if steps >= K:
        assert_close(estimated(truncated_bptt(CELL, squared_error, horizon=K), chunk)[0], found)


def test_a_part_longer_than_the_chunk_is_the_chunk():
    chunk = chunk_of(5)
    assert_close(
        estimated(accumulate(bptt(CELL, squared_error), 9), chunk), estimated(bptt(CELL, squared_error), chunk)
    )


def test_parts_are_the_loop_over_chunks():
    """Feeding the parts one by one, with the same parameters, and adding up."""
    estimator, chunk = bptt(CELL, squared_error), chunk_of(2 * K)
    state, total = estimator.init(None, PARAMS, CARRY, chunk), None
    for start in (0, K):
        part, state = jax.jit(estimator.estimate)(PARAMS, state, jax.tree.map(lambda a, s=start: a[s : s + K], chunk))
        total = part if total is None else jax.tree.map(np.add, total, part)
    found, last = estimated(accumulate(estimator, K), chunk)
    assert_close((found, last.carry), (jax.tree.map(jax.numpy.asarray, total), state.carry))


def test_sums_do_not_stop_where_a_narrow_float_would():
    """401 losses of 1 and slopes of 2: in bfloat16, 256 + 1 is 256."""
    zero = np.zeros((), jnp.bfloat16)
    cell = from_step(
        lambda key: {"b": zero}, lambda shape, key=None: (), lambda params, carry, x: (carry, params["b"] + x)
    )
    chunk = Chunk(np.full((401, 1, 1), zero), np.full((401, 1, 1), zero - 1), np.ones((401, 1), np.float32))
    whole, in_segments = bptt(cell, squared_error), checkpointed_bptt(cell, squared_error, segment_length=1)
    for estimator in (whole, accumulate(whole, 1), in_segments):
        (loss, weight, grads), _ = jax.jit(estimator.estimate)(cell.init(None), CarryState(()), chunk)
        assert loss == weight == 401 and loss.dtype == weight.dtype == np.float32
        assert grads["b"].dtype == zero.dtype
        if estimator is not whole:  # whose one sum, over all steps, is JAX's own
            assert grads["b"] == 800  # 802, rounded once, at the end
