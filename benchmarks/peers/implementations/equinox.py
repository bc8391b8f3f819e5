"""Equinox: `LSTMCell` and `GRUCell`, mapped over the rows by `jax.vmap` and over time by `jax.lax.scan`."""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.jax_step import Network, prepare
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Batch, Row, Weights

eqx: Any = importlib.import_module("equinox")

CELLS = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}


class Model(eqx.Module):
    """Embedding, recurrent layers and readout, with dropout between them."""

    embedding: Any
    core: list[Any]
    readout: Any
    b: Any
    drop: Any

    def __init__(self, row: Row, key: Any) -> None:
        """Make the layers of a row."""
        self.embedding = eqx.nn.Embedding(row.outputs, row.embedding, key=key) if row.embedding else None
        self.core = [CELLS[row.cell](size, row.hidden, key=key) for size in row.inputs]
        self.readout = None if row.tied else eqx.nn.Linear(row.hidden, row.outputs, key=key)
        self.b = jnp.zeros(row.outputs) if row.tied else None
        self.drop = eqx.nn.Dropout(row.dropout, inference=not row.dropout)

    def __call__(self, carry, inputs, key):
        """The new carry, and the logits of every step or of the last one."""
        first, *keys = jax.random.split(key, len(self.core) + 1)
        xs, after = self.drop(by_step(self.embedding)(inputs), key=first) if self.embedding else inputs, []
        for cell, before, key in zip(self.core, carry, keys, strict=True):
            last, xs = jax.lax.scan(lambda carry, x, cell=cell: step(cell, carry, x), before, xs)
            after.append(last)
            xs = self.drop(xs, key=key)
        if self.embedding is None:
            return after, jax.vmap(self.readout)(xs[-1])
        return after, xs @ self.embedding.weight.T + self.b if self.readout is None else by_step(self.readout)(xs)


def step(cell, carry, x):
    """One step of all rows."""
    carry = jax.vmap(cell)(x, carry)
    return carry, carry[0] if isinstance(carry, tuple) else carry


def by_step(layer):
    """A layer of one row, for all steps and rows."""
    return jax.vmap(jax.vmap(layer))


def build(row: Row, weights: Weights, batch: Batch) -> Prepared:
    """Prepare a row.

    Args:
        row: the row.
        weights: to start from.
        batch: the data.

    Returns:
        It, ready to run.
    """
    model, zeros = Model(row, jax.random.key(0)), jnp.zeros((row.batch, row.hidden))
    turned = [jnp.asarray(value) for value in turn(weights).values()]
    model = eqx.tree_at(lambda model: list(named(model).values()), model, [turned[i] for i in order(weights, model)])
    frozen = [jnp.zeros(row.hidden)] * row.layers if row.cell == "gru" else []
    params, static = eqx.partition(without_second_bias(row, model, [None] * row.layers), eqx.is_inexact_array)
    carry = [(zeros, zeros) if row.cell == "lstm" else zeros for _ in range(row.layers)]

    def apply(params, carry, inputs, key):
        return without_second_bias(row, eqx.combine(params, static), frozen)(carry, inputs, key)

    def found(params) -> Weights:
        return turn({name: np.asarray(value) for name, value in named(params).items()})

    return prepare(row, Network(params, carry, apply, found), batch)


def named(model: Any) -> dict[str, Any]:
    """The arrays of the model under the names of the weights: matrices transposed, but for the embedding."""
    places = {"embedding": model.embedding.weight} if model.embedding else {}
    places |= {"b": model.b} if model.readout is None else {"w": model.readout.weight, "b": model.readout.bias}
    for layer, cell in enumerate(model.core):
        places |= {f"w_ih_{layer}": cell.weight_ih, f"w_hh_{layer}": cell.weight_hh, f"b_{layer}": cell.bias}
    return places


def turn(weights: Weights) -> Weights:
    """Transpose the matrices, but for the embedding."""
    return {name: value if name == "embedding" else value.T for name, value in weights.items()}


def order(weights: Weights, model: Any) -> list[int]:
    """Where each array of the model stands among the weights."""
    names = list(weights)
    return [names.index(name) for name in named(model)]


def without_second_bias(row: Row, model: Any, values: list[Any]) -> Any:
    """The model with other values for the second bias of the GRU's candidate, which stays zero and is not trained."""
    if row.cell != "gru":
        return model
    return eqx.tree_at(lambda m: [c.bias_n for c in m.core], model, values, is_leaf=lambda leaf: leaf is None)
