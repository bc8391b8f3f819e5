"""jaxrnn, as its trainer runs it: rows split over the cores, freed memory kept, `make_train_step`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from benchmarks.peers.jax_step import compiled
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Batch, Row, Weights
from jaxrnn import cells, training
from jaxrnn.build import PRECISIONS
from jaxrnn.cell import Cell
from jaxrnn.compose import dropout, language_model, stack, with_readout
from jaxrnn.config import Config, Data, Machine, Parallel
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.mesh import data_mesh, place, put_rows
from jaxrnn.optimizers import optimizer
from jaxrnn.parallel import row_shardings
from jaxrnn.running import devices

CELLS = {name: partial(getattr(cells, name), b_hh=None) for name in ("lstm", "gru", "elman")}
DEFAULT = Parallel()


def build(
    row: Row, weights: Weights, batch: Batch, parallel: Parallel = DEFAULT, precision: str = "float32"
) -> Prepared:
    """Prepare a row.

    Args:
        row: the row.
        weights: to start from.
        batch: the data.
        parallel: the devices and processes that share the rows.
        precision: what products are made from.

    Returns:
        It, ready to run.
    """
    data, machine = Data(batch_size=row.batch), Machine(compilation_cache="off")
    config = Config(data=data, machine=machine, parallel=parallel)
    devices.prepare(config)
    mesh = choose_mesh(row, config, sum(value.size for value in weights.values()))
    cell, chunk = PRECISIONS[precision](model(row)), as_chunk(row, batch)
    rule, descent = bptt(cell, softmax_cross_entropy), optimizer("sgd", row.rate, clip_norm=row.clip)

    def first(rows: int) -> training.TrainState:
        carry, piece = cell.initial_carry(rows, jax.random.key(0)), jax.tree.map(lambda leaf: leaf[:, :rows], chunk)
        return training.init(rule, descent, jax.random.key(1), as_params(row, weights), carry, piece)

    shapes = (jax.eval_shape(partial(first, rows)) for rows in (row.batch, row.batch // mesh.size))
    state = first(row.batch) if mesh.size == 1 else place(first(row.batch), row_shardings(mesh, *shapes))
    stacked = training.stack_chunks([chunk])
    chunks = jax.device_put(stacked) if mesh.size == 1 else put_rows(mesh, stacked, axis=3)
    train_step: Any = training.make_train_step(rule, descent, mesh=mesh)
    return compiled(train_step, state, chunks, mean_loss, lambda state: as_weights(row, state.params), mesh, mesh.size)


def choose_mesh(row: Row, config: Config, parameters: int) -> Mesh:
    """The devices: unless a number is asked for, the cores of a CPU where that pays."""
    mesh = devices.choose_mesh(config)
    split = config.parallel.devices is not None or devices.cores_pay(parameters, row.steps * row.layers)
    return mesh if split else data_mesh(jax.process_count())


def mean_loss(metrics: training.Metrics) -> float:
    """The mean loss of the one update of a call."""
    return float((metrics.loss / metrics.weight)[0])


def model(row: Row) -> Cell:
    """The row's model."""
    layers = [CELLS[row.cell](size, row.hidden) for size in row.inputs]
    if row.embedding is None:
        return with_readout(stack(*layers), row.outputs)
    drops = dropout(row.dropout) if row.dropout else None
    core = [cell for layer in layers for cell in (drops, layer) if cell is not None]
    core = core[1:] if drops else core
    return language_model(stack(*core), row.outputs, below=drops, above=drops, tie=row.tied)


def as_chunk(row: Row, batch: Batch) -> Chunk:
    """The data as a chunk; where there is one target a row, every step but the last has weight 0."""
    shape = (row.steps, row.batch)
    weight: Any = np.ones(shape, np.float32)
    if row.embedding is None:
        weight[:-1] = 0
    inputs = batch.inputs if row.embedding else jnp.asarray(batch.inputs, float)
    return Chunk(inputs, np.broadcast_to(batch.targets, shape).copy(), weight)


def as_params(row: Row, weights: dict[str, Any]) -> Any:
    """The parameters with these weights, in the dtype that is the default."""
    weights = {name: jnp.asarray(value, float) for name, value in weights.items()}
    core = {
        name: {"w_ih": weights[f"w_ih_{layer}"], "w_hh": weights[f"w_hh_{layer}"], "b_ih": weights[f"b_{layer}"]}
        for layer, name in enumerate(layer_names(row))
    }
    core |= {str(2 * layer + 1): {} for layer in range(row.layers - 1 if row.dropout else 0)}
    readout = {name: weights[name] for name in ("w", "b") if name in weights}
    if row.embedding is None:
        return {"cell": core, "readout": readout}
    drops = {"below": {}, "above": {}} if row.dropout else {}
    return {"embedding": {"w": weights["embedding"]}, "core": core, **drops, "readout": readout}


def as_weights(row: Row, params: Any) -> Weights:
    """The weights of the parameters."""
    found = {name: params["readout"][name] for name in params["readout"]}
    found |= {"embedding": params["embedding"]["w"]} if row.embedding else {}
    core = params["cell" if row.embedding is None else "core"]
    for layer, name in enumerate(layer_names(row)):
        of_layer = core[name]
        found |= {f"{kind}_{layer}": of_layer[kind] for kind in ("w_ih", "w_hh")} | {f"b_{layer}": of_layer["b_ih"]}
    return {name: np.asarray(leaf) for name, leaf in found.items()}


def layer_names(row: Row) -> list[str]:
    """What the stack calls its recurrent layers: with dropout, every second cell is one."""
    return [str(layer * (2 if row.dropout else 1)) for layer in range(row.layers)]
