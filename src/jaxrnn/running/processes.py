"""The processes that train together: who speaks for them, and where they wait for each other.

Between updates their devices talk, by collectives. Those want all processes at once: on CPUs, half a minute after the
first has come the others are given up. So where each works for as long as it takes, before training, in a validation,
at a snapshot and after training, they meet by the service that brought them together, which waits.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import jax
import numpy as np
from jax._src import distributed  # JAX shows the client of that service nowhere else

from jaxrnn.config import Config
from jaxrnn.errors import InputError
from jaxrnn.mesh import data_mesh, gathered, put_rows

_ASKED_EVERY = 16
_PATIENCE = 24 * 60 * 60 * 1000  # milliseconds
_INTERRUPTED = "interrupted"
_NUMBERS = itertools.count()  # the service takes a name once; all processes count alike, since all meet equally often


def connect(config: Config) -> None:
    """Find the other processes, if there are any.

    Args:
        config: a configuration, of which this takes `parallel`.

    Raises:
        InputError: if they are not found.
    """
    asked, shared = config.parallel, distributed.global_state
    if asked.coordinator is None:
        return
    before = shared.client, shared.service
    try:
        if asked.coordinator == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(asked.coordinator, asked.processes, asked.process)
    except (RuntimeError, ValueError) as error:
        shared.client, shared.service = before  # else `together` would wait by a client that has reached nobody
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
        place: a name for it.

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
    mesh, calls = data_mesh(jax.process_count()), itertools.count()

    def anybody() -> bool:
        said = put_rows(mesh, np.full(mesh.size, stop()), axis=0)  # of which this process gives one
        return bool(np.asarray(gathered(said)).any())

    return lambda: next(calls) % _ASKED_EVERY == 0 and anybody()


def of_first(place: str, work: Callable[[], Sequence[float]]) -> list[float]:
    """Let each process work something out by itself, and all go by what the first has found.

    On unlike machines they differ by rounding, and so might what is decided by it. However long the work takes one of
    them, the others wait.

    Args:
        place: a name for it.
        work: `() -> numbers`, as many in every process.

    Returns:
        Those of the first process, to the last bit; where there is one, its own.

    Raises:
        InputError: where another process has failed, with what it says.
    """
    with together(place):
        numbers = [float(number) for number in work()]
    client = distributed.global_state.client
    if client is None:
        return numbers
    name = f"jaxrnn/{place}/{next(_NUMBERS)}"
    if is_first():
        client.key_value_set(name, json.dumps(numbers))
    return json.loads(client.blocking_key_value_get(name, _PATIENCE))


def _meet(place: str, failure: str | None = None) -> list[tuple[str, str]]:
    """Wait until all processes have come here; the number and the words of each that has failed on its way."""
    client = distributed.global_state.client
    if client is None:
        return []
    here = f"jaxrnn/{place}/{next(_NUMBERS)}"
    if failure is not None:
        client.key_value_set(f"{here}/failed/{distributed.global_state.process_id}", failure)
    client.wait_at_barrier(here, _PATIENCE)
    return [(key.rpartition("/")[2], words) for key, words in client.key_value_dir_get(f"{here}/failed/")]
