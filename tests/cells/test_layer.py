"""What all recurrent layers refuse, by name."""

import jax.numpy as jnp
import numpy as np
import pytest

from agreement import random_params
from jaxrnn.cells import gru, lstm
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
