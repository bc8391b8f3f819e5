"""The LSTM with layer normalisation against plain NumPy; what the normalisation does not see."""

import jax
import numpy as np
import pytest

from agreement import assert_close, assert_follows_by_hand, random_like, random_params
from jaxrnn.cells import layer_norm_lstm, layer_norm_lstm_step
from reference_further import layer_norm_lstm as by_hand

INPUT, HIDDEN = 3, 4
CELLS = {"two_biases": layer_norm_lstm(INPUT, HIDDEN), "one_bias": layer_norm_lstm(INPUT, HIDDEN, b_hh=None)}


@pytest.mark.parametrize("name", CELLS)
def test_it_follows_the_equations_by_hand(name):
    assert_follows_by_hand(CELLS[name], by_hand())


@pytest.mark.parametrize("name", ["w_ih", "w_hh"])
def test_what_moves_all_four_gates_alike_moves_nothing(name):
    """The norm is over the gates together: a shift of all columns goes, one of a single gate's columns stays."""
    cell = CELLS["two_biases"]
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(2))
    x = np.random.default_rng(3).normal(size=(2, INPUT))
    shift = np.random.default_rng(4).normal(size=(params[name].shape[0], 1))
    expected = cell.step(params, carry, x)
    all_alike, one_gate = params[name] + shift, params[name] + shift * (np.arange(4 * HIDDEN) < HIDDEN)
    assert_close(layer_norm_lstm_step(params | {name: all_alike}, carry, x), expected)
    assert np.abs(cell.step(params | {name: one_gate}, carry, x)[1] - expected[1]).max() > 1e-3


def test_gains_start_at_one_and_biases_at_zero_but_for_the_forget_gate():
    params = CELLS["two_biases"].init(jax.random.key(0))
    assert all(np.all(params[name] == 1) for name in ("gain_ih", "gain_hh", "gain_c"))
    assert not np.any(params["b_c"]) and np.sum(params["b_ih"] + params["b_hh"]) == HIDDEN
