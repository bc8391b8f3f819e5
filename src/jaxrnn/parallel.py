"""Data parallelism: the rows of a batch split over devices, by one `shard_map` and one sum.

Rows know nothing of each other, so each device runs the whole time loop over its own ones, and nothing passes between
devices until the sums of an estimate are added up, once. Cores of a host, GPUs, TPUs and several hosts are devices
alike.

::

    mesh = data_mesh(2)                                         # jaxrnn.mesh
    estimator = data_parallel(bptt(cell, loss), mesh)           # the same estimate, on two devices
"""

from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrnn.choices import require
from jaxrnn.errors import InputError
from jaxrnn.gradients.base import CarryState, Chunk, Estimate, GradientEstimator, check_chunk
from jaxrnn.gradients.segments import ChunkLoss, reverse_mode
from jaxrnn.mesh import AXIS
from jaxrnn.trees import threefry
from jaxrnn.types import Params


def data_parallel(estimator: GradientEstimator, mesh: Mesh) -> GradientEstimator:
    """Make an estimator that runs with the rows of its batch split over the devices of a mesh.

    With the rows of state and chunk in n parts, it equals the loop, but for rounding::

        for i in range(n):                                       # at the same time, each on its device
            part, states[i] = estimator.estimate(params, states[i], chunks[i])
            total = total + part                                 # one reduction, after the last step of time

    Which axis of the state holds the rows, the estimator's own `init` says: it is the one that is shorter for fewer
    rows. Noise has a key for each row, so that every row draws what it draws on one device. What all rows share (a
    counter, a key of theirs) must not depend on what the rows hold.

    Args:
        estimator: any estimator whose state knows its rows apart. `adaptive_bptt`, which takes one horizon from all
            rows, is refused. The budget of `checkpointed_bptt` is that of each device.
        mesh: the devices, see `data_mesh`. On a mesh of one the estimator is returned as it is.

    Returns:
        An estimator with the same state, to be called under `jax.jit`. Where state and chunk lie is for XLA to mend;
        see `row_shardings` and `put_rows` for how to have them there at once.

    Raises:
        InputError: (from `estimate`) if the rows cannot be split evenly, or the state mixes them.

    Cost:
        Memory and time of `B / n` rows, and one sum over devices of as many numbers as there are parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients.bptt import bptt
        >>> from jaxrnn.losses import squared_error
        >>> from jaxrnn.mesh import data_mesh
        >>> cell = elman(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((5, 2, 3)), jnp.zeros((5, 2, 4)), jnp.ones((5, 2)))
        >>> estimator = data_parallel(bptt(cell, squared_error), data_mesh())
        >>> estimate, state = estimator.estimate(params, estimator.init(jax.random.key(1), params, carry, chunk), chunk)
        >>> float(estimate.weight)
        10.0
    """
    if mesh.size == 1:
        return estimator

    def estimate(params, state, chunk):
        check_chunk(chunk)
        check_rows(chunk.weight.shape[1], mesh.size)
        specs = _state_specs(estimator, mesh.size, params, state, chunk)
        _refuse_mixed_rows(estimator, specs, mesh.size, params, state, chunk)

        def part(params, state, chunk):
            estimate, state = estimator.estimate(params, state, chunk)
            return jax.lax.psum(estimate, AXIS), state

        # With check_vma, every cell and estimator would have to say which of its zeros differ between devices, and the
        # gradient of parameters that do not differ would be summed already, so that the psum doubles it. Without,
        # nothing is summed but here; that the state's shared leaves do not differ has just been checked.
        layout = {
            "in_specs": (PartitionSpec(), specs, PartitionSpec(None, AXIS)),
            "out_specs": (PartitionSpec(), specs),
        }
        return jax.shard_map(part, mesh=mesh, **layout, check_vma=False)(params, state, chunk)

    return estimator._replace(estimate=estimate)


def by_rows(run: ChunkLoss, mesh: Mesh) -> ChunkLoss:
    """Split the rows of a chunk's loss over devices, without a gradient.

    Leaves of the carry lead with the rows, or have no axis and are shared by all of them.

    Args:
        run: `(params, carry, chunk) -> (carry, (loss, weight))`.
        mesh: the devices.

    Returns:
        The same function, with one sum over devices at its end; on a mesh of one it is `run`.

    Raises:
        InputError: (from the result) if the rows cannot be split evenly, or the carry mixes them.
    """
    if mesh.size == 1:
        return run

    def estimate(params, state, chunk):
        carry, (loss, weight) = run(params, state.carry, chunk)
        return Estimate(loss, weight, grads=()), CarryState(carry)

    split = data_parallel(reverse_mode(run)._replace(estimate=estimate), mesh)

    def whole(params, carry, chunk):
        sums, state = split.estimate(params, CarryState(carry), chunk)
        return state.carry, (sums.loss, sums.weight)

    return whole


def check_rows(rows: int, devices: int, name: str = "data_parallel: rows of the batch") -> None:
    """Refuse a batch that cannot be split evenly.

    Args:
        rows: B.
        devices: n.
        name: what the rows are called in the error.

    Raises:
        InputError: if n does not divide B.
    """
    above = -(-rows // devices) * devices
    near = f"{above - devices} or {above}" if rows > devices else f"{above}"
    require(rows % devices == 0, name, rows, f"a multiple of the {devices} devices, such as {near}")


def row_specs(whole: Any, part: Any) -> Any:
    """Find the axis along which rows lie: the one that is shorter for fewer rows.

    Args:
        whole: arrays or shapes, for B rows.
        part: the same for fewer rows.

    Returns:
        For each leaf, its rows along the mesh's axis; or, where its shape is the same in both, on every device.

    Example:
        >>> import numpy as np
        >>> shapes = [{"key": (), "h": (rows, 3), "past": (5, rows, 3)} for rows in (4, 2)]
        >>> whole, part = ({name: np.zeros(shape) for name, shape in each.items()} for each in shapes)
        >>> {name: tuple(spec) for name, spec in row_specs(whole, part).items()}
        {'h': ('data',), 'key': (), 'past': (None, 'data')}
    """

    def spec(whole, part):
        axes = [axis for axis, (a, b) in enumerate(zip(whole.shape, part.shape, strict=True)) if a != b]
        assert len(axes) <= 1, f"rows lie along one axis, not along {axes} of {whole.shape}"
        return PartitionSpec(*[None] * axes[0], AXIS) if axes else PartitionSpec()

    return jax.tree.map(spec, whole, part)


def row_shardings(mesh: Mesh, whole: Any, part: Any) -> Any:
    """Say where a state lies whose rows are split over a mesh.

    Args:
        mesh: the devices.
        whole: arrays or shapes, for B rows.
        part: the same for fewer rows.

    Returns:
        A sharding for each leaf, see `row_specs`.
    """
    return jax.tree.map(partial(NamedSharding, mesh), row_specs(whole, part))


def _state_specs(estimator: GradientEstimator, parts: int, params: Params, state: Any, chunk: Chunk) -> Any:
    """Where the rows of a state lie: its shapes are compared with those of a state for one part of the rows."""
    carry = jax.tree.map(partial(_fewer_rows, 0, parts), state.carry)
    if isinstance(state, CarryState):  # for a chunk of another length, `init` might make another kind of state
        return CarryState(row_specs(state.carry, carry))
    some = jax.tree.map(partial(_fewer_rows, 1, parts), chunk)
    key = jax.eval_shape(partial(threefry, 0))
    return row_specs(state, jax.eval_shape(estimator.init, key, params, carry, some))


def _fewer_rows(axis: int, parts: int, leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of one part of the rows; a leaf without that axis is shared by all of them."""
    shape = [size // parts if at == axis else size for at, size in enumerate(leaf.shape)]
    return jax.ShapeDtypeStruct(shape, leaf.dtype)


def _refuse_mixed_rows(
    estimator: GradientEstimator, specs: Any, parts: int, params: Params, state: Any, chunk: Chunk
) -> None:
    """Refuse a state where something that all rows share comes to depend on what single rows hold.

    The parts are put side by side by `vmap`, which knows of each result whether it is the same for all of them.
    """
    name = f"data_parallel: {type(state).__name__}"
    axes = [len(spec) - 1 if len(spec) else None for spec in jax.tree.leaves(specs)]
    leaves, structure = jax.tree.flatten(state)
    stacked = [leaf if axis is None else _stacked(axis, parts, leaf) for axis, leaf in zip(axes, leaves, strict=True)]
    arguments = params, jax.tree.unflatten(structure, stacked), jax.tree.map(partial(_stacked, 1, parts), chunk)
    in_axes = None, jax.tree.unflatten(structure, axes), 1

    def stay_the_same(shared):
        def run(params, state, chunk):
            leaves = jax.tree.leaves(estimator.estimate(params, state, chunk)[1])
            return [leaves[number] for number in shared]

        try:
            jax.eval_shape(jax.vmap(run, in_axes, out_axes=None), *arguments)
        except ValueError as error:
            if "out_axes" not in str(error):
                raise
            return False
        except NotImplementedError as error:  # of a kernel that is not written in JAX, such as cuDNN's
            remedy = "use one device, or a cell written in JAX, such as lstm in the place of cudnn_lstm"
            raise InputError(f"{name}: it cannot be told whether rows stay apart ({error}); {remedy}") from None
        return True

    shared = [number for number, axis in enumerate(axes) if axis is None]
    if shared and not stay_the_same(shared):
        names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in jax.tree.leaves_with_path(state)]
        mixed = ", ".join(names[number] for number in shared if not stay_the_same([number]))
        raise InputError(
            f"{name} keeps something of all rows together ({mixed}), so that they "
            "cannot be split; use one device, or another cell or gradient estimator"
        )


def _stacked(axis: int, parts: int, leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of an array whose rows are cut into parts side by side."""
    before, after = leaf.shape[:axis], leaf.shape[axis + 1 :]
    return jax.ShapeDtypeStruct((*before, parts, leaf.shape[axis] // parts, *after), leaf.dtype)
