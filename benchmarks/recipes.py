"""Which score does a recipe under `configs/` reach, and in what time?

    python -m benchmarks.recipes ptb_rnnlm --seeds 1 2 3        # trains, or goes on with, a run for each seed
    python -m benchmarks.recipes ptb_better --help-from dynamic cache
    python -m benchmarks.recipes ptb_better --as-it-is          # scores a run that is not finished

Runs the commands as a user would. Runs are kept in `--runs`, so that a long training can be made in stretches: Ctrl-C
stops it, the same command goes on. Texts are downloaded by name, or read from the folder `--data`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, Literal

import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.commands import command, metrics, train, validations
from jaxrnn import snapshots
from jaxrnn.data import named
from jaxrnn.data.cache import cache_folder
from jaxrnn.errors import InputError
from jaxrnn.running import runs
from jaxrnn.settings import flatten, resolve

CONFIGS = Path(__file__).parents[1] / "configs"
PROTOCOLS = {
    "plain": [],
    "full chunks only": ["--drop-tail"],
    "1 stream": ["--streams", "1"],
    "20 streams": ["--streams", "20"],
    "200 steps": ["--steps", "200"],
    "1 stream, 200 steps": ["--streams", "1", "--steps", "200"],
    "20 streams, 200 steps": ["--streams", "20", "--steps", "200"],
}
KEPT = ("loss", "perplexity", "bits_per_character", "targets", "streams", "tail")


def main(
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="a file of `configs/`, without .toml")],
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(help="a run for each")] = (1,),
    runs: Annotated[Path, tyro.conf.arg(help="where the runs are kept")] = Path("runs"),
    data: Annotated[str | None, tyro.conf.arg(help="a folder with the texts; JAXRNN_DATA names it too")] = None,
    as_it_is: Annotated[bool, tyro.conf.arg(help="train no further")] = False,
    help_from: Annotated[
        tuple[Literal["dynamic", "cache"], ...],
        tyro.conf.arg(help="score it also with these, chosen on the validation text"),
    ] = (),
) -> None:
    """Train a recipe, score it by several protocols, and keep what came of it."""
    corpus, folder = resolve(CONFIGS / f"{recipe}.toml").data.corpus, data or os.environ.get("JAXRNN_DATA")
    if folder and corpus in named.NAMED:
        named.put(corpus, Path(folder), place=cache_folder(None))
    folders = {seed: runs / f"{recipe}-{seed}" for seed in seeds}
    found = {seed: run(recipe, seed, folder, as_it_is) for seed, folder in folders.items()}
    keep(recipe, list(found.values()), curve(folders))
    for name in help_from:  # which takes long: what was scored before is kept by then
        for seed, folder in folders.items():
            found[seed]["scores"][name] = command("evaluate", str(folder), f"--{name}")[name]
        keep(recipe, list(found.values()), curve(folders))


def keep(recipe: str, found: list[dict[str, Any]], lines: str) -> None:
    """Write what has been found so far."""
    result = {"recipe": recipe, "mean": averages(found), "seeds": found}
    print(json.dumps(result["mean"], indent=2))
    path = results.save(f"recipe_{recipe}", result, picture(recipe, found))
    path.with_suffix(".jsonl").write_text(lines)


def run(recipe: str, seed: int, folder: Path, as_it_is: bool = False) -> dict[str, Any]:
    """Train in a process of its own, or go on where it was left, and score what was best in processes of their own."""
    trained = stopped(folder) if as_it_is else train(folder, str(CONFIGS / f"{recipe}.toml"), "--seed", str(seed))
    learnt = {line["step"]: line["targets"] for line in metrics(folder, "update")}  # over all of its stretches
    trained["tokens_per_second_in_all"] = sum(learnt.values()) / trained["seconds"]  # validations are in it
    plain = {name: command("evaluate", str(folder), *options) for name, options in PROTOCOLS.items()}
    return {
        "seed": seed,
        "settings": flatten(runs.find(folder)[1]),
        "trained": trained,
        "scores": {name: {key: said[key] for key in KEPT} for name, said in plain.items()},
        "validation": validations(folder),
    }


def stopped(folder: Path) -> dict[str, Any]:
    """How far a run has come that is not finished."""
    newest = snapshots.newest(folder / "snapshots")
    if newest is None:
        raise InputError(f"{folder}: has no snapshot yet; train it first")
    where = snapshots.load_meta(newest)["position"]
    return {"updates": where["updates"], "seconds": where["seconds"], "finished": False}


def curve(folders: Mapping[int, Path]) -> str:
    """The validations of each seed as JSON lines, with the loss and the rate of training at that place."""
    lines = []
    for seed, folder in folders.items():
        updates = {line["step"]: line for line in metrics(folder, "update")}
        for line in metrics(folder, "validation"):
            learnt = {"training_loss": updates[line["step"]]["loss"], "rate": updates[line["step"]]["rate"]}
            lines.append({"seed": seed, **line, **learnt})
    return "".join(json.dumps(line) + "\n" for line in lines)


def averages(found: list[dict[str, Any]]) -> dict[str, float]:
    """What counts most, as the mean over seeds."""
    return {
        "seconds": mean(one["trained"]["seconds"] for one in found),
        "tokens_per_second_in_all": mean(one["trained"]["tokens_per_second_in_all"] for one in found),
        **{
            f"{key}, {name}": mean(one["scores"][name][key] for one in found)
            for name in PROTOCOLS
            for key in ("perplexity", "bits_per_character")
        },
    }


def picture(recipe: str, found: list[dict[str, Any]]) -> Figure:
    """Validation bits over updates, a line for each seed."""
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    axis = figure.subplots()
    for one in found:
        axis.plot(*zip(*one["validation"], strict=True), marker="o", markersize=3, label=f"seed {one['seed']}")
    axis.set(title=recipe, xlabel="updates", ylabel="validation, bits per symbol")
    axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    tyro.cli(main)
