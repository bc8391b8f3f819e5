"""The same products with one stream for each core, which has its part of the rows."""

import os

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as Spec

from benchmarks.peers.implementations.products import CELLS, activations, as_weights, multiply
from benchmarks.peers.jax_step import compiled
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Batch, Row, Weights
from jaxrnn.allocator import keep_buffers
from jaxrnn.mesh import AXIS, data_mesh

__all__ = ["CELLS", "build"]


def build(row: Row, weights: Weights, batch: Batch) -> Prepared:
    """Prepare a row's products; the sums over cores that a train step needs are left out.

    Args:
        row: the row.
        weights: to multiply with.
        batch: not used.

    Returns:
        It, ready to run.
    """
    del batch
    keep_buffers()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    number = max(number for number in range(1, cores + 1) if row.batch % number == 0)
    jax.config.update("jax_num_cpu_devices", number)
    mesh = data_mesh(number)

    def part(w, a):
        return jax.tree.map(lambda leaf: leaf[None], multiply(row, w, a))

    spread = jax.shard_map(part, mesh=mesh, in_specs=(Spec(), Spec(None, AXIS)), out_specs=Spec(AXIS), check_vma=False)
    step = jax.jit(lambda state, data: (state, spread(*data)), donate_argnums=0)
    everywhere, by_rows = NamedSharding(mesh, Spec()), NamedSharding(mesh, Spec(None, AXIS))
    data = jax.device_put(as_weights(weights), everywhere), jax.device_put(activations(row), by_rows)
    state = jax.device_put(jnp.zeros(()), everywhere)
    return compiled(step, state, data, lambda told: 0.0, lambda state: {}, devices=number)
