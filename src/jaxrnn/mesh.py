"""Devices in a row, and how arrays come to them and back.

A mesh is the cores of a host, GPUs or TPUs, of one process or of many; its one axis is for the rows of a batch.
"""

from collections.abc import Callable, Iterable
from itertools import groupby
from operator import itemgetter
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
        number: how many in all, the first of each process; None takes of each as many as the smallest has.

    Returns:
        A mesh with the one axis `data`, process by process.

    Raises:
        InputError: if there are not so many, or they cannot be the same number of each process.

    Example:
        >>> data_mesh(1).axis_names, data_mesh(1).size
        (('data',), 1)
    """
    devices = {(device.process_index, device.id): device for device in jax.devices()}
    return Mesh(np.array([devices[place] for place in _as_many_of_each(devices, number)]), (AXIS,))


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
        tree: NumPy arrays with all rows, of which each process takes those of its devices.
        axis: where the rows lie, in every leaf.

    Returns:
        Arrays of all rows; for one device the tree as it is.

    Raises:
        InputError: if the devices cannot have the same number of rows each.

    Example:
        >>> put_rows(data_mesh(1), np.arange(6).reshape(3, 2), axis=1).shape
        (3, 2)
    """
    if mesh.size == 1:
        return tree
    expected = f"a multiple of {mesh.size}, the number of devices"
    for rows in {leaf.shape[axis] for leaf in jax.tree.leaves(tree)}:
        require(rows % mesh.size == 0, "put_rows: the number of rows", rows, expected)
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))
    return jax.tree.map(lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__), tree)


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


def _as_many_of_each(places: Iterable[tuple[int, int]], number: int | None) -> list[tuple[int, int]]:
    """Choose devices by their process and their own number: of each process as many as of every other."""
    of_each = [list(own) for _, own in groupby(sorted(places), key=itemgetter(0))]
    processes, most = len(of_each), min(map(len, of_each))
    number = processes * most if number is None else number
    possible = is_whole(number) and number % processes == 0 and number // processes <= most
    whole = f"a whole number from 1 to the {most} devices there are"
    several = f"a multiple of {processes}, the number of processes, and at most {processes * most}: {most} of each"
    require(possible, "data_mesh: number", number, whole if processes == 1 else several)
    return [place for own in of_each for place in own[: number // processes]]


def _identity(tree: Any) -> Any:
    """The tree; a function with a name is compiled once for trees of one form."""
    return tree
