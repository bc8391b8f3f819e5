"""How often can a training be killed, and still end with the same bits?

    python -m benchmarks.kills            # 100 times, some seven minutes
    python -m benchmarks.kills --quick    # twice, to see that it works

A training is killed (SIGKILL: nothing can be saved any more) at moments drawn evenly: while Python starts, while
a snapshot is written, between two updates. Each time it is resumed as a user would, and in the end it is let through.
Beside it the same training runs undisturbed. No snapshot may be lost, and the last ones must be equal to the last bit.
"""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.commands import metrics, train
from benchmarks.recipes import CONFIGS
from jaxrnn import snapshots

SECONDS = 4.0  # from a start to the kill at the latest: one and a half of them go by before the first update
OPTIONS = ("--training.updates_per_dispatch", "1", "--training.validate_every", "5", "--model.dropout", "0.1")
CLOCKED = ("tokens_per_second", "seconds", "run")


def main(
    quick: Annotated[bool, tyro.conf.arg(help="two kills, to see that it works")] = False,
    kills: Annotated[int, tyro.conf.arg(help="how often the training is killed")] = 100,
    seed: Annotated[int, tyro.conf.arg(help="of the moments")] = 0,
) -> None:
    """Kill, resume, compare, and keep what came of it."""
    kills = 2 if quick else kills
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), kills, updates=400 * kills, seed=seed)
    shown = {name: value for name, value in result.items() if name != "newest"}
    print(json.dumps(shown, indent=2))
    results.save("kills", result, picture(result), quick=quick)


def measure(
    folder: Path, kills: int, updates: int, seed: int, moments: Callable[[int], random.Random] = random.Random
) -> dict[str, Any]:
    """Train twice, once with kills, and hold what is left of one against the other.

    Args:
        folder: for the two runs.
        kills: how often one of them is killed.
        updates: how long they are; kills that would come later do not come.
        seed: of the moments.
        moments: from the seed to what draws them.

    Returns:
        How many kills there were, how many of them during updates, and what was lost or differs.
    """
    options = (str(CONFIGS / "hello.toml"), "--training.length", f"{updates} updates", *OPTIONS)
    killed, undisturbed = folder / "killed", folder / "undisturbed"
    newest = list(kill_at_random(killed, options, kills, moments(seed)))
    for run in (killed, undisturbed):
        train(run, *options)
    lost = sum(after < before for before, after in zip(newest, newest[1:], strict=False))
    return {
        "updates": updates,
        "kills": len(newest),
        "kills_during_updates": sum(after > before for before, after in zip([0, *newest], newest, strict=False)),
        "snapshots_lost": lost,
        "snapshots_damaged": len(list(killed.glob("snapshots/*.damaged*"))),
        "same_parameters_and_state": last_arrays(killed, updates) == last_arrays(undisturbed, updates),
        "same_metrics": lines(killed) == lines(undisturbed),
        "newest": newest,
    }


def kill_at_random(run: Path, options: tuple[str, ...], kills: int, moments: random.Random) -> Iterator[int]:
    """Start a run, or resume it, and kill it, again and again; yields the updates of its newest snapshot after each."""
    for _ in range(kills):
        resume = ["--resume"] if run.exists() else []
        words = [sys.executable, "-m", "jaxrnn.train", "--run", str(run), *options, *resume]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(moments.uniform(0, SECONDS))
            except subprocess.TimeoutExpired:
                process.kill()
            else:
                if process.returncode:
                    raise subprocess.CalledProcessError(process.returncode, words)
                return  # it has come to its end
        yield max((updates for updates, _ in snapshots.listed(run / "snapshots", ["step"])), default=0)


def last_arrays(run: Path, updates: int) -> bytes:
    """Parameters, carry, optimizer and keys at the end, as bytes."""
    return (run / "snapshots" / f"step_{updates}" / snapshots.ARRAYS).read_bytes()


def lines(run: Path) -> list[dict[str, Any]]:
    """The lines of all updates and validations, but for what the clock says."""
    found = [*metrics(run, "update"), *metrics(run, "validation")]
    return [{key: value for key, value in line.items() if key not in CLOCKED} for line in found]


def picture(result: dict[str, Any]) -> Figure:
    """How far the run had come at each kill."""
    figure = Figure(figsize=(5.0, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.step(range(1, len(result["newest"]) + 1), result["newest"], where="post", color="#5b8dd6")
    axes.set(xlabel="kill", ylabel="updates in the newest snapshot", ylim=(0, None))
    return figure


if __name__ == "__main__":
    tyro.cli(main)
