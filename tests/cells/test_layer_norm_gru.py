"""The GRU with layer normalisation against plain NumPy; what the normalisation does not see."""

import numpy as np
import pytest

from agreement import assert_close, assert_follows_by_hand, random_like, random_params
from jaxrnn.cells import layer_norm_gru, layer_norm_gru_step
from reference_further import layer_norm_gru as by_hand

INPUT, HIDDEN = 3, 4
CELLS = {"two_biases": layer_norm_gru(INPUT, HIDDEN), "one_bias": layer_norm_gru(INPUT, HIDDEN, b_hh=None)}


@pytest.mark.parametrize("name", CELLS)
def test_it_follows_the_equations_by_hand(name):
    assert_follows_by_hand(CELLS[name], by_hand())


@pytest.mark.parametrize("name", ["w_ih", "w_hh"])
def test_what_moves_both_gates_or_the_candidate_alike_moves_nothing(name):
    cell = CELLS["two_biases"]
    params, h = random_params(1, cell), random_like(2, cell.initial_carry(2))
    x = np.random.default_rng(3).normal(size=(2, INPUT))
    shift = np.random.default_rng(4).normal(size=(params[name].shape[0], 1))
    gate = np.arange(3 * HIDDEN) // HIDDEN
    expected = cell.step(params, h, x)
    for alike in (gate < 2, gate == 2):
        assert_close(layer_norm_gru_step(params | {name: params[name] + shift * alike}, h, x), expected)
    one_gate = params | {name: params[name] + shift * (gate == 0)}
    assert np.abs(cell.step(one_gate, h, x)[1] - expected[1]).max() > 1e-3
