"""What a run takes of its machine: devices, memory that is kept, programs compiled before."""

import os
from pathlib import Path

import jax
from jax.sharding import Mesh

from jaxrnn.allocator import keep_buffers
from jaxrnn.choices import require
from jaxrnn.config import Config, Machine
from jaxrnn.data.cache import cache_folder
from jaxrnn.mesh import data_mesh
from jaxrnn.parallel import check_rows
from jaxrnn.running.processes import connect

MACHINE = Machine()

_CACHES = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
_WORTH_KEEPING = 0.5  # seconds of compilation; smaller programs are compiled as fast as they are read


def prepare(config: Config) -> None:
    """Settle what must be settled before JAX looks for devices. Where it has looked already, they stay as they are.

    Args:
        config: a configuration, of which this takes `parallel` and `machine`.

    Raises:
        InputError: if the other processes are not found.
    """
    prepare_one(config.machine)
    _divide_cpu(config)
    connect(config)


def prepare_one(machine: Machine = MACHINE) -> None:
    """Settle what a command on one device needs: how buffers are kept, programs dispatched, and compiled ones kept.

    To be called before the first array is made: buffers that exist lie where the C library has put them.

    Args:
        machine: the section; by default as it is built in, for where a run was trained says nothing of this machine.
    """
    if machine.keep_buffers:
        keep_buffers()
    # Else a program takes its memory while the one before still has its own; there is nothing to gain by it, for one
    # keeps all cores busy by itself.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    _keep_programs(machine)


def choose_mesh(config: Config) -> Mesh:
    """Choose the devices that share the rows of a batch.

    Args:
        config: a configuration.

    Returns:
        The mesh. Unless a number is asked for: as many of the devices there are as divide the rows evenly.

    Raises:
        InputError: if what is asked for is not there, or does not divide the rows.
    """
    rows, asked = config.data.batch_size, config.parallel.devices
    processes, there = jax.process_count(), data_mesh().size
    if asked is not None:
        check_rows(rows, asked, "data.batch_size")
        alone = f"at most {there}, as many as there are"
        several = f"a multiple of {processes}, the number of processes, and at most {there}: as many of each"
        possible = asked % processes == 0 and asked <= there
        require(possible, "parallel.devices", asked, alone if processes == 1 else several)
        return data_mesh(asked)
    if processes > 1:
        check_rows(rows, processes, "data.batch_size")
    return data_mesh(processes * _most(there // processes, rows // processes))


def cores_pay(parameters: int, steps: int) -> bool:
    """Tell whether rows are worth splitting over the cores of a CPU.

    Apart, cores need not wait for each other within the loop over time; together, they add up their gradients once an
    update and each makes the update of all parameters.

    Args:
        parameters: P.
        steps: in the loops over time, those of all layers and chunks of an update.

    Returns:
        Whether there are at most 10,000 parameters for each step. Measured on two cores, one device's time against
        that of two, at P / steps of 87: 1.41, and 33,000: 0.93 (`benchmarks/results/scaling.json`); between them, once
        and on another machine, 6,700: 1.03, and 18,600: 0.86.
    """
    return parameters <= 10_000 * steps


def devices_of(cores: int, config: Config) -> int:
    """Tell how many devices a process makes of a CPU's cores, which the processes share.

    Args:
        cores: how many there are.
        config: the configuration.

    Returns:
        Its part of the devices asked for; or, where no number is asked for, of the cores as many as divide its rows.

    Example:
        >>> from jaxrnn.config import Data, Parallel
        >>> devices_of(8, Config(data=Data(batch_size=64), parallel=Parallel(processes=2)))
        4
    """
    processes, asked = config.parallel.processes or 1, config.parallel.devices
    own = max(1, (asked or cores) // processes)
    return own if asked else _most(own, max(1, config.data.batch_size // processes))


def _keep_programs(machine: Machine) -> None:
    """Keep compiled programs in a folder, so that the next start is quick. What the environment says goes first."""
    where = machine.compilation_cache
    if where == "off" or any(name in os.environ for name in _CACHES):
        return
    folder = cache_folder() / "compiled" if where == "auto" else Path(os.path.expanduser(where))
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING)


def _divide_cpu(config: Config) -> None:
    """Make devices of the cores of a CPU: one runs its rows through the whole time loop by itself."""
    if jax.config.jax_num_cpu_devices > 0:  # type: ignore[attr-defined]
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", devices_of(cores, config))
    except RuntimeError:  # JAX has its devices already, as in a notebook or a test
        pass


def _most(devices: int, rows: int) -> int:
    """The greatest number up to that of the devices that divides the rows."""
    return max(number for number in range(1, devices + 1) if rows % number == 0)
