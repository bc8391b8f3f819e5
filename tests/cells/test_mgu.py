"""The minimal gated unit against plain NumPy; a GRU whose two gates are one is the same."""

import numpy as np
import pytest

from agreement import assert_close, assert_follows_by_hand, random_params
from jaxrnn.cells import gru, mgu, mgu_step
from reference_further import mgu as by_hand

INPUT, HIDDEN = 3, 4
CELLS = {"two_biases": mgu(INPUT, HIDDEN), "one_bias": mgu(INPUT, HIDDEN, b_hh=None)}


@pytest.mark.parametrize("name", CELLS)
def test_it_follows_the_equations_by_hand(name):
    assert_follows_by_hand(CELLS[name], by_hand())


def test_it_is_the_gru_whose_update_gate_mirrors_its_reset_gate():
    """`r = f` and `z = 1 - f = sigmoid(-a)`, reset before the product."""
    cell, rng = CELLS["two_biases"], np.random.default_rng(2)
    params, h, x = random_params(1, cell), rng.normal(size=(2, HIDDEN)), rng.normal(size=(2, INPUT))
    gates = {name: np.split(p, 2, axis=-1) for name, p in params.items()}
    both = {name: np.concatenate([f, -f, n], axis=-1) for name, (f, n) in gates.items()}
    expected = gru(INPUT, HIDDEN, reset_after=False).step(both, h, x)
    assert_close(cell.step(params, h, x), expected)
    assert_close(mgu_step(params, h, x), expected)
