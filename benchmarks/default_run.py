"""What does `make train` reach, and in what time?

    python -m benchmarks.default_run            # about 5 minutes; nothing else should run beside it
    python -m benchmarks.default_run --quick    # a few seconds, to see that it works

Runs the command as a user would and keeps its last words, its curve and its sample. The README's figures are these.
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.commands import command, metrics, validations

QUICK = ["--training.length", "40 updates", "--training.validate_every", "20", "--model.hidden_size", "32"]


def main(
    quick: Annotated[bool, tyro.conf.arg(help="a small model and a few updates, to see that it works")] = False,
) -> None:
    """Run the default training and keep what it says."""
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder) / "run", QUICK if quick else [])
    results.save("default_run", result, picture(result), quick=quick)


def run(folder: Path, options: list[str]) -> dict[str, Any]:
    """Train in a process of its own; its last line, its curve of validations and updates, and its sample."""
    as_make_train_does = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    said = command("train", "--run", str(folder), *options, environment=as_make_train_does)
    updates = metrics(folder, "update")
    blocks = [updates[i : i + 20] for i in range(0, len(updates), 20)]
    return {
        "final": {key: value for key, value in said.items() if key != "run"},
        "training": [[block[-1]["step"], sum(line["bits"] for line in block) / len(block)] for block in blocks],
        "validation": validations(folder),
        "sample": next((folder / "samples").iterdir()).read_text(),
    }


def picture(result: dict[str, Any]) -> Figure:
    """The curve of bits per character, above the line of the best n-gram."""
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    axis = figure.subplots()
    axis.plot(*zip(*result["training"], strict=True), label="training, mean of 20 updates", color="0.6", linewidth=1)
    axis.plot(*zip(*result["validation"], strict=True), label="validation", marker="o", markersize=4)
    best = result["final"]["baselines"]["best_ngram"]
    axis.axhline(best, linestyle="--", color="C1", label=f"best n-gram on the test text, {best:.2f}")
    score = result["final"]["bits_per_character"]
    axis.axhline(score, linestyle=":", color="C0", label=f"this model on the test text, {score:.2f}")
    axis.set(xlabel="updates", ylabel="bits per character", ylim=(min(score, best) - 0.4, 4.0))
    axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    tyro.cli(main)
