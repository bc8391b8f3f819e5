"""Which unit of a larger model tells strings from code, or what is said from what is told, how well, and since when?

    python -m benchmarks.units                           # strings: trains configs/stdlib_large.toml, or goes on
    python -m benchmarks.units quotes --data NOVELS      # speech: configs/novels.toml, on novels with straight quotes
    python -m benchmarks.units --quick                   # about two minutes, to see that it works

Runs the commands as a user would, `jaxrnn train` and then `jaxrnn analyze --follow`. The run is kept in `--runs`, so
that the training can be made in stretches: Ctrl-C stops it, the same command goes on. All is chosen on the validation
text and scored on the test text; see `docs/commands.md`. The passages in the pictures were written for them.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.commands import command, train, validations
from jaxrnn.analysis.labels import QUOTES, STRING
from jaxrnn.analysis.states import quantities
from jaxrnn.analysis.units import Unit
from jaxrnn.data.vocabulary import encode
from jaxrnn.fused import trace
from jaxrnn.running.trained import load_trained

CONFIGS = Path(__file__).parents[1] / "configs"
QUICK = ["--training.length", "60 updates", "--training.validate_every", "20", "--model.hidden_size", "16"]
SYMBOLS = "600000"  # of each text: more than what `analyze` reads by default, to be surer
PASSAGE = '''\
def greet(name, shout=False):
    """Return a greeting for one person."""
    if not name:  # nobody is there
        raise ValueError("expected a name")
    words = ["Hello", name, 'and "welcome"']
    text = ", ".join(words) + "!"
    return text.upper() if shout else text
'''
SCENE = """\
The rain had stopped before they came to the gate, and nobody spoke.

"You will be tired," said Anne at last, "after such a walk; and your
brother, I am afraid, has forgotten the carriage."

"Not in the least," he answered. "I was never less tired."

She looked at him, and did not quite believe it; but the house was near,
and there was a light in the window.
"""


class Study(NamedTuple):
    """What is looked for, and where.

    Attributes:
        config: of the model, a file of `configs/`.
        label: that a unit is to tell.
        passage: that the best unit reads in the picture.
    """

    config: str
    label: str
    passage: str


STUDIES = {
    "strings": Study("stdlib_large.toml", STRING, PASSAGE),
    "quotes": Study("novels.toml", QUOTES, SCENE),
}


def main(
    study: Annotated[
        Literal["strings", "quotes"], tyro.conf.Positional, tyro.conf.arg(help="what to look for")
    ] = "strings",
    quick: Annotated[bool, tyro.conf.arg(help="a small model and a few updates, to see that it works")] = False,
    runs: Annotated[Path, tyro.conf.arg(help="where the run is kept")] = Path("runs"),
    data: Annotated[str | None, tyro.conf.arg(help="the text, where it is not the configuration's own")] = None,
) -> None:
    """Train the model, look for its units, and keep what was found."""
    name = "units" if study == "strings" else f"units_{study}"
    folder = runs / f"benchmark-{name}{'_quick' if quick else ''}"
    options = [*(QUICK if quick else []), *(["--data.corpus", data] if data else [])]
    result = run(folder, STUDIES[study], options)
    results.save(name, result, picture(result), quick=quick)


def run(folder: Path, study: Study, options: list[str]) -> dict[str, Any]:
    """Train, or go on; look for units; and let the best one read the passage."""
    trained = train(folder, str(CONFIGS / study.config), *options)
    said = command("analyze", str(folder), "--follow", study.label, "--length", SYMBOLS)
    analysis = json.loads(Path(said["report"]).with_name("analysis.json").read_text("utf-8"))
    return {
        "trained": trained,
        "validation": validations(folder),
        "analyze_seconds": said["seconds"],
        "text": analysis["text"] | {"digest": json.loads((folder / "corpus.json").read_text("utf-8"))["digest"]},
        "labels": [label_row(finding) for finding in analysis["units"]],
        "followed": analysis["followed"],
        "passage": {
            "text": study.passage,
            "values": read_passage(folder, study.passage, analysis["followed"]["unit"]),
        },
    }


def label_row(finding: dict[str, Any]) -> dict[str, Any]:
    """What was found for a label: the best unit and the whole state, beside the untrained network and chance."""
    best, untrained = finding["units"][0], finding["untrained"]
    return {
        "label": finding["label"],
        "measure": finding["measure"],
        "unit": best["unit"],
        "score": best["held_out"],
        "whole_state": finding["probe"],
        "untrained": untrained["units"][0]["held_out"],
        "untrained_whole_state": untrained["probe"],
        "chance": finding["moved"],
        "chance_whole_state": finding["moved_probe"],
    }


def read_passage(folder: Path, passage: str, unit: list[Any]) -> list[float]:
    """What a unit holds after each character of the passage, which is read from the initial carry."""
    best = load_trained(folder)
    layer, quantity, number = unit
    notes = quantities(best.cell, best.params).items()
    note = next(note for note, (found, _) in notes if (found.layer, found.name) == (layer, quantity))
    ids = encode(best.vocabulary, passage, exact=True, name="the passage")
    seen = trace(best.cell, best.params, best.cell.initial_carry(1), jnp.asarray(ids)[:, None])
    return [round(value, 4) for value in np.asarray(seen.notes[note][:, 0, number], float).tolist()]


def picture(result: dict[str, Any]) -> Figure:
    """The passage tinted by the unit; below it the unit through the run, and the scores of all labels."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    above, below = parts
    left, right = below.subplots(1, 2, width_ratios=(1, 1.15))
    draw_passage(above.subplots(), result)
    draw_way(left, result["followed"])
    draw_labels(right, [row for row in result["labels"] if row["measure"] == "AUC"])
    return figure


def draw_passage(axes: Axes, result: dict[str, Any]) -> None:
    """Each character on the colour of what the unit holds after reading it, red where it says that the label holds."""
    lines = result["passage"]["text"].splitlines()
    values = np.array(result["passage"]["values"]) * result["followed"]["sign"]
    middle, reach = np.median(values), np.max(np.abs(values - np.median(values))) or 1.0
    colours = np.full((len(lines), max(map(len, lines))), np.nan)
    start = 0
    for row, line in enumerate(lines):
        colours[row, : len(line)] = (values[start : start + len(line)] - middle) / reach
        start += len(line) + 1  # its newline
        for column, letter in enumerate(line):
            axes.text(column, row, letter, family="monospace", fontsize=9, ha="center", va="center")
    axes.imshow(colours, cmap="coolwarm", vmin=-1.4, vmax=1.4, aspect="auto")
    axes.set_axis_off()
    unit, told = Unit(*result["followed"]["unit"]), result["followed"]["label"]
    axes.set_title(f"{unit}, over a passage: red is “{told}”", fontsize=10)


def draw_way(axes: Axes, followed: dict[str, Any]) -> None:
    """The unit's score in each snapshot, beside that of the whole state."""
    axes.plot(followed["updates"], followed["probes"], "s--", color="C1", markersize=3, label="whole state")
    unit = str(Unit(*followed["unit"]))
    axes.plot(followed["updates"], followed["scores"], "o-", color="C0", markersize=3, label=unit)
    axes.axhline(0.5, color="0.5", linewidth=0.8, linestyle=":")
    axes.set(xlabel="update", ylabel="AUC on the test text", ylim=(0.45, 1.02), title=followed["label"])
    axes.legend(frameon=False)


def draw_labels(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """For each label the best unit and the whole state, trained and untrained."""
    places = np.arange(len(rows))
    marks = {
        "whole state": ("whole_state", "s", "C1", "full"),
        "best unit": ("score", "o", "C0", "full"),
        "whole state, untrained": ("untrained_whole_state", "s", "C1", "none"),
        "best unit, untrained": ("untrained", "o", "C0", "none"),
    }
    for name, (key, marker, colour, fill) in marks.items():
        axes.plot([row[key] for row in rows], places, marker, color=colour, fillstyle=fill, label=name)
    axes.set_yticks(places, [row["label"] for row in rows])
    axes.invert_yaxis()
    axes.axvline(0.5, color="0.5", linewidth=0.8, linestyle=":")
    axes.set(xlabel="AUC on the test text", xlim=(0.45, 1.02))
    axes.grid(axis="y", color="0.9")
    axes.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(-0.35, 1.0), ncols=2)


if __name__ == "__main__":
    tyro.cli(main)
