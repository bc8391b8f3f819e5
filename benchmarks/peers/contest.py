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

from benchmarks.peers.rows import ROWS, Weights, small, start

TOLERANCE = 1e-4
BARE = ("products", "products_by_core")
"""No train step, but only its matrix products: there is nothing to be compared."""
SAME_ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
"""What makes glibc keep what is freed, in any process, whoever allocates."""


class Setting(NamedTuple):
    """What is run.

    Attributes:
        implementations: names, of `benchmarks.peers.worker.IMPLEMENTATIONS`.
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
    found: dict[str, Any] = {}
    for name, difference in compare(row, setting).items():
        found[name] = difference
        if difference.get("update", 0.0) > TOLERANCE or difference.get("loss", 0.0) > TOLERANCE:
            raise SystemExit(f"{row}: {name} does not compute the same as the others: {difference}")
    there = tuple(name for name in setting.implementations if "missing" not in found.get(name, {}))
    shipped, same = (timed(row, there, setting, extra) for extra in ({}, SAME_ALLOCATOR))
    for name in there:
        if "missing" in shipped[name]:
            found[name] = shipped[name]
            continue
        differs = {"difference": found[name]} if name in found else {}
        found[name] = shipped[name] | {"same_allocator": same[name]} | differs
    return {name: found[name] for name in setting.implementations}


def compare(row: str, setting: Setting) -> dict[str, Any]:
    """How far the first two losses, and what two updates change, are from those of the first implementation.

    Args:
        row: its name.
        setting: the setting.

    Returns:
        Implementation -> `loss`, relative, and `update`: of the array where it is worst, the largest difference
        relative to the largest entry.
    """
    first, differences = None, {}
    for name in setting.implementations:
        if name in BARE:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "updates.npz")
            worker = start_worker(name, row, setting.size, {}, "check", str(path))
            said, _ = answer(worker), worker.wait()
            if "missing" in said:
                differences[name] = said
                continue
            with np.load(path) as file:
                weights = dict(file)
        losses = weights.pop("losses")
        updates = changes(row, setting.size, weights)
        if first is None:
            first = losses, updates
        differences[name] = {
            "loss": float(np.max(np.abs(losses / first[0] - 1))),
            "update": max(float(relative(updates[key], first[1][key])) for key in first[1]),
        }
        print(row, name, differences[name], file=sys.stderr, flush=True)
    return differences


def changes(row: str, size: str, weights: Weights) -> Weights:
    """What was added to the weights that all start from."""
    before = start(ROWS[row] if size == "full" else small(ROWS[row]))
    return {name: weights[name] - value for name, value in before.items()}


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, relative to the largest entry."""
    return np.max(np.abs(a - b)) / np.max(np.abs(b))


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
        if "missing" in found[name]:
            workers.pop(name).wait()
            continue
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
    """The next thing that a worker says."""
    assert worker.stdout
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"a worker has ended with status {worker.wait()}: {' '.join(map(str, worker.args))}")
    return json.loads(line)
