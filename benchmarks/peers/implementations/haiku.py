"""Haiku: `hk.LSTM` in `hk.dynamic_unroll`. Its GRU resets before the product, its `VanillaRNN` has no tanh."""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.jax_step import Network, prepare
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Batch, Row, Weights

hk: Any = importlib.import_module("haiku")

CELLS = {"lstm": hk.LSTM}
ORDER = (0, 2, 1, 3)
"""Its gates are i, g, f, o."""


def build(row: Row, weights: Weights, batch: Batch) -> Prepared:
    """Prepare a row.

    Args:
        row: the row.
        weights: to start from.
        batch: the data.

    Returns:
        It, ready to run.
    """

    def network(carry, inputs):
        embedding = hk.Embed(row.outputs, row.embedding, name="embedding") if row.embedding else None
        xs, after = dropped(row, embedding(inputs)) if embedding else inputs, []
        for layer, before in enumerate(carry):
            xs, last = hk.dynamic_unroll(CELLS[row.cell](row.hidden, name=f"layer_{layer}"), xs, before)
            after.append(last)
            xs = dropped(row, xs)
        if embedding is None:
            return after, hk.Linear(row.outputs, name="readout")(xs[-1])
        if row.tied:
            return after, xs @ embedding.embeddings.T + hk.get_parameter("b", (row.outputs,), init=jnp.zeros)
        return after, hk.Linear(row.outputs, name="readout")(xs)

    apply = hk.transform(network).apply
    zeros = jnp.zeros((row.batch, row.hidden))
    carry = [hk.LSTMState(zeros, zeros) for _ in range(row.layers)]

    return prepare(
        row,
        Network(
            as_params(row, weights),
            carry,
            lambda params, carry, inputs, key: apply(params, key, carry, inputs),
            lambda params: as_weights(row, params),
        ),
        batch,
    )


def dropped(row: Row, xs):
    """Dropout, where the row has it."""
    return hk.dropout(hk.next_rng_key(), row.dropout, xs) if row.dropout else xs


def as_params(row: Row, weights: Weights) -> Any:
    """The parameters with these weights: input and state share a matrix, the forget gate, which adds 1, has 1 less."""
    params: Any = {"embedding": {"embeddings": weights["embedding"]}} if row.embedding else {}
    params |= {"~": {"b": weights["b"]}} if row.tied else {"readout": {"w": weights["w"], "b": weights["b"]}}
    for layer in range(row.layers):
        both = np.concatenate([weights[f"w_ih_{layer}"], weights[f"w_hh_{layer}"]])
        b = weights[f"b_{layer}"] - forget_offset(row)
        params[f"layer_{layer}/linear"] = {"w": reordered(both), "b": reordered(b)}
    return params


def as_weights(row: Row, params: Any) -> Weights:
    """The weights of the parameters."""
    params = jax.tree.map(np.asarray, params)
    found = {"embedding": params["embedding"]["embeddings"]} if row.embedding else {}
    found |= params["~"] if row.tied else params["readout"]
    for layer, size in enumerate(row.inputs):
        linear = params[f"layer_{layer}/linear"]
        found[f"w_ih_{layer}"], found[f"w_hh_{layer}"] = np.split(reordered(linear["w"]), [size])
        found[f"b_{layer}"] = reordered(linear["b"]) + forget_offset(row)
    return found


def reordered(array: np.ndarray) -> np.ndarray:
    """Gates i, f, g, o as i, g, f, o, or back."""
    parts = np.split(array, 4, axis=-1)
    return np.concatenate([parts[gate] for gate in ORDER], axis=-1)


def forget_offset(row: Row) -> np.ndarray:
    """1 for the forget gate, of gates i, f, g, o."""
    return np.repeat(np.array([0, 1, 0, 0], np.float32), row.hidden)
