"""One of the processes that share the rows of a train step of jaxrnn, and that work when they are told to.

    python -m benchmarks.scaling_process ROW SIZE DEVICES PROCESSES COORDINATOR OWN [UPDATES FILE]

Devices are those of one process. With a file, the first process writes into it what the updates have made of the
weights; without, see `benchmarks.peers.worker`.
"""

import sys
from typing import Any

import jax
import numpy as np

from benchmarks.peers.implementations.jaxrnn import build
from benchmarks.peers.rows import batch, sized, start
from benchmarks.peers.worker import obey, say
from jaxrnn.config import Parallel


def main(name: str, size: str, devices: str, processes: str, coordinator: str, own: str, *check: str) -> None:
    """Prepare, say so, and do as told.

    Args:
        name: of the row; its batch is made a multiple of 8.
        size: "full" or "small".
        devices: of each process.
        processes: how many.
        coordinator: where they meet.
        own: the number of this one.
        *check: nothing, or the number of updates and the file.
    """
    row = sized(name, size)
    row = row._replace(batch=max(8, row.batch // 8 * 8))
    parallel = Parallel(devices=int(devices) * int(processes))
    if int(processes) > 1:
        parallel = Parallel(parallel.devices, coordinator, int(processes), int(own))
    prepared = build(row, start(row), batch(row), parallel)
    say({})
    if not check:
        obey(prepared)
        return
    prepared.run(int(check[0]))
    if jax.process_index() == 0:
        weights: dict[str, Any] = {**prepared.weights()}
        np.savez(check[1], **weights)
    say({})


if __name__ == "__main__":
    main(*sys.argv[1:])
