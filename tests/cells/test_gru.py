"""Both forms of the GRU against plain NumPy in values and gradients; how they start; what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, assert_follows_by_hand, random_params
from jaxrnn.cells import gru, gru_step

INPUT, HIDDEN = 3, 4
CELLS = {
    "reset_after": (gru(INPUT, HIDDEN), reference.gru_reset_after()),
    "reset_before": (gru(INPUT, HIDDEN, reset_after=False), reference.gru_reset_before()),
    "reset_after_one_bias": (gru(INPUT, HIDDEN, b_hh=None), reference.gru_reset_after()),
    "reset_before_one_bias": (gru(INPUT, HIDDEN, reset_after=False, b_hh=None), reference.gru_reset_before()),
}


@pytest.mark.parametrize("name", CELLS)
def test_it_follows_the_equations_by_hand(name):
    assert_follows_by_hand(*CELLS[name])


def at_random(cell):
    rng = np.random.default_rng(2)
    return random_params(1, cell), rng.normal(size=(2, HIDDEN)), rng.normal(size=(2, INPUT))


def test_split_and_concatenated_forms_are_one_where_the_reset_comes_before():
    """`x w_ih + h w_hh` and `[h, x] w`, with `w = [w_hh; w_ih]`; reset after the product has no concatenated form."""
    cell, _ = CELLS["reset_before"]
    params, h, x = at_random(cell)
    w = np.concatenate([params["w_hh"], params["w_ih"]])
    (expected,) = reference.concatenated_gru_reset_before(w, params["b_ih"] + params["b_hh"], (h,), x)
    assert_close(cell.step(params, h, x)[1], jnp.asarray(expected))


def test_the_two_forms_are_two_functions():
    after, before = CELLS["reset_after"][0], CELLS["reset_before"][0]
    params, h, x = at_random(after)
    assert_close(gru_step(params, h, x), after.step(params, h, x))
    assert_close(gru_step(params, h, x, reset_after=False), before.step(params, h, x))
    assert np.abs(after.step(params, h, x)[1] - before.step(params, h, x)[1]).max() > 1e-2


def test_recurrent_weights_start_orthogonal_gate_by_gate():
    """`W^T W = I` for each gate's own matrix, and the gates differ."""
    w_hh = gru(INPUT, 16).init(jax.random.key(0))["w_hh"]
    gates = np.split(np.asarray(w_hh), 3, axis=-1)
    for w in gates:
        np.testing.assert_allclose(w.T @ w, np.eye(16), rtol=0, atol=1e-12)
    assert np.abs(gates[0] - gates[1]).max() > 0.1 and np.abs(gates[1] - gates[2]).max() > 0.1


def test_shapes_that_do_not_fit_are_named():
    cell, _ = CELLS["reset_before"]
    params = random_params(1, cell)
    with pytest.raises(AssertionError, match=r"gru: the input x \[\*batch, I\] must end in an axis of size 3"):
        cell.step(params, cell.initial_carry(2), np.zeros((2, 4)))
    with pytest.raises(AssertionError, match=r"gru: the carry .* must be like initial_carry\(\(2,\)\)"):
        cell.step(params, cell.initial_carry(1), np.zeros((2, INPUT)))
