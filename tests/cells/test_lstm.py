"""The LSTM against plain NumPy in values and gradients; how it starts; what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, assert_follows_by_hand, random_like, random_params
from jaxrnn import initializers
from jaxrnn.cells import lstm, lstm_step
from jaxrnn.compose import bidirectional, stack

INPUT, HIDDEN = 3, 4
CELLS = {"two_biases": lstm(INPUT, HIDDEN), "one_bias": lstm(INPUT, HIDDEN, b_hh=None)}


@pytest.mark.parametrize("name", CELLS)
def test_it_follows_the_equations_by_hand(name):
    assert_follows_by_hand(CELLS[name], reference.lstm())


def test_split_and_concatenated_forms_are_one():
    """`x w_ih + b_ih + h w_hh + b_hh` and `[h, x] w + b`, with `w = [w_hh; w_ih]`."""
    cell, rng = CELLS["two_biases"], np.random.default_rng(2)
    params, carry = random_params(1, cell), random_like(3, cell.initial_carry(2))
    x = rng.normal(size=(2, INPUT))
    w = np.concatenate([params["w_hh"], params["w_ih"]])
    expected = reference.concatenated_lstm(w, params["b_ih"] + params["b_hh"], carry, x)
    for step in (cell.step, lstm_step):
        assert_close(step(params, carry, x), jax.tree.map(jnp.asarray, (expected, expected[0])))


def forget_part(params):
    """The forget gate's total bias."""
    bias = params["b_ih"] + params.get("b_hh", 0.0)
    return bias[HIDDEN : 2 * HIDDEN]


@pytest.mark.parametrize("forget_bias", [1.0, 0.0, 2.5])
def test_the_forget_bias_is_counted_once_and_reaches_every_layer_and_direction(forget_bias):
    layer = lstm(HIDDEN, HIDDEN, forget_bias=forget_bias)
    deep, both = stack(layer, layer, layer), bidirectional(layer, layer)
    inits = [*deep.init(jax.random.key(0)).values(), *both.init(jax.random.key(0)).values()]
    assert len(inits) == 5
    for params in inits:
        assert_close(forget_part(params), jnp.full(HIDDEN, forget_bias), tolerance=0)
        assert float(jnp.sum(params["b_ih"] + params["b_hh"])) == HIDDEN * forget_bias, "the other gates start at 0"


def test_chrono_biases_spread_over_time_scales():
    """`1 / (1 - sigmoid(b_f))`, the steps that a gate remembers, is uniform on (2, longest); `b_i = -b_f`.

    The largest distance of 4,000 sorted draws from the uniform law exceeds 1.95 / sqrt(4000) = 0.031 once in a thousand
    (Kolmogorov); the key is fixed.
    """
    longest, units = 50.0, 4000
    cell = lstm(1, units, b_ih=initializers.chrono(longest), w_hh=initializers.zeros, forget_bias=0.0)
    i, f, g, o = np.split(np.asarray(cell.init(jax.random.key(0))["b_ih"]), 4)
    memory = np.sort(1 / (1 - reference.sigmoid(f)))
    assert memory[0] > 2 and memory[-1] < longest
    assert np.abs((memory - 2) / (longest - 2) - (np.arange(units) + 0.5) / units).max() < 0.031
    assert np.array_equal(i, -f) and not np.any(g) and not np.any(o)


def test_shapes_that_do_not_fit_are_named():
    cell = CELLS["two_biases"]
    params, xs = random_params(1, cell), np.zeros((5, 2, INPUT))
    for wrong in (np.zeros((5, 2, 4)), np.zeros((5, 2))):
        with pytest.raises(AssertionError, match=r"lstm: the input x \[\*batch, I\] must end in an axis of size 3"):
            cell.unroll(params, cell.initial_carry(2), wrong)
    h, c = cell.initial_carry(2)
    for carry in (cell.initial_carry(3), cell.initial_carry(()), h, (h, c, c), (h, c[:, :2])):
        for unroll, x in ((cell.unroll, xs), (cell.step, xs[0])):
            with pytest.raises(AssertionError, match=r"lstm: the carry .* must be like initial_carry\(\(2,\)\)"):
                unroll(params, carry, x)
