"""What does mixed precision do to the score, and to the time of an update?

    python -m benchmarks.precision            # some minutes, of which the first must not run beside other work
    python -m benchmarks.precision --quick    # a few seconds, to see that it works

Times an update of some models of `benchmarks.peers` with products from float32 and from bfloat16 operands, in turn.
Then trains the default model twice from each seed, everything else being equal, and keeps the curves and the scores.
Scoring is in float32 for both.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.commands import command, validations
from benchmarks.peers.implementations import jaxrnn
from benchmarks.peers.rows import batch, sized, start
from benchmarks.timing import interleaved

QUICK = ["--model.hidden_size", "32", "--training.validate_targets", "5000"]
PRECISIONS = ("float32", "bfloat16")
TIMED = ("rnnlm", "better_rnnlm", "charlm", "gru")


def main(
    quick: Annotated[bool, tyro.conf.arg(help="a small model and 20 updates, to see that it works")] = False,
    updates: Annotated[int, tyro.conf.arg(help="how long each run is")] = 600,
    seeds: Annotated[int, tyro.conf.arg(help="how many seeds, from 1")] = 1,
) -> None:
    """Time and train in both precisions, and compare."""
    seconds = {name: time_updates(name, *(("small", 2) if quick else ("full", 15))) for name in TIMED}
    updates, options = (20, QUICK) if quick else (updates, [])
    rows = [train(precision, seed, updates, options) for seed in range(1, seeds + 1) for precision in PRECISIONS]
    result = {"seconds": seconds, "updates": updates, "options": options, "runs": rows}
    results.save("precision", result, picture(rows), quick=quick)
    for name, of_row in seconds.items():
        fine, coarse = (1e3 * of_row[precision] for precision in PRECISIONS)
        print(f"{name:>12}: {fine:.1f} ms an update, with bfloat16 {coarse:.1f} ms, {fine / coarse:.2f} times as fast")
    for row in rows:
        bits = row["validation"][-1][1]
        scores = f"validation {bits:.4f}, test {row['test']:.4f} bits a character"
        print(f"{row['precision']:>9}, seed {row['seed']}: {scores}")


def time_updates(name: str, size: str, rounds: int) -> dict[str, float]:
    """Median seconds of an update of a row of `benchmarks.peers`, by precision."""
    row = sized(name, size)
    prepared = {each: jaxrnn.build(row, start(row), batch(row), precision=each) for each in PRECISIONS}
    return interleaved({each: partial(one.run, 1) for each, one in prepared.items()}, rounds)


def train(precision: str, seed: int, updates: int, options: list[str]) -> dict[str, Any]:
    """Train in a process of its own: the curve of validations, and what the best parameters score on the test text."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        settings = {
            "seed": seed,
            "training.precision": precision,
            "training.length": f"{updates} updates",
            "training.validate_every": updates // 6,
        }
        given = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        answer = command("train", "--run", str(folder), *given, *options)
        curve = validations(folder)
    return {
        "precision": precision,
        "seed": seed,
        "validation": curve,
        "test": answer["bits_per_character"],
        "skipped": answer["skipped"],
        "parameters": answer["parameters"],
    }


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Bits per character over updates, a line for each run."""
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    axis = figure.subplots()
    for row in rows:
        style = {"float32": "-", "bfloat16": "--"}[row["precision"]]
        axis.plot(*zip(*row["validation"], strict=True), style, marker="o", markersize=4, label=row["precision"])
    axis.set(xlabel="updates", ylabel="validation, bits per character")
    axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    tyro.cli(main)
