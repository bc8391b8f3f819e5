"""What did each change to a recipe buy?

    jaxrnn train configs/ptb_fast.toml --optimizer.rate 20 --training.length "4 epochs" --run runs/rate_20
    python -m benchmarks.tries ptb_fast runs/rate_20 runs/rate_30      # names what differs, and draws the curves

Trains nothing: it reads runs that were made by hand, finished or given up, and keeps their validations, and the score
of those that were finished. With `--score` it scores the best parameters of the others, too. Runs that were read
before, and are not given again, stay; what they differ in is told anew where the recipe has changed.
"""

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.commands import command
from benchmarks.recipes import CONFIGS
from jaxrnn.running import runs
from jaxrnn.running.run_text import kept_corpus
from jaxrnn.settings import flatten, resolve

_OF_NO_INTEREST = ("training.validate_every", "training.keep")


def main(
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="a file of `configs/`, without .toml")],
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(help="runs to be compared with it")],
    score: Annotated[bool, tyro.conf.arg(help="score runs that were given up, too")] = False,
) -> None:
    """Gather the runs, and keep what they differ in and how they went."""
    settings = flatten(resolve(CONFIGS / f"{recipe}.toml"))
    found = [*read_before(results.FOLDER / f"tries_{recipe}.json", settings)]
    found += [tried(settings, folder, score) for folder in folders]
    tries = list({one["name"]: one for one in found}.values())
    for one in tries:
        came_to = "{1:.1f} at epoch {0:.1f}".format(*one["perplexity"][-1]) if one["perplexity"] else "no validation"
        print(f"{one['name']}: {came_to}: {one['differs']}")
    result = {"recipe": recipe, "settings": settings, "tries": tries}
    results.save(f"tries_{recipe}", result, picture(recipe, tries))


def read_before(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs on file, and what they differ in from the recipe as it is now."""
    if not path.exists():
        return []
    on_file = json.loads(path.read_text("utf-8"))
    then = on_file.get("settings", settings)
    return [one | {"differs": differing(then | one["differs"], settings)} for one in on_file["tries"]]


def differing(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Those of their settings that are none of ours."""
    return {key: value for key, value in theirs.items() if value != ours.get(key) and key not in _OF_NO_INTEREST}


def tried(settings: dict[str, Any], folder: Path, score: bool = False) -> dict[str, Any]:
    """What a run has that the recipe has not, and the perplexity of its validation text by epochs."""
    differs = differing(flatten(runs.find(folder)[1]), settings)
    about, rows = kept_corpus(runs.at(folder)), runs.metrics(runs.at(folder))
    text, before = about["splits"]["train"]["symbols"], about.get("begun_from", {"updates": 0})["updates"]
    seen, curve, learnt, losses = 0, [], [], []
    for row in (row for row in rows if row["loss"] is not None):
        if row["kind"] == "update":
            seen += row["targets"]
            losses.append(row["loss"])
        if row["kind"] == "validation":
            curve.append([round(seen / text, 2), math.exp(row["loss"])])
            learnt.append([curve[-1][0], math.exp(fmean(losses))])  # of the updates since the last one
            losses = []
    test = [row["perplexity"] for row in rows if row["kind"] == "test"]
    test = [command("evaluate", str(folder))["perplexity"]] if score and not test else test
    came_to = {"perplexity": curve, "training_perplexity": learnt, "test": test[-1] if test else None}
    pace = [row["tokens_per_second"] for row in rows if row["kind"] == "update" and row["tokens_per_second"]]
    speed = {"tokens_per_second": pace[-1] if pace else None}
    return {"name": folder.name, "differs": differs, "updates_before": before, **speed, **came_to}


def picture(recipe: str, tries: list[dict[str, Any]]) -> Figure:
    """Perplexity of the validation text over epochs, a line for each run."""
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axis = figure.subplots()
    for one in (one for one in tries if one["perplexity"]):
        axis.plot(*zip(*one["perplexity"], strict=True), marker="o", markersize=3, label=one["name"])
    axis.set(title=f"changes to {recipe}", xlabel="epochs", ylabel="validation, perplexity", yscale="log")
    axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    tyro.cli(main)
