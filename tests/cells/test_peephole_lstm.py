"""The LSTM with peepholes against plain NumPy; with the peepholes closed it is the LSTM."""

import jax.numpy as jnp
import pytest

from agreement import assert_close, assert_follows_by_hand, random_like, random_params
from jaxrnn.cells import lstm, peephole_lstm, peephole_lstm_step
from reference_further import peephole_lstm as by_hand

INPUT, HIDDEN = 3, 4
CELLS = {"two_biases": peephole_lstm(INPUT, HIDDEN), "one_bias": peephole_lstm(INPUT, HIDDEN, b_hh=None)}


@pytest.mark.parametrize("name", CELLS)
def test_it_follows_the_equations_by_hand(name):
    assert_follows_by_hand(CELLS[name], by_hand())


def test_with_closed_peepholes_it_is_the_lstm():
    cell = CELLS["two_biases"]
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(2))
    x = random_like(3, jnp.zeros((2, INPUT)))
    closed = params | {"w_c": jnp.zeros(3 * HIDDEN)}
    assert_close(peephole_lstm_step(closed, carry, x), lstm(INPUT, HIDDEN).step(params, carry, x))
    assert_close(peephole_lstm_step(params, carry, x), cell.step(params, carry, x))
