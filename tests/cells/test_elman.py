"""The Elman cell, tanh and relu, against plain NumPy in values and gradients; how it starts; what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, assert_follows_by_hand, random_params
from jaxrnn import initializers
from jaxrnn.cells import elman, elman_step

INPUT, HIDDEN = 3, 4
CELLS = {
    "tanh": (elman(INPUT, HIDDEN), reference.elman()),
    "relu": (elman(INPUT, HIDDEN, activation=jax.nn.relu), reference.elman("relu")),
    "one_bias": (elman(INPUT, HIDDEN, b_hh=None), reference.elman()),
}


@pytest.mark.parametrize("name", CELLS)
def test_it_follows_the_equations_by_hand(name):
    assert_follows_by_hand(*CELLS[name])


def test_split_and_concatenated_forms_are_one():
    """`tanh(x w_ih + b_ih + h w_hh + b_hh)` and `tanh([h, x] w + b)`, with `w = [w_hh; w_ih]`."""
    cell, _ = CELLS["tanh"]
    params, rng = random_params(1, cell), np.random.default_rng(2)
    h, x = rng.normal(size=(2, HIDDEN)), rng.normal(size=(2, INPUT))
    w = np.concatenate([params["w_hh"], params["w_ih"]])
    (expected,) = reference.concatenated_elman(w, params["b_ih"] + params["b_hh"], (h,), x)
    assert_close(cell.step(params, h, x)[1], jnp.asarray(expected))
    assert_close(elman_step(params, h, x)[1], jnp.asarray(expected))


def test_the_irnn_starts_as_an_integrator():
    """Identity and ReLU: with no input a non-negative state stays what it is."""
    cell = elman(INPUT, HIDDEN, activation=jax.nn.relu, w_hh=initializers.identity())
    params = cell.init(jax.random.key(0))
    assert_close(params["w_hh"], jnp.eye(HIDDEN))
    h = np.random.default_rng(2).random((2, HIDDEN))
    assert_close(cell.step(params, h, np.zeros((2, INPUT)))[0], jnp.asarray(h), tolerance=0)


def test_shapes_that_do_not_fit_are_named():
    cell, _ = CELLS["tanh"]
    params = random_params(1, cell)
    with pytest.raises(AssertionError, match=r"elman: the input x \[\*batch, I\] must end in an axis of size 3"):
        cell.unroll(params, cell.initial_carry(2), np.zeros((5, 2, 4)))
    with pytest.raises(AssertionError, match=r"elman: the carry .* must be like initial_carry\(\(2,\)\)"):
        cell.unroll(params, cell.initial_carry(3), np.zeros((5, 2, INPUT)))
