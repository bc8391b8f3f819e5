"""Devices in a row, and how arrays come to them and back.

A mesh is the cores of a host, GPUs or TPUs, of one process or of many; its one axis is for the rows of a batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrnn.choices import is_whole, require

AXIS = "data"
"""The name of the mesh's one axis."""


def data_mesh(number: int | None = None) -> Mesh:
    """Put devices in a row, as many of each process as of every other.

    Args:
        number: how many in all, the first of each process; None takes all there are.

    Returns:
        A mesh with the one axis `data`, process by process.

    Raises:
        InputError: if there are not so many, or they cannot be the same number of each process.

    Example:
        >>> data_mesh(1).axis_names, data_mesh(1).size
        (('data',), 1)
    """
    processes, here = jax.process_count(), jax.local_device_count()
    number = processes * here if number is None else number
    possible = is_whole(number) and number % processes == 0 and number // processes <= here
    from_each = "" if processes == 1 else f", as many from each of {processes} processes"
    expected = f"a whole number from 1 to the {processes * here} devices there are{from_each}"
    require(possible, "data_mesh: number", number, expected)
    in_order = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(in_order).reshape(processes, here)[:, : number // processes].reshape(-1), (AXIS,))


def in_turn(program: Callable, mesh: Mesh | None) -> Callable:
    """Let each call of a program end before it returns, where the devices of a mesh are the cores of a CPU.

    Devices wait for one another in a sum: several such programs under way at once can starve a CPU's few threads.

    Args:
        program: a compiled function.
        mesh: the devices it runs on, or None for one.

    Returns:
        It itself where one device runs it, or devices with queues of their own; else a function of the same arguments.

    Example:
        >>> in_turn(abs, data_mesh(1)) is abs
        True
    """
    if mesh is None or mesh.size == 1 or mesh.devices.flat[0].platform != "cpu":
        return program
    return lambda *arguments, **named: jax.block_until_ready(program(*arguments, **named))


def place(tree: Any, shardings: Any) -> Any:
    """Bring arrays to where they shall lie.

    Args:
        tree: arrays, of NumPy or on one device; the same in every process.
        shardings: one for each leaf, or one for all.

    Returns:
        The same arrays there.
    """
    return jax.jit(_identity, out_shardings=shardings)(tree)


def put_rows(mesh: Mesh, tree: Any, axis: int) -> Any:
    """Bring data to the devices, to each its own rows.

    Args:
        mesh: the devices.
        tree: NumPy arrays with this process's rows; where there is one process, with all rows.
        axis: where the rows lie, in every leaf.

    Returns:
        Arrays of all rows; for one device the tree as it is.

    Raises:
        InputError: if the devices of this process cannot have the same number of rows each.

    Example:
        >>> put_rows(data_mesh(1), np.arange(6).reshape(3, 2), axis=1).shape
        (3, 2)
    """
    if mesh.size == 1:
        return tree
    own = mesh.size // jax.process_count()
    for rows in {leaf.shape[axis] for leaf in jax.tree.leaves(tree)}:
        require(rows % own == 0, "put_rows: the number of rows", rows, f"a multiple of {own}, the number of devices")
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))
    return jax.tree.map(partial(jax.make_array_from_process_local_data, sharding), tree)


def own_rows(rows: int) -> slice:
    """Tell which rows of a batch this process feeds.

    Args:
        rows: B.

    Returns:
        The rows; all of them where there is one process.

    Example:
        >>> own_rows(6)
        slice(0, 6, None)
    """
    each = rows // jax.process_count()
    first = jax.process_index() * each
    return slice(first, first + each)


def on_one_device(tree: Any) -> Any:
    """Take what every device has, such as parameters, from one of them.

    Args:
        tree: arrays that are the same on all devices of a mesh; those of NumPy stay what they are.

    Returns:
        The arrays as the first device of this process has them. Nothing is copied.
    """
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree)


def gathered(tree: Any) -> Any:
    """Make arrays readable whose rows lie in several processes.

    Args:
        tree: arrays on a mesh. Every process must call this at the same time.

    Returns:
        The arrays, with all rows in each process; where there is one process, as they are.
    """
    if jax.process_count() == 1:
        return tree
    everywhere = jax.tree.map(lambda leaf: NamedSharding(leaf.sharding.mesh, PartitionSpec()), tree)
    return jax.block_until_ready(place(tree, everywhere))


def _identity(tree: Any) -> Any:
    """The tree; a function with a name is compiled once for trees of one form."""
    return tree
