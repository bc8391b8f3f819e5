"""The cells of Flax with copied weights: the same outputs, carries and gradients over a sequence.

Flax has one bias where PyTorch and cuDNN have two, so it is given their sum, and their gradients follow. To 1e-12 in
float64 and to 1e-6 in float32, relative to the largest number of each array.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import all_gradients, assert_close, random_params
from jaxrnn.cells import elman, gru, lstm

STEPS, ROWS, INPUT, HIDDEN = 6, 2, 3, 4
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


def gates_apart(params, gates):
    """`{"w_ih": {"i": [I, H], "f": ...}, ...}`: each parameter cut into its gates."""
    return {name: dict(zip(gates, jnp.split(p, len(gates), axis=-1), strict=True)) for name, p in params.items()}


def lstm_as_flax(params):
    p = gates_apart(params, "ifgo")
    from_input = {f"i{gate}": {"kernel": p["w_ih"][gate]} for gate in "ifgo"}
    return from_input | {
        f"h{gate}": {"kernel": p["w_hh"][gate], "bias": p["b_ih"][gate] + p["b_hh"][gate]} for gate in "ifgo"
    }


def gru_as_flax(params):
    p = gates_apart(params, "rzn")
    layers = {f"i{gate}": {"kernel": p["w_ih"][gate], "bias": p["b_ih"][gate] + p["b_hh"][gate]} for gate in "rz"}
    layers |= {f"h{gate}": {"kernel": p["w_hh"][gate]} for gate in "rz"}
    layers["in"] = {"kernel": p["w_ih"]["n"], "bias": p["b_ih"]["n"]}
    return layers | {"hn": {"kernel": p["w_hh"]["n"], "bias": p["b_hh"]["n"]}}


def elman_as_flax(params):
    bias = params["b_ih"] + params["b_hh"]
    return {"i": {"kernel": params["w_ih"], "bias": bias}, "h": {"kernel": params["w_hh"]}}


PEERS = {
    "lstm": (lstm, nn.OptimizedLSTMCell, lstm_as_flax, lambda carry: carry[::-1]),  # Flax carries (c, h)
    "gru": (gru, nn.GRUCell, gru_as_flax, lambda carry: carry),
    "elman": (elman, nn.SimpleCell, elman_as_flax, lambda carry: carry),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", PEERS)
def test_values_and_gradients(name, dtype):
    make, peer, as_flax, turned = PEERS[name]
    cell, theirs = make(INPUT, HIDDEN, dtype=dtype), peer(HIDDEN, dtype=dtype, param_dtype=dtype)
    rng = np.random.default_rng(0)
    carry = jax.tree.map(lambda h: rng.normal(size=h.shape).astype(dtype), cell.initial_carry(ROWS))
    xs = rng.normal(size=(STEPS, ROWS, INPUT)).astype(dtype)

    def unroll(params, carry, xs):
        variables = {"params": as_flax(params)}
        carry, ys = jax.lax.scan(lambda carry, x: theirs.apply(variables, carry, x), turned(carry), xs)
        return turned(carry), ys

    @jax.jit
    def both(*arguments):
        return all_gradients(cell.unroll, 1, *arguments), all_gradients(unroll, 1, *arguments)

    assert_close(*both(random_params(2, cell), carry, xs), tolerance=TOLERANCE[dtype])
