"""One unit followed through a run: how well it tells a label in every snapshot, from the untrained network on."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrnn import snapshots
from jaxrnn.analysis.findings import Labelled, choose, score_choice, varying
from jaxrnn.analysis.labels import QUOTES, STRING, Labels
from jaxrnn.analysis.states import STATES
from jaxrnn.analysis.units import Scored
from jaxrnn.choices import unknown
from jaxrnn.errors import InputError
from jaxrnn.running.study import Subject, Watched
from jaxrnn.running.trained import Trained, load_params
from jaxrnn.types import Params

MOST = 12
"""Snapshots that are read, beside the untrained network."""

_LENGTH = 60_000  # symbols of either text that each snapshot reads
_FIRST_CHOICES = (STRING, QUOTES)


class Followed(NamedTuple):
    """A unit through a run.

    Attributes:
        label: what it tells.
        measure: "AUC" or "correlation".
        unit: the unit that is the best for it in the best snapshot, and which way up it is read.
        best: the updates before that.
        updates: `[S]` the updates before each snapshot; 0 is the untrained network.
        scores: `[S]` of the unit, on the text on which it was not chosen.
        probes: `[S]` of a linear probe of the whole state, fitted in each snapshot on the text to choose on.
        bits: `[S]` what a symbol cost there.
        fitted: how many symbols each reading was fitted on.
        scored: how many symbols all that was scored on.
    """

    label: str
    measure: str
    unit: Scored
    best: int
    updates: tuple[int, ...]
    scores: tuple[float, ...]
    probes: tuple[float, ...]
    bits: tuple[float, ...]
    fitted: int
    scored: int


def label_to_follow(wanted: str | None, one: Labels, other: Labels) -> str | None:
    """Choose the label whose unit is followed, of those that vary in both texts.

    Args:
        wanted: its name, or None for "inside a string literal", or what is most like it.
        one: the labels of the text to choose on.
        other: the labels of the text to score on.

    Returns:
        The name; None where there is no such label and none is wanted.

    Raises:
        InputError: there is no label of this name, or it does not vary in both texts.

    Example:
        >>> label = np.arange(1000) % 2 == 0
        >>> texts = [{"indentation": label, "inside quotes": label, "inside a string literal": label & False}] * 2
        >>> label_to_follow(None, *texts)
        'inside quotes'
        >>> label_to_follow("inside a string literal", *texts)
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: --follow: 'inside a string literal' does not vary in both texts (expected one of: \
indentation, inside quotes)
    """
    known = varying(one, other)
    if wanted is None:
        return next((name for name in (*_FIRST_CHOICES, *known) if name in known), None)
    if wanted in one and wanted not in known:
        expected = f"expected one of: {', '.join(known)}" if known else "no label does: give another text"
        raise InputError(f"--follow: {wanted!r} does not vary in both texts ({expected})")
    if wanted not in known:
        python = "labels of Python source are there where all files are .py or .py.gz, but not with whitespace tokens"
        where = "" if STRING in one else f"; {python}"
        raise InputError(f"--follow: {unknown(wanted, known)}{where}")
    return wanted


def follow_unit(
    best: Trained, studied: Subject, watched: Watched, label: str | None, begin: Callable[[str], None]
) -> Followed | None:
    """Follow the best unit for a label through the snapshots of its run.

    Args:
        best: the trained model.
        studied: what is studied.
        watched: what was seen of its units.
        label: the label's name; None for none.
        begin: called with the name of each part.

    Returns:
        How it went; None where there is no label to follow, or no unit that varies.

    Cost:
        A forward pass over 120,000 symbols for each snapshot, of which twelve, evenly chosen, are read at most.
    """
    finding = next((finding for finding in watched.findings if finding.label == label), None)
    if finding is None:
        return None
    name, unit = finding.label, finding.units[0]
    here, there = (Labelled(text.ids, {name: text.labels[name]}) for text in (studied.chosen_on, studied.scored_on))
    seen, fitted, scored = [], 0, 0
    chosen = _evenly(snapshots.listed(best.run.snapshots), best.snapshot)
    for number, (updates, folder) in enumerate([(0, None), *chosen]):
        begin(f"following a unit, {number} of {len(chosen)}")
        params = _params(best, studied, folder)
        if params is None:
            continue
        choice = choose(studied.cell, params, here, top=1, names=STATES, most=_LENGTH)
        found = score_choice(studied.cell, params, there, choice._replace(units={name: [unit]}), most=_LENGTH)
        seen.append((updates, found.units[name][0].held_out, found.probes[name], found.bits))
        fitted, scored = choice.places, found.places
    updates, scores, probes, bits = zip(*seen, strict=True)
    return Followed(name, finding.measure, unit, best.position.updates, updates, scores, probes, bits, fitted, scored)


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
    places = np.unique(np.linspace(0, len(in_order) - 1, min(MOST, len(in_order))).round().astype(int))
    for place, (_, folder) in enumerate(in_order):
        if folder == best:
            places[np.argmin(np.abs(places - place))] = place
    return [in_order[place] for place in places]
