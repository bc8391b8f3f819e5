"""The report: one HTML file that holds everything it shows, and the same numbers as JSON for papers.

The page needs no server and asks nothing of a network; its policy forbids it to.
"""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from jaxrnn.analysis.bias import Bias, Horizon
from jaxrnn.analysis.figures import FIGURES
from jaxrnn.analysis.findings import Finding
from jaxrnn.analysis.gates import GATES
from jaxrnn.analysis.labels import Labels
from jaxrnn.analysis.numerals import percent, plain
from jaxrnn.analysis.pictures import Picture
from jaxrnn.analysis.text_view import TextView, view_json
from jaxrnn.analysis.units import Unit
from jaxrnn.folders import replace_file
from jaxrnn.jsonable import jsonable

NAMES = {"h": "h, the output", "c": "c, the cell's content", "g": "g, candidate", "n": "n, candidate"} | {
    name: f"{name}, {gate}" for name, gate in GATES.items()
}
"""What the quantities are called, by the name that cells give them."""

_PAGE_FILE = "report.html"
_PAGE = jinja2.Environment(
    loader=jinja2.PackageLoader("jaxrnn.analysis", "page"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Report(NamedTuple):
    """What a report says.

    Attributes:
        title: the run.
        lead: what it is, in a sentence.
        facts: names and values.
        sample: what the model writes.
        findings: what was found for each label.
        untrained: the same, for the network before training.
        about_units: how the units were found.
        view: the passage with its units.
        labels: `[P]` each, of the passage.
        about_view: what the passage is.
        widths: for each layer and quantity, as in "1/h", how many units there are.
        pictures: those of the sections "run", "units", "flow", "gates" and "health".
        bias: the bias of truncated gradients, where it was measured.
        answer: what follows from it.
        numbers: more of what was measured, as JSON can hold it.
        notes: what was left out, and why.
        made_by: with what.
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    sample: str
    findings: Sequence[Finding]
    untrained: Sequence[Finding]
    about_units: str
    view: TextView
    labels: Labels
    about_view: str
    widths: Mapping[str, int]
    pictures: Mapping[str, Sequence[Picture]]
    bias: Bias | None
    answer: str
    numbers: Mapping[str, Any]
    notes: Sequence[str]
    made_by: str


def make_ready(folder: Path) -> None:
    """Make the folder of a report, and try whether it can be written, before the work is done that goes into it.

    Args:
        folder: where the report will go.

    Raises:
        OSError: the folder cannot be made, or not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"tried")


def write(report: Report, folder: Path) -> list[Path]:
    """Write a report: the page, the numbers, and each picture as a file.

    Files of the same names are replaced. Pictures of an earlier report in the folder that this one does not have are
    removed, for they would pass for its own.

    Args:
        report: what it says.
        folder: where to; it is made where it is missing.

    Returns:
        The files, the page first.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = FIGURES if (folder / _PAGE_FILE).is_file() else ()
    drawn = [picture for section in report.pictures.values() for picture in section]
    files = {_PAGE_FILE: page(report), "analysis.json": json.dumps(numbers(report), indent=1) + "\n"}
    files |= {f"{picture.name}.svg": picture.on_white for picture in drawn}
    for name, text in files.items():
        replace_file(folder / name, text.encode())
    for name in {f"{figure}.svg" for figure in earlier} - set(files):
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in files]


def page(report: Report) -> str:
    """Make the page.

    Args:
        report: what it says.

    Returns:
        HTML.
    """
    sections = {"run", "text"} | {name for name, drawn in report.pictures.items() if drawn and name != "units"}
    sections |= {"units"} if report.findings else set()
    source = _PAGE.loader
    assert source is not None
    style, script = (source.get_source(_PAGE, name)[0] for name in ("report.css", "report.js"))
    return _PAGE.get_template("report.html").render(
        report=report._asdict() | {"horizons": horizon_rows(report.bias) if report.bias else []},
        sections=sections,
        style=style,
        script=script,
        data=_embedded(_data(report)),
        unit_name=lambda unit: _unit_name(unit, _layers(report)),
        score=_score,
        plain=plain,
        percent=percent,
    )


def numbers(report: Report) -> dict[str, Any]:
    """All that was measured, for programs and papers; what is not finite is null.

    Args:
        report: what it says.

    Returns:
        What JSON can hold.
    """
    findings = [
        _finding_json(trained) | {"untrained": _finding_json(untrained)}
        for trained, untrained in zip(report.findings, report.untrained, strict=True)
    ]
    bias = report.bias and {
        "steps": report.bias.steps,
        "windows": report.bias.windows,
        "rows": [row._asdict() for row in (*report.bias.rows, report.bias.exact)],
        "answer": report.answer,
    }
    about = {"run": report.title, "made_by": report.made_by, "facts": dict(report.facts), "notes": report.notes}
    whole = about | {"units": findings, "horizon": bias}
    return jsonable(whole | dict(report.numbers))


def horizon_rows(bias: Bias) -> list[dict[str, str]]:
    """What the table of horizons says.

    Args:
        bias: what was measured.

    Returns:
        A row for each horizon, and one for the exact gradient.
    """

    def row(name: str, one: Horizon) -> dict[str, str]:
        memory = f"{one.temp_bytes / 2**20:.1f} MiB" if one.temp_bytes else "not known"
        bound = plain(one.bound) if math.isfinite(one.bound) else "none"
        return {
            "name": name,
            "relative_bias": plain(one.relative_bias, 3),
            "cosine": f"{one.cosine:.4f}",
            "bound": bound,
            "memory": memory,
            "time": f"{1e6 * one.seconds_per_step:.0f}",
        }

    return [*(row(str(one.horizon), one) for one in bias.rows), row(f"exact, {bias.steps:,}", bias.exact)]


def _data(report: Report) -> dict[str, Any]:
    """What the page's script works on."""
    ranked = [finding.label for finding in report.findings]
    return {
        "view": view_json(report.view),
        "deep": _layers(report) > 1,
        "layers": sorted({unit.layer for unit in report.view.units}),  # of the others there is nothing to choose
        "widths": dict(report.widths),
        "names": NAMES,
        "labels": [_label_json(name, report.labels[name]) for name in ranked],
        "findings": [_finding_json(finding) for finding in report.findings],
    }


def _label_json(name: str, values: np.ndarray) -> dict[str, Any]:
    """A label as the page reads it: 0 and 1 for truth values, numbers to three decimals."""
    truth = values.dtype == bool
    return {"name": name, "truth": truth, "values": (values.astype(int) if truth else values.round(3)).tolist()}


def _layers(report: Report) -> int:
    """How many layers the model has."""
    return max(int(name.partition("/")[0]) for name in report.widths)


def _finding_json(finding: Finding) -> dict[str, Any]:
    """A finding as JSON can hold it."""
    units = [one._asdict() | {"unit": list(one.unit)} for one in finding.units]
    return finding._asdict() | {"units": units}


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: no text in it can end the element."""
    return json.dumps(jsonable(data), separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _unit_name(unit: Unit, layers: int) -> str:
    """A unit as a reader finds it."""
    return f"layer {unit.layer}, {unit.name} {unit.number}" if layers > 1 else f"{unit.name} {unit.number}"


def _score(value: float) -> str:
    """A score with three decimals."""
    return f"{value:.3f}" if math.isfinite(value) else "–"
