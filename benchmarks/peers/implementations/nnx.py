"""Flax nnx: `nnx.RNN` over `nnx.OptimizedLSTMCell` and its like, split into a graph and parameters for `jax.jit`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.peers.jax_step import Network, prepare
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Batch, Row, Weights

CELLS = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "elman": nnx.SimpleCell}


class Model(nnx.Module):
    """Embedding, recurrent layers and readout, with dropout between them."""

    def __init__(self, row: Row, rngs: nnx.Rngs) -> None:
        """Make the layers of a row."""
        self.embedding = nnx.Embed(row.outputs, row.embedding, rngs=rngs) if row.embedding else None
        self.drop = nnx.Dropout(row.dropout, deterministic=not row.dropout)
        cells = (CELLS[row.cell](size, row.hidden, rngs=rngs) for size in row.inputs)
        self.core = nnx.List([nnx.RNN(cell, time_major=True, return_carry=True) for cell in cells])
        self.readout = None if row.tied else nnx.Linear(row.hidden, row.outputs, rngs=rngs)
        self.b = nnx.Param(jnp.zeros(row.outputs)) if row.tied else None

    def __call__(self, carry, inputs, rngs):
        """The new carry, and the logits of every step or of the last one."""
        xs, after = self.drop(self.embedding(inputs), rngs=rngs) if self.embedding else inputs, []
        for layer, before in zip(self.core, carry, strict=True):
            last, xs = layer(xs, initial_carry=before)
            after.append(last)
            xs = self.drop(xs, rngs=rngs)
        ys = xs if self.embedding else xs[-1]
        if self.readout is not None:
            return tuple(after), self.readout(ys)
        assert self.embedding is not None and self.b is not None
        return tuple(after), self.embedding.attend(ys) + self.b[...]


def build(row: Row, weights: Weights, batch: Batch) -> Prepared:
    """Prepare a row.

    Args:
        row: the row.
        weights: to start from.
        batch: the data.

    Returns:
        It, ready to run.
    """
    model, zeros = Model(row, nnx.Rngs(0)), jnp.zeros((row.batch, row.hidden))
    for name, parameter in named(row, model).items():
        parameter[...] = jnp.asarray(weights[name])
    graph, params, keys = nnx.split(model, nnx.Param, ...)
    carry = tuple((zeros, zeros) if row.cell == "lstm" else zeros for _ in range(row.layers))

    def apply(params, carry, inputs, key):
        return nnx.merge(graph, params, keys)(carry, inputs, nnx.Rngs(dropout=key))

    def found(params) -> Weights:
        parameters = named(row, nnx.merge(graph, params, keys))
        return {name: np.asarray(parameter[...]) for name, parameter in parameters.items()}

    return prepare(row, Network(params, carry, apply, found), batch)


def named(row: Row, model: Any) -> dict[str, nnx.Param]:
    """The parameter of each weight."""
    places = {"embedding": model.embedding.embedding} if row.embedding else {}
    places |= {"b": model.b} if row.tied else {"w": model.readout.kernel, "b": model.readout.bias}
    for layer, core in enumerate(model.core):
        places |= {f"w_ih_{layer}": core.cell.dense_i.kernel, f"w_hh_{layer}": core.cell.dense_h.kernel}
        places[f"b_{layer}"] = (core.cell.dense_h if row.cell == "lstm" else core.cell.dense_i).bias
    return places
