"""One unit followed through a run: how well it tells a label in every snapshot, from the untrained network on."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrnn import snapshots
from jaxrnn.analysis.labels import STRING, Labels
from jaxrnn.analysis.probes import STATES, probe
from jaxrnn.analysis.scores import oriented, score
from jaxrnn.analysis.states import RUN_UP, Quantity, observe, places
from jaxrnn.analysis.units import Finding, Scored
from jaxrnn.choices import unknown
from jaxrnn.errors import InputError
from jaxrnn.running.study import Subject, Watched, rows_for
from jaxrnn.running.trained import Trained, load_params
from jaxrnn.types import Params

_MOST = 12  # snapshots
_HALF = 20_000  # symbols on either side of the middle: what each snapshot reads
_FIRST_CHOICES = (STRING, "inside quotes")


class Followed(NamedTuple):
    """A unit through a run.

    Attributes:
        label: what it tells.
        measure: "AUC" or "correlation".
        unit: the unit that is the best for it at the end, and which way up it is read.
        updates: `[S]` the updates before each snapshot; 0 is the untrained network.
        scores: `[S]` of the unit, on the part of the text on which it was not chosen.
        probes: `[S]` of a linear reading of the whole state, fitted on as much text before.
        bits: `[S]` what a symbol cost there.
    """

    label: str
    measure: str
    unit: Scored
    updates: tuple[int, ...]
    scores: tuple[float, ...]
    probes: tuple[float, ...]
    bits: tuple[float, ...]


def label_to_follow(wanted: str | None, labels: Sequence[str]) -> str | None:
    """Choose the label whose unit is followed.

    Args:
        wanted: its name, or None for "inside a string literal", or what is most like it.
        labels: the names that there are.

    Returns:
        The name; None where there is no label.

    Raises:
        InputError: there is no such label.

    Example:
        >>> label_to_follow(None, ["indentation", "inside quotes"])
        'inside quotes'
    """
    if wanted is not None and wanted not in labels:
        raise InputError(f"--follow: {unknown(wanted, labels)}")
    return wanted or next((name for name in (*_FIRST_CHOICES, *labels) if name in labels), None)


def follow_unit(
    best: Trained, studied: Subject, watched: Watched, label: str | None, begin: Callable[[str], None]
) -> Followed | None:
    """Follow the best unit for a label through the snapshots of its run.

    Args:
        best: the trained model.
        studied: what is studied.
        watched: what was seen of its units.
        label: the label's name.
        begin: called with the name of each part.

    Returns:
        How it went; None where the label does not vary in both parts of the text.

    Cost:
        A forward pass over 40,000 symbols for each snapshot, of which twelve, evenly chosen, are read at most.
    """
    finding = next((finding for finding in watched.findings if finding.label == label), None)
    if finding is None:
        return None
    half = min(_HALF, watched.middle, watched.length - watched.middle)
    span = slice(watched.middle - half, watched.middle + half + RUN_UP)  # of symbols: states begin RUN_UP later
    ids = studied.text.ids[span]
    rows = rows_for(len(ids))
    if places(len(ids), rows) <= half:  # what a row leaves over may be all of a short second part
        return None
    labels = {finding.label: studied.text.labels[finding.label][span][RUN_UP:]}
    seen = []
    chosen = _evenly(snapshots.listed(best.run.snapshots), best.snapshot)
    for number, (updates, folder) in enumerate([(0, None), *chosen]):
        begin(f"following a unit, {number} of {len(chosen)}")
        params = _params(best, studied, folder)
        if params is not None:
            seen.append((updates, *_look(studied, params, ids, labels, finding, half, rows)))
    updates, scores, probes, bits = zip(*seen, strict=True)
    return Followed(finding.label, finding.measure, finding.units[0], updates, scores, probes, bits)


def _look(
    studied: Subject, params: Params, ids: np.ndarray, labels: Labels, finding: Finding, half: int, rows: int
) -> tuple[float, float, float]:
    """The scores of the unit and of a linear reading in one snapshot, and bits a symbol, all on the second half."""
    layer, name, number = finding.units[0].unit
    states = observe(studied.cell, params, ids, rows=rows, names={*STATES, name})
    labels = {label: values[: len(states.nats)] for label, values in labels.items()}
    values = labels[finding.label][half:]
    signed = score(states.values[Quantity(layer, name)][half:, [number]], values)[0]
    whole = [kept for quantity, kept in states.values.items() if quantity.name in STATES]
    told = oriented(signed, finding.units[0].sign, truth=finding.measure == "AUC")
    bits = float(states.nats[half:].mean(dtype=float) / np.log(2))
    return float(told), probe(whole, labels, half)[finding.label], bits


def _params(best: Trained, studied: Subject, folder: Path | None) -> Params | None:
    """The parameters of a snapshot; None for one that cannot be read, of which there is a warning."""
    if folder is None:
        return studied.untrained
    try:
        return best.params if folder == best.snapshot else load_params(best, folder)
    except InputError as error:  # damaged, or pruned meanwhile by a run that is still trained
        warnings.warn(f"{error}; it is left out", snapshots.SnapshotWarning, stacklevel=2)
        return None


def _evenly(found: Sequence[tuple[int, Path]], best: Path) -> list[tuple[int, Path]]:
    """At most so many of the snapshots, evenly chosen, one for each number of updates; the best among them."""
    one_each = {updates: folder for updates, folder in found} | {n: folder for n, folder in found if folder == best}
    in_order = sorted(one_each.items())
    places = np.unique(np.linspace(0, len(in_order) - 1, min(_MOST, len(in_order))).round().astype(int))
    chosen = {in_order[place] for place in places} | {item for item in in_order if item[1] == best}
    return sorted(chosen)
