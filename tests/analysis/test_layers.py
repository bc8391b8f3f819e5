"""Layers are found in whatever cell, and their states are those that its notes name."""

import jax
import jax.numpy as jnp
import pytest

from jaxrnn.analysis.layers import layers
from jaxrnn.cells import elman, elstm, gru, lstm, lstm_step, projection_lstm
from jaxrnn.compose import dropout, language_model, stack, weight_drop, zoneout
from jaxrnn.stepwise import from_step
from jaxrnn.types import Marked

BY_HAND = from_step(lstm(3, 4).init, lstm(3, 4).initial_carry, lstm_step, input_size=3, output_size=4)
CELLS = {
    "alone": (elman(3, 4), {"cell": (0,)}),
    "two states": (lstm(3, 4), {"cell": (0, 1)}),
    "another order": (projection_lstm(3, 4, 2), {"cell": (0, 1)}),
    "stack": (stack(lstm(3, 4), dropout(0.1), gru(4, 4), elstm(4, 2)), {"0": (0, 1), "2": (2,), "3": (3,)}),
    "equal stacks": (stack(elman(3, 3), elman(3, 3)), {"0": (0,), "1": (1,)}),
    "noisy": (
        stack(weight_drop(zoneout(lstm(3, 4), 0.1, 0.2), 0.3), zoneout(gru(4, 4), 0.5), names=("low", "high")),
        {"low": (0, 1), "high": (2,)},
    ),
    "by hand": (stack(BY_HAND, elman(4, 4)), {"carry[0]": (0, 1), "1": (2,)}),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("marked", [False, True])
def test_layers(name, marked):
    cell, expected = CELLS[name]
    x = Marked(jnp.ones((2, 3)), jnp.array([True, False]), jnp.array([True, False])) if marked else jnp.ones((2, 3))
    params, carry = jax.eval_shape(cell.init, jax.random.key(0)), cell.initial_carry(2, jax.random.key(1))
    assert layers(cell, params, carry, x) == expected


def test_layers_of_a_language_model():
    for core, expected in ((lstm(3, 4), ["core"]), (stack(lstm(3, 4), gru(4, 3)), ["core/0", "core/1"])):
        model = language_model(core, 5, tie=core.output_size == 3)
        params = jax.eval_shape(model.init, jax.random.key(0))
        found = layers(model, params, model.initial_carry(2), jax.ShapeDtypeStruct((2,), jnp.int32))
        assert list(found) == expected
