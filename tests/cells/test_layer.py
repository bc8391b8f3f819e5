"""What all recurrent layers refuse, by name."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import random_params
from jaxrnn.cells import coupled_lstm, elman, elstm, gru, layer_norm_lstm, lstm, peephole_lstm, projection_lstm
from jaxrnn.cells.layer import layer_norm
from jaxrnn.compose import mixed_precision
from jaxrnn.errors import InputError

ROWS, INPUT, HIDDEN = 2, 3, 4


@pytest.mark.parametrize("way", ["step", "unroll"])
@pytest.mark.parametrize("make", [lstm, gru])
def test_an_input_that_would_widen_the_carry_is_refused(make, way, default_settings):
    cell = make(INPUT, HIDDEN, dtype=jnp.bfloat16)
    x = np.ones((ROWS, INPUT) if way == "step" else (5, ROWS, INPUT))  # float32 here, as JAX takes it
    with pytest.raises(InputError, match=f"^{make.__name__}: the input x is float32, which bfloat16 cannot hold"):
        getattr(cell, way)(random_params(1, cell), cell.initial_carry(ROWS), x)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "uint8", "bool"])
def test_an_input_that_the_dtype_can_hold_is_taken(kind, default_settings):
    x = jnp.ones((ROWS, INPUT), kind)
    for cell in (gru(INPUT, HIDDEN), mixed_precision(gru(INPUT, HIDDEN))):
        assert cell.step(random_params(1, cell), cell.initial_carry(ROWS), x)[1].dtype == jnp.float32


@pytest.mark.parametrize(
    ("dtype", "found"), [("float16", "bfloat16"), ("bfloat16", "float16"), ("float32", "complex64")]
)
def test_an_input_that_would_make_another_carry_is_refused(dtype, found):
    cell = gru(INPUT, HIDDEN, dtype=dtype)
    with pytest.raises(InputError, match=f"gru: the input x is {found}, which {dtype} cannot hold"):
        cell.step(random_params(1, cell), cell.initial_carry(ROWS), jnp.ones((ROWS, INPUT), found))


@pytest.mark.parametrize("make", [elman, lstm, gru, elstm, partial(projection_lstm, projection_size=2)])
def test_weights_of_the_input_start_within_one_over_the_root_of_the_units(make):
    assert 0.3 < float(jnp.abs(make(4, 9).init(jax.random.key(0))["w_ih"]).max()) < 1 / 3


FORGETTING = {
    "lstm": (lstm, 1),
    "layer_norm_lstm": (layer_norm_lstm, 1),
    "peephole_lstm": (peephole_lstm, 1),
    "projection_lstm": (partial(projection_lstm, projection_size=2), 1),
    "coupled_lstm": (coupled_lstm, 0),
}


@pytest.mark.parametrize("name", FORGETTING)
def test_the_forget_gate_alone_starts_open(name):
    make, gate = FORGETTING[name]
    bias = make(3, 4).init(jax.random.key(0))["b_ih"]
    assert bias.tolist() == [1.0 if n // 4 == gate else 0.0 for n in range(bias.size)]


def test_half_precision_is_normed_in_wider_numbers(default_settings):
    """The square of 300 is more than float16 holds."""
    assert layer_norm(jnp.array([300.0, -300.0], jnp.float16), jnp.ones(2, jnp.float16)).tolist() == [1.0, -1.0]
