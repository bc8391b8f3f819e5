"""The LSTM with a projection against plain NumPy; projected by the identity it is the LSTM."""

import jax
import numpy as np
import pytest

from agreement import assert_close, assert_follows_by_hand, random_like, random_params
from jaxrnn.cells import lstm, projection_lstm, projection_lstm_step
from reference_further import projection_lstm as by_hand

INPUT, HIDDEN = 3, 4
CELLS = {
    "smaller": (projection_lstm(INPUT, HIDDEN, 2), 2),
    "larger_one_bias": (projection_lstm(INPUT, HIDDEN, 5, b_hh=None), 5),
}


@pytest.mark.parametrize("name", CELLS)
def test_it_follows_the_equations_by_hand(name):
    cell, size = CELLS[name]
    assert_follows_by_hand(cell, by_hand(size))


def test_projected_by_the_identity_it_is_the_lstm():
    cell = projection_lstm(INPUT, HIDDEN, HIDDEN)
    params, carry = random_params(1, cell) | {"w_hr": np.eye(HIDDEN)}, random_like(2, cell.initial_carry(2))
    xs = np.random.default_rng(3).normal(size=(5, 2, INPUT))
    plain = {name: p for name, p in params.items() if name != "w_hr"}
    expected = jax.jit(lstm(INPUT, HIDDEN).unroll)(plain, carry, xs)
    assert_close(jax.jit(cell.unroll)(params, carry, xs), expected)
    assert_close(projection_lstm_step(params, carry, xs[0]), cell.step(params, carry, xs[0]))


def test_the_memory_and_the_state_have_sizes_of_their_own():
    cell, _ = CELLS["smaller"]
    params = jax.tree.map(lambda p: p.shape, jax.eval_shape(cell.init, jax.random.key(0)))
    assert params == {"w_ih": (3, 16), "w_hh": (2, 16), "w_hr": (4, 2), "b_ih": (16,), "b_hh": (16,)}
    assert [state.shape for state in cell.initial_carry(7)] == [(7, 2), (7, 4)] and cell.output_size == 2
