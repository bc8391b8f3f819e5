"""Only the matrix products of a train step, in XLA: the time that is left when all else takes none.

Forward, of each layer the input's product for all steps at once and the state's in the loop, and the readout's;
backward, of each its two: that of the other side in the same place, and that of the weight for all steps at once. An
input that is not trained has no gradient. Large products take numbers that are there; only the loops hand on what they
make, for that is why they are loops.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.jax_step import compiled
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import GATES, Batch, Row, Weights
from jaxrnn.allocator import keep_buffers

CELLS = tuple(GATES)


def build(row: Row, weights: Weights, batch: Batch) -> Prepared:
    """Prepare a row's products with XLA's own threading.

    Args:
        row: the row.
        weights: to multiply with.
        batch: not used.

    Returns:
        It, ready to run.
    """
    del batch
    keep_buffers()
    step = jax.jit(lambda state, data: (state, multiply(row, *data)), donate_argnums=0)
    data = (as_weights(weights), activations(row))
    return compiled(step, jnp.zeros(()), data, lambda told: 0.0, lambda state: {})


def as_weights(weights: Weights) -> dict[str, Any]:
    """The matrices, on the device."""
    return {name: jnp.asarray(value) for name, value in weights.items() if value.ndim == 2}


def activations(row: Row) -> dict[str, Any]:
    """Random numbers for what a step computes: `x [T, B, I]`, `h` and `z` of each layer, `y`, `d` of the logits."""
    rng, rows = np.random.default_rng(2), (row.steps, row.batch)
    told = (1 if row.embedding is None else row.steps, row.batch)
    shapes = {f"x_{layer}": (*rows, size) for layer, size in enumerate(row.inputs)}
    shapes |= {f"h_{layer}": (*rows, row.hidden) for layer in range(row.layers)}
    shapes |= {f"z_{layer}": (*rows, GATES[row.cell] * row.hidden) for layer in range(row.layers)}
    shapes |= {"y": (*told, row.hidden), "d": (*told, row.outputs)}
    return {name: jnp.asarray(rng.normal(0, 0.1, shape), jnp.float32) for name, shape in shapes.items()}


def multiply(row: Row, w: dict[str, Any], a: dict[str, Any]) -> dict[str, Any]:
    """All products of a train step; everything that comes out is wanted.

    Args:
        row: the row.
        w: the matrices.
        a: what they are multiplied with, and with each other.

    Returns:
        The results.
    """
    readout = w["embedding"].T if row.tied else w["w"]
    out = {"logits": a["y"] @ readout, "d_y": a["d"] @ readout.T, "d_w": outer(a["y"], a["d"])}
    for layer in range(row.layers):
        x, h, z = (a[f"{name}_{layer}"] for name in "xhz")
        w_ih, w_hh = w[f"w_ih_{layer}"], w[f"w_hh_{layer}"]
        out |= {f"z_{layer}": x @ w_ih, f"d_w_ih_{layer}": outer(x, z), f"d_w_hh_{layer}": outer(h, z)}
        if layer or row.embedding:
            out[f"d_x_{layer}"] = z @ w_ih.T
        out[f"h_{layer}"], out[f"d_h_{layer}"] = loops(GATES[row.cell], h[0], z[0], w_hh, row.steps)
    return out


def outer(left: Any, right: Any) -> Any:
    """The gradient of a weight: `[T, B, I], [T, B, O] -> [I, O]`."""
    return left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])


def loops(gates: int, h: Any, z: Any, w_hh: Any, steps: int) -> tuple[Any, Any]:
    """`h @ w_hh` and `d @ w_hh.T`, each T times, one after the other.

    Args:
        gates: G.
        h: `[B, H]`.
        z: `[B, G*H]`.
        w_hh: `[H, G*H]`.
        steps: T.

    Returns:
        The last state `[B, H]`, and the last cotangent.
    """
    transposed = w_hh.T

    def forward(_, state):
        return h + sum(jnp.split(state @ w_hh, gates, axis=-1))

    def backward(_, state):
        return z + jnp.concatenate([state @ transposed] * gates, axis=-1)

    return jax.lax.fori_loop(0, steps, forward, h), jax.lax.fori_loop(0, steps, backward, z)
