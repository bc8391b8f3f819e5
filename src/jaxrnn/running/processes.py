"""The processes that train together: who speaks for them, and where they wait for each other.

Between updates their devices talk, by collectives. Those want all processes at once: on CPUs, half a minute after the
first has come the others are given up. So before training and after it, where each works for as long as it takes, they
meet by the service that brought them together, which waits.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import jax
import numpy as np
from jax._src import distributed  # JAX shows the client of that service nowhere else
from jax.experimental import multihost_utils

from jaxrnn.config import Config
from jaxrnn.errors import InputError

_ASKED_EVERY = 16
_PATIENCE = 24 * 60 * 60 * 1000  # milliseconds
_INTERRUPTED = "interrupted"


def connect(config: Config) -> None:
    """Find the other processes, if there are any.

    Args:
        config: a configuration, of which this takes `parallel`.

    Raises:
        InputError: if they are not found.
    """
    asked = config.parallel
    if asked.coordinator is None:
        return
    try:
        if asked.coordinator == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(asked.coordinator, asked.processes, asked.process)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"parallel.coordinator = {asked.coordinator!r}: the processes could not reach each other: {reason}"
        ) from None


def is_first() -> bool:
    """Tell whether this process is the one that speaks, and whose run stays.

    Returns:
        Whether it is; True where there is one process.
    """
    return jax.process_index() == 0


@contextmanager
def together(place: str) -> Iterator[None]:
    """Let each process do what the `with` block says by itself, and none go on before all have; or part, if one failed.

    Args:
        place: a name for it, used once in a run.

    Yields:
        Nothing.

    Raises:
        InputError: where another process has failed, with what it says.
        KeyboardInterrupt: where another process was interrupted.
    """
    try:
        yield
    except BaseException as error:
        _meet(place, _INTERRUPTED if isinstance(error, KeyboardInterrupt) else str(error) or repr(error))
        part()
        raise
    failed = _meet(place)
    if failed:
        process, failure = failed[0]
        part()
        if failure == _INTERRUPTED:
            raise KeyboardInterrupt
        raise InputError(f"process {process} has failed: {failure}")


def part() -> None:
    """Take leave of the other processes, if there are any: none ends while another still needs it."""
    if distributed.global_state.client is not None:
        jax.distributed.shutdown()


def agreed(stop: Callable[[], bool]) -> Callable[[], bool]:
    """Let the processes stop together: a signal reaches one before the other, or one alone.

    Args:
        stop: whether this process was told to stop.

    Returns:
        A function that all processes call equally often; it asks all of them at every 16th call, since whoever asks
        has to wait for the devices.
    """
    if jax.process_count() == 1:
        return stop
    calls = itertools.count()
    return lambda: next(calls) % _ASKED_EVERY == 0 and bool(multihost_utils.process_allgather(np.array(stop())).any())


def of_first(numbers: Sequence[float]) -> list[float]:
    """Let all processes go by the numbers of the first.

    On unlike machines they differ by rounding, and so might what is decided by them.

    Args:
        numbers: as many in every process, all of which call this at the same time.

    Returns:
        Those of the first process, to the last bit; where there is one, its own.
    """
    if jax.process_count() == 1:
        return list(numbers)
    halves = np.array(numbers, np.float64).view(np.uint32)  # JAX would round them to float32
    return np.asarray(multihost_utils.broadcast_one_to_all(halves)).view(np.float64).tolist()


def _meet(place: str, failure: str | None = None) -> list[tuple[str, str]]:
    """Wait until all processes have come here; the number and the words of each that has failed on its way."""
    client = distributed.global_state.client
    if client is None:
        return []
    failed = f"jaxrnn/{place}/failed/"
    if failure is not None:
        client.key_value_set(f"{failed}{distributed.global_state.process_id}", failure)
    client.wait_at_barrier(f"jaxrnn/{place}", _PATIENCE)
    return [(key.rpartition("/")[2], words) for key, words in client.key_value_dir_get(failed)]
