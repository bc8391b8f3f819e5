"""The layers of PyTorch with copied weights: the same outputs, carries and gradients over a sequence, two layers deep.

To 1e-12 in float64 and to 1e-6 in float32, relative to the largest number of each array.
"""

from functools import partial

import jax
import numpy as np
import pytest

from agreement import all_gradients, assert_close, random_like, random_params
from jaxrnn.cells import elman, gru, lstm, projection_lstm
from jaxrnn.compose import stack
from jaxrnn.interop.torch import from_torch, to_torch

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it comes with the extra 'peers'")

STEPS, ROWS, INPUT, HIDDEN = 6, 2, 3, 4
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
PEERS = {
    "lstm": (lstm, torch.nn.LSTM, {}),
    "lstm_with_projection": (partial(projection_lstm, projection_size=2), torch.nn.LSTM, {"proj_size": 2}),
    "gru": (gru, torch.nn.GRU, {}),
    "elman_tanh": (elman, torch.nn.RNN, {"nonlinearity": "tanh"}),
    "elman_relu": (partial(elman, activation=jax.nn.relu), torch.nn.RNN, {"nonlinearity": "relu"}),
}


def as_torch(array):
    return torch.tensor(np.asarray(array), requires_grad=True)


def states_apart(carry):
    """`(carry of layer 0, of layer 1)` from PyTorch's `[L, B, H]` for each state."""
    per_state = carry if isinstance(carry, tuple) else (carry,)
    layers = [tuple(state[layer].detach().numpy() for state in per_state) for layer in (0, 1)]
    return tuple(layer if len(layer) > 1 else layer[0] for layer in layers)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # PyTorch's own loop will do
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", PEERS)
def test_values_and_gradients(name, dtype):
    make, peer, options = PEERS[name]
    low = make(INPUT, HIDDEN, dtype=dtype)
    cell = stack(low, make(low.output_size, HIDDEN, dtype=dtype))
    params, carry = random_params(0, cell), random_like(1, cell.initial_carry(ROWS))
    xs = np.random.default_rng(2).normal(size=(STEPS, ROWS, INPUT)).astype(dtype)
    results, cotangents = jax.jit(lambda *arguments: all_gradients(cell.unroll, 3, *arguments))(params, carry, xs)

    theirs = peer(INPUT, HIDDEN, num_layers=2, dtype=getattr(torch, dtype), **options)
    theirs.load_state_dict({name: torch.tensor(p) for name, p in to_torch(params).items()})
    start = jax.tree.map(lambda *layers: as_torch(np.stack(layers)), *carry)
    inputs = as_torch(xs)
    ys, last = theirs(inputs, start)
    assert_close((states_apart(last), ys.detach().numpy()), jax.tree.map(np.asarray, results), TOLERANCE[dtype])

    d_carry, d_ys = random_like(3, results)
    d_last = jax.tree.map(lambda *layers: torch.tensor(np.stack(layers)), *d_carry)
    outputs, given = jax.tree.leaves((ys, last)), jax.tree.leaves((torch.tensor(d_ys), d_last))
    torch.autograd.backward(outputs, given)
    grads = from_torch({name: p.grad for name, p in theirs.named_parameters()})
    d_start = states_apart(jax.tree.map(lambda h: h.grad, start))
    assert_close((grads, d_start, inputs.grad.numpy()), jax.tree.map(np.asarray, cotangents), TOLERANCE[dtype])


def test_weights_in_bfloat16_which_numpy_has_not_are_read_in_float32():
    theirs = torch.nn.LSTM(INPUT, HIDDEN).to(torch.bfloat16)
    ours = from_torch(theirs.state_dict())["0"]["w_hh"]
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs.weight_hh_l0.detach().float().numpy().T)
