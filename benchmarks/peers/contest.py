"""All implementations of a row, each in a process of its own: first held against one another, then timed in turn."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.rows import Row, Weights, sized, start
from benchmarks.peers.worker import IN_TURN

TOLERANCE = 1e-4
BARE = ("products", "products_by_core")
"""No train step, but only its matrix products: there is nothing to be compared."""
SAME_ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62), IN_TURN: "1"}
"""What makes glibc keep what is freed, in any process, whoever allocates; and no update of JAX's takes memory while the
one before still has its own."""


class Setting(NamedTuple):
    """What is run.

    Attributes:
        implementations: names, of files of `benchmarks.peers.implementations`.
        size: "full" or "small".
        rounds: how often each is timed.
        seconds: how long one such time lasts, in updates of about that together.
    """

    implementations: tuple[str, ...]
    size: str
    rounds: int
    seconds: float


def measure(row: str, setting: Setting) -> dict[str, Any]:
    """Compare the implementations of a row, then time them, as they come and with the same allocator for all.

    Args:
        row: its name.
        setting: the setting.

    Returns:
        Implementation -> what was measured, or what is missing.

    Raises:
        SystemExit: if one of them computes something else than the first.
    """
    compared = compare(row, setting)
    for name, said in compared.items():
        if not all(said.get(figure, 0.0) <= TOLERANCE for figure in ("loss", "update")):  # NaN is refused as well
            raise SystemExit(f"{row}: {name} does not compute the same as {setting.implementations[0]}: {said}")
    there = tuple(name for name in setting.implementations if "missing" not in compared.get(name, {}))
    shipped, same = (timed(row, there, setting, extra) for extra in ({}, SAME_ALLOCATOR))
    measured = {name: shipped[name] | {"same_allocator": same[name]} for name in there}
    for name, said in compared.items():
        measured[name] = measured[name] | {"difference": said} if name in there else said
    return {name: measured[name] for name in setting.implementations}


def compare(row: str, setting: Setting) -> dict[str, Any]:
    """How far each implementation is from the first one after two updates, each in a process that ends with them.

    Args:
        row: its name.
        setting: the setting.

    Returns:
        Implementation -> see `difference`, or what is missing.
    """
    first, found = None, {}
    for name in setting.implementations:
        if name in BARE:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "updates.npz")
            worker = start_worker(name, row, setting.size, {}, "check", str(path))
            said, _ = answer(worker), worker.wait()
            if "missing" not in said:
                with np.load(path) as file:
                    updated = dict(file)
                first = first or updated
                said = difference(sized(row, setting.size), updated, first)
        found[name] = said
        print(row, name, said, file=sys.stderr, flush=True)
    return found


def difference(row: Row, updated: Weights, expected: Weights) -> dict[str, float]:
    """How far two results of `benchmarks.peers.worker.two_updates` are from one another.

    Args:
        row: the row.
        updated: the one.
        expected: the other.

    Returns:
        `loss`, relative; and `update`, what was added to the weights: of the array where it is worst, the largest
        difference relative to the largest entry.
    """
    updates = [(updated[name] - value, expected[name] - value) for name, value in start(row).items()]
    return {
        "loss": float(np.max(np.abs(updated["losses"] / expected["losses"] - 1))),
        "update": float(np.max([np.max(np.abs(one - other)) / np.max(np.abs(other)) for one, other in updates])),
    }


def timed(row: str, names: tuple[str, ...], setting: Setting, environment: dict[str, str]) -> dict[str, Any]:
    """Time implementations in turn; only one of them works at a time.

    Args:
        row: its name.
        names: of the implementations.
        setting: the setting.
        environment: what their processes have beside what this one has.

    Returns:
        Implementation -> `seconds` of an update, the median of the rounds; `peak_rss_bytes`, `temp_bytes`,
        `compile_seconds`.
    """
    workers, found, updates = {}, {}, {}
    for name in names:
        workers[name] = start_worker(name, row, setting.size, environment)
        found[name] = answer(workers[name])
        updates[name] = max(1, round(setting.seconds / ask(workers[name], "1")["seconds"]))
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(setting.rounds):
        for name, worker in workers.items():
            seconds[name].append(ask(worker, str(updates[name]))["seconds"])
    for name, worker in workers.items():
        found[name] = {"seconds": median(seconds[name])} | ask(worker, "end") | found[name]
        worker.wait()
        print(row, name, found[name], file=sys.stderr, flush=True)
    return found


def start_worker(name: str, row: str, size: str, environment: dict[str, str], *check: str) -> subprocess.Popen[str]:
    """A process that prepares an implementation; see `benchmarks.peers.worker`."""
    command = [sys.executable, "-m", "benchmarks.peers.worker", name, row, size, *check]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | environment, **pipes)


def ask(worker: subprocess.Popen[str], line: str) -> dict[str, Any]:
    """Tell a worker what to do, and wait for its answer."""
    assert worker.stdin
    print(line, file=worker.stdin, flush=True)
    return answer(worker)


def answer(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """The next thing that a worker says; what its libraries write between is no JSON and passed over."""
    assert worker.stdout
    for line in worker.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(f"a worker has ended with status {worker.wait()}: {worker.args}")
