"""Does a train step grow with devices and processes, and stay the same?

    python -m benchmarks.scaling            # minutes; nothing else should run beside it
    python -m benchmarks.scaling --quick    # small models, to see that it works

The train step of a character model and of a classifier of pixel sequences, its rows split over 1, 2, 4 and 8 devices of
the CPU, and over 2 processes of one device each that meet over loopback. Beyond the cores there is no speed to be had;
that the parameters stay the same is then what is shown: in float64, after some updates.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.peers.contest import answer, ask

Group = list[subprocess.Popen[str]]
ROWS = ("charlm", "seqmnist")
WAYS = {"1 device": (1, 1), "2 devices": (2, 1), "4 devices": (4, 1), "8 devices": (8, 1), "2 processes": (1, 2)}
"""Devices of each process, and processes."""


def main(
    rounds: Annotated[int, tyro.conf.arg(help="how often each is timed")] = 7,
    updates: Annotated[int, tyro.conf.arg(help="updates after which parameters are compared")] = 50,
    quick: Annotated[bool, tyro.conf.arg(help="small models, to see that it works")] = False,
    print_json: Annotated[bool, tyro.conf.arg(name="json", help="print the result as JSON and write nothing")] = False,
) -> None:
    """Time the train step on several devices and in several processes, and compare what it has trained.

    As JSON: `{row: {way: {seconds, difference}}}`, the difference being the largest of any parameter from those of one
    device, relative to the largest parameter of its array.
    """
    size, rounds, updates = ("small", 2, 5) if quick else ("full", rounds, updates)
    found = {row: measure(row, size, rounds, updates) for row in ROWS}
    if print_json:
        print(json.dumps(found))
        return
    results.save("scaling", found, picture(found), quick=quick)


def measure(row: str, size: str, rounds: int, updates: int) -> dict[str, Any]:
    """Compare, then time in turn.

    Args:
        row: its name.
        size: "full" or "small".
        rounds: how often each way is timed.
        updates: after which parameters are compared.

    Returns:
        Way -> `seconds` and `difference`.
    """
    weights = {way: trained(row, size, way, updates) for way in WAYS}
    found = {way: {"difference": difference(weights[way], weights["1 device"])} for way in WAYS}
    groups = {way: started(row, size, way, {}) for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, group in groups.items():
            seconds[way].append(told(group, "3")["seconds"])
    for way, group in groups.items():
        told(group, "end")
        found[way]["seconds"] = median(seconds[way])
        print(row, way, found[way], file=sys.stderr, flush=True)
    return found


def trained(row: str, size: str, way: str, updates: int) -> dict[str, np.ndarray]:
    """The parameters after some updates, in float64."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.npz")
        group = started(row, size, way, {"JAX_ENABLE_X64": "1"}, str(updates), str(path))
        for process in group:
            answer(process)
        for process in group:
            process.wait()
        with np.load(path) as file:
            return dict(file)


def difference(weights: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """The largest difference, relative to the largest entry of its array."""
    pairs = ((weights[name], value) for name, value in expected.items())
    return max(float(np.max(np.abs(one - other)) / np.max(np.abs(other))) for one, other in pairs)


def started(row: str, size: str, way: str, environment: dict[str, str], *check: str) -> Group:
    """The processes of one way, ready; see `benchmarks.scaling_process`."""
    devices, number = WAYS[way]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "benchmarks.scaling_process", row, size, str(devices), str(number), coordinator]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": os.environ | environment}
    group = [subprocess.Popen([*command, str(own), *check], **pipes) for own in range(number)]
    for process in group:
        answer(process)
    return group


def told(group: Group, line: str) -> dict[str, Any]:
    """Tell all processes of a group to do something at the same time; the answer of the first."""
    for process in group[1:]:
        print(line, file=process.stdin, flush=True)
    first = ask(group[0], line)
    for process in group[1:]:
        answer(process)
    return first


def picture(found: dict[str, Any]) -> Figure:
    """The time of an update of each way, and how far its parameters are from those of one device."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    time, truth = figure.subplots(1, 2)
    for number, (row, ways) in enumerate(found.items()):
        places = [at + 0.4 * number - 0.2 for at in range(len(ways))]
        time.bar(places, [1e3 * one["seconds"] for one in ways.values()], width=0.38, label=row)
        others = [(at, one["difference"]) for at, one in zip(places, ways.values(), strict=True) if one["difference"]]
        truth.plot(*zip(*others, strict=True), "o", label=row)
    time.set(title="milliseconds an update")
    truth.set(title="largest difference from one device, float64", yscale="log")
    for axis in (time, truth):
        axis.set_xticks(range(len(WAYS)), [way.replace(" ", "\n") for way in WAYS])
        axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    tyro.cli(main)
