"""Flax linen: `nn.RNN` over `nn.OptimizedLSTMCell` and its like."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.jax_step import Network, prepare
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Batch, Row, Weights

CELLS = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "elman": nn.SimpleCell}
GATES = {"lstm": "ifgo", "gru": "rzn"}


class Model(nn.Module):
    """Embedding, recurrent layers and readout, with dropout between them."""

    row: Row

    @nn.compact
    def __call__(self, carry, inputs):
        """The new carry, and the logits of every step or of the last one."""
        row, after = self.row, []
        embedding = nn.Embed(row.outputs, row.embedding, name="embedding") if row.embedding else None
        drop = nn.Dropout(row.dropout, deterministic=not row.dropout)
        xs = drop(embedding(inputs)) if embedding else inputs
        for layer in range(row.layers):
            cell = CELLS[row.cell](row.hidden, name=f"layer_{layer}")
            last, xs = nn.RNN(cell, time_major=True, return_carry=True)(xs, initial_carry=carry[layer])
            after.append(last)
            xs = drop(xs)
        ys = xs if embedding else xs[-1]
        if not row.tied or embedding is None:
            return tuple(after), nn.Dense(row.outputs, name="readout")(ys)
        return tuple(after), embedding.attend(ys) + self.param("b", nn.initializers.zeros, (row.outputs,))


def build(row: Row, weights: Weights, batch: Batch) -> Prepared:
    """Prepare a row.

    Args:
        row: the row.
        weights: to start from.
        batch: the data.

    Returns:
        It, ready to run.
    """
    model, zeros = Model(row), jnp.zeros((row.batch, row.hidden))
    carry = tuple((zeros, zeros) if row.cell == "lstm" else zeros for _ in range(row.layers))

    def apply(params, carry, inputs, key):
        variables = {"params": with_frozen(row, params)}
        return model.apply(variables, carry, inputs, rngs={"dropout": key})

    network = Network(as_params(row, weights), carry, apply, lambda params: as_weights(row, params))
    return prepare(row, network, batch)


def as_params(row: Row, weights: Weights) -> Any:
    """The parameters with these weights, without the second bias of the GRU's candidate."""
    params: Any = {"embedding": {"embedding": weights["embedding"]}} if row.embedding else {}
    params |= {"b": weights["b"]} if row.tied else {"readout": {"kernel": weights["w"], "bias": weights["b"]}}
    for layer in range(row.layers):
        w_ih, w_hh, b = (weights[f"{name}_{layer}"] for name in ("w_ih", "w_hh", "b"))
        if row.cell == "elman":
            params[f"layer_{layer}"] = {"i": {"kernel": w_ih, "bias": b}, "h": {"kernel": w_hh}}
            continue
        gates = GATES[row.cell]
        low, high, bias = (dict(zip(gates, np.split(w, len(gates), axis=-1), strict=True)) for w in (w_ih, w_hh, b))
        below, above = ("i", "h") if biased(row) == "i" else ("h", "i")
        kernels = {"i": low, "h": high}
        params[f"layer_{layer}"] = {f"{above}{gate}": {"kernel": kernels[above][gate]} for gate in gates} | {
            f"{below}{gate}": {"kernel": kernels[below][gate], "bias": bias[gate]} for gate in gates
        }
    return params


def biased(row: Row) -> str:
    """Which of a gate's two products has the bias."""
    return "h" if row.cell == "lstm" else "i"


def with_frozen(row: Row, params: Any) -> Any:
    """The parameters with the second bias of the GRU's candidate, which stays zero."""
    if row.cell != "gru":
        return params
    zeros = jnp.zeros(row.hidden)
    names = [f"layer_{layer}" for layer in range(row.layers)]
    return params | {name: params[name] | {"hn": params[name]["hn"] | {"bias": zeros}} for name in names}


def as_weights(row: Row, params: Any) -> Weights:
    """The weights of the parameters."""
    found = {"embedding": params["embedding"]["embedding"]} if row.embedding else {}
    readout = params.get("readout", {})
    found |= {"b": params["b"]} if row.tied else {"w": readout["kernel"], "b": readout["bias"]}
    gates = GATES.get(row.cell, [""])
    for layer in range(row.layers):
        of_layer = params[f"layer_{layer}"]
        parts = {"w_ih": ("i", "kernel"), "w_hh": ("h", "kernel"), "b": (biased(row), "bias")}
        for name, (side, leaf) in parts.items():
            found[f"{name}_{layer}"] = jnp.concatenate([of_layer[side + gate][leaf] for gate in gates], axis=-1)
    return jax.tree.map(np.asarray, found)
