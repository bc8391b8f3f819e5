"""The LSTM with coupled gates against plain NumPy; an LSTM whose input gate mirrors its forget gate is the same."""

import numpy as np
import pytest

from agreement import assert_close, assert_follows_by_hand, random_like, random_params
from jaxrnn.cells import coupled_lstm, coupled_lstm_step, lstm
from reference_further import coupled_lstm as by_hand

INPUT, HIDDEN = 3, 4
CELLS = {"two_biases": coupled_lstm(INPUT, HIDDEN), "one_bias": coupled_lstm(INPUT, HIDDEN, b_hh=None)}


@pytest.mark.parametrize("name", CELLS)
def test_it_follows_the_equations_by_hand(name):
    assert_follows_by_hand(CELLS[name], by_hand())


def test_it_is_the_lstm_whose_input_gate_mirrors_its_forget_gate():
    """`1 - sigmoid(a) = sigmoid(-a)`: all that goes into i is the negative of what goes into f."""
    cell = CELLS["two_biases"]
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(2))
    x = np.random.default_rng(3).normal(size=(2, INPUT))
    mirrored = {name: np.concatenate([-p[..., :HIDDEN], p], axis=-1) for name, p in params.items()}
    expected = lstm(INPUT, HIDDEN).step(mirrored, carry, x)
    assert_close(cell.step(params, carry, x), expected)
    assert_close(coupled_lstm_step(params, carry, x), expected)
