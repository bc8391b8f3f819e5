"""How long does it take from the command to the first update, with caches empty and with caches filled?

    python -m benchmarks.start                  # the built-in configuration, three times each; under a minute
    python -m benchmarks.start --quick          # a small one, once, to see that it works

Counted is all that a user waits for: Python, imports, reading the text, n-grams, compilation, measuring the pace. The
first update is there when its line is in the run's metrics. `cold` finds neither a text nor a compiled program, `warm`
finds both.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.recipes import CONFIGS

PATIENCE = 300.0  # seconds


def main(
    quick: Annotated[bool, tyro.conf.arg(help="a small configuration, once, to see that it works")] = False,
    times: Annotated[int, tyro.conf.arg(help="how often each is measured")] = 3,
    options: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help="of `jaxrnn train`")] = (),
) -> None:
    """Measure, and keep what came of it."""
    times, options = (1, (str(CONFIGS / "hello.toml"),)) if quick else (times, options)
    found = [pair(options) for _ in range(times)]
    result = {state: [one[state] for one in found] for state in ("cold", "warm")}
    result |= {f"{state}, median": statistics.median(result[state]) for state in ("cold", "warm")}
    print(result)
    results.save("start", result, picture(result), quick=quick)


def pair(options: tuple[str, ...]) -> dict[str, float]:
    """One start with an empty cache, and one with what it has left there."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: seconds(Path(folder), name, options) for name in ("cold", "warm")}


def seconds(folder: Path, name: str, options: tuple[str, ...]) -> float:
    """The seconds to the first update of a run, which is then stopped."""
    run = folder / name
    words = [sys.executable, "-m", "jaxrnn.train", "--run", str(run), *options]
    environment = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"JAXRNN_CACHE": str(folder / "cache")}
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        while not _has_begun(run):
            waited = time.perf_counter() - began
            if process.poll() is not None or waited > PATIENCE:
                process.kill()
                said = process.stderr.read().decode() if process.stderr else ""
                raise RuntimeError(f"no update after {waited:.0f} seconds: {said}")
            time.sleep(0.01)
        waited = time.perf_counter() - began
        process.send_signal(signal.SIGINT)
        process.communicate()
    return waited


def _has_begun(run: Path) -> bool:
    """Whether a run has written the line of an update."""
    metrics = run / "metrics.jsonl"
    return metrics.exists() and b"\n" in metrics.read_bytes()


def picture(result: dict[str, Any]) -> Figure:
    """A bar for each."""
    figure = Figure(figsize=(5.0, 1.6), layout="constrained")
    axis = figure.subplots()
    axis.barh(["cold", "warm"], [result[f"{name}, median"] for name in ("cold", "warm")], color="#5b8dd6")
    axis.invert_yaxis()
    axis.set(xlabel="seconds from the command to the first update")
    return figure


if __name__ == "__main__":
    tyro.cli(main)
