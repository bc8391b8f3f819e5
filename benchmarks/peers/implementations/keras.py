"""Keras on JAX: `LSTM` and its like, in a train step of JAX that hands on all state, as its guide does. Rows first."""

import importlib
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.jax_step import Network, prepare
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Batch, Row, Weights

os.environ["KERAS_BACKEND"] = "jax"
keras: Any = importlib.import_module("keras")

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "elman": keras.layers.SimpleRNN}
ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "elman": (0,)}
"""The gates of its GRU are z, r, n."""


class Model(keras.Model):
    """Embedding, recurrent layers and readout, with dropout between them."""

    def __init__(self, row: Row) -> None:
        """Make the layers of a row."""
        super().__init__()
        self.embedding: Any = keras.layers.Embedding(row.outputs, row.embedding) if row.embedding else None
        self.core = [CELLS[row.cell](row.hidden, return_sequences=True, return_state=True) for _ in row.inputs]
        self.drops = [keras.layers.Dropout(row.dropout) for _ in range(row.layers + 1)]
        self.readout: Any = None if row.tied else keras.layers.Dense(row.outputs)
        self.b = self.add_weight(shape=(row.outputs,), initializer="zeros") if row.tied else None

    def call(self, inputs, carry, training=False):
        """The new carry, and the logits of every step or of the last one."""
        xs, after = self.drops[0](self.embedding(inputs), training=training) if self.embedding else inputs, []
        for layer, before, drop in zip(self.core, carry, self.drops[1:], strict=True):
            xs, *last = layer(xs, initial_state=before)
            after.append(last)
            xs = drop(xs, training=training)
        if self.embedding is None:
            return after, self.readout(xs[:, -1])
        if self.readout is not None:
            return after, self.readout(xs)
        return after, keras.ops.matmul(xs, keras.ops.transpose(self.embedding.embeddings)) + self.b


def build(row: Row, weights: Weights, batch: Batch) -> Prepared:
    """Prepare a row.

    Args:
        row: the row.
        weights: to start from.
        batch: the data.

    Returns:
        It, ready to run.
    """
    batch = Batch(np.swapaxes(batch.inputs, 0, 1).copy(), batch.targets.T.copy())
    states = 2 if row.cell == "lstm" else 1
    carry = [[jnp.zeros((row.batch, row.hidden))] * states for _ in range(row.layers)]
    model = Model(row)
    model(batch.inputs, carry)
    names = {id(variable): name for name, variable in named(row, model).items()}
    trained = [names[id(variable)] for variable in model.trainable_variables]
    params = {name: reordered(row, name, value) for name, value in weights.items()}
    seeds = [variable.value for variable in model.non_trainable_variables]

    def apply(params, carry, inputs, key):
        carry, seeds = carry
        given = [with_second_bias(row, name, params[name]) for name in trained]
        (carry, logits), seeds = model.stateless_call(given, seeds, inputs, carry, training=row.dropout > 0)
        return (carry, seeds), logits

    def found(params) -> Weights:
        return {name: reordered(row, name, np.asarray(value)) for name, value in params.items()}

    return prepare(row, Network(params, (carry, seeds), apply, found), batch)


def named(row: Row, model: Any) -> dict[str, Any]:
    """The variable of each weight."""
    places = {"embedding": model.embedding.embeddings} if row.embedding else {}
    places |= {"b": model.b} if row.tied else {"w": model.readout.kernel, "b": model.readout.bias}
    for layer, core in enumerate(model.core):
        cell = core.cell
        places |= {f"w_ih_{layer}": cell.kernel, f"w_hh_{layer}": cell.recurrent_kernel, f"b_{layer}": cell.bias}
    return places


def reordered(row: Row, name: str, array: np.ndarray) -> np.ndarray:
    """A weight with its gates as Keras has them, or back."""
    if not name.startswith(("w_", "b_")):
        return array
    parts = np.split(array, len(ORDER[row.cell]), axis=-1)
    return np.concatenate([parts[gate] for gate in ORDER[row.cell]], axis=-1)


def with_second_bias(row: Row, name: str, value: jax.Array) -> jax.Array:
    """The bias of a GRU with a second one below, which stays zero."""
    return jnp.stack([value, jnp.zeros_like(value)]) if row.cell == "gru" and name.startswith("b_") else value
