"""Finding the unit: which state or gate of a model tells a label best, and whether that is more than chance.

A unit is chosen on the first part of a text and scored on the other, so that the best of thousands is not flattered by
having been chosen. Two baselines say what choosing alone gives: the same labels moved half a text onwards, which keeps
their runs and breaks their tie to the text; and the same search in a network that has learned nothing.
"""

from typing import NamedTuple

import numpy as np

from jaxrnn.analysis.labels import Labels
from jaxrnn.analysis.probes import STATES, Moments, probe
from jaxrnn.analysis.scores import areas, correlations, oriented, score
from jaxrnn.analysis.states import Quantity, States

_MOVED = "moved: "


class Unit(NamedTuple):
    """One unit of a model.

    Attributes:
        layer: its layer, from 1.
        name: which of its quantities, such as "h", "c" or "f".
        number: which one in the layer, from 0.
    """

    layer: int
    name: str
    number: int


class Scored(NamedTuple):
    """How well a unit tells a label.

    Attributes:
        unit: the unit.
        sign: 1 where it is high with the label, -1 where it is low.
        chosen: its score on the part of the text that it was chosen on.
        held_out: its score on the other part, the one to report; NaN where the label does not vary there.
    """

    unit: Unit
    sign: int
    chosen: float
    held_out: float


class Finding(NamedTuple):
    """What was found for one label.

    Attributes:
        label: its name.
        measure: "AUC" for truth values, "correlation" for floats.
        mean: of the label over the text: for truth values the share of places where it holds.
        units: the best, best first.
        probe: the score of a linear reading of the whole state.
        moved: the score of the best unit for the moved label.
        moved_probe: and of a linear reading.
    """

    label: str
    measure: str
    mean: float
    units: tuple[Scored, ...]
    probe: float
    moved: float
    moved_probe: float


def find_units(
    states: States, labels: Labels, middle: int, *, top: int = 10, earlier: Moments | None = None
) -> list[Finding]:
    """Rank all units of a model against every label.

    Args:
        states: what the units did at N places.
        labels: `[N]` each, bool or float.
        middle: places in the first part, on which units are chosen; between two files is a good place.
        top: how many units to give for each label.
        earlier: what more text gives for the linear reading to be fitted on: its states against `with_moved(labels)`.

    Returns:
        One finding a label, in their order; labels that do not vary in either part are left out.

    Cost:
        One sort of the first part for every unit, whatever the number of labels.
    """
    labels = {name: values for name, values in labels.items() if _varies(values, middle)}
    whole = [values for quantity, values in states.values.items() if quantity.name in STATES]
    both = with_moved(labels, middle)  # one sort, and one fit, serve them all
    best = best_units(states, both, middle, top=top)
    probes = probe(whole, both, middle, earlier) if both else {}
    return [
        Finding(
            label=name,
            measure="AUC" if values.dtype == bool else "correlation",
            mean=float(values.mean()),
            units=tuple(best[name]),
            probe=probes[name],
            moved=best[_MOVED + name][0].held_out,
            moved_probe=probes[_MOVED + name],
        )
        for name, values in labels.items()
    ]


def with_moved(labels: Labels, middle: int = 0) -> dict[str, np.ndarray]:
    """Labels, and each of them moved on by half a text, its end coming round to its start: what chance is taken from.

    Args:
        labels: `[N]` each.
        middle: places in the first part, each part being moved within itself.

    Returns:
        Twice as many labels.

    Example:
        >>> with_moved({"a": np.array([1.0, 2.0, 3.0, 4.0])})["moved: a"].tolist()
        [3.0, 4.0, 1.0, 2.0]
    """
    return dict(labels) | {_MOVED + name: _moved(values, middle) for name, values in labels.items()}


def best_units(states: States, labels: Labels, middle: int, *, top: int) -> dict[str, list[Scored]]:
    """Choose the units with the highest scores on the first part, and score them on the other.

    Args:
        states: what the units did at N places.
        labels: `[N]` each, bool or float.
        middle: places in the first part.
        top: how many.

    Returns:
        For each label the best units, best first.
    """
    units = [Unit(*quantity, number) for quantity, seen in states.values.items() for number in range(seen.shape[1])]
    signed = _signed_scores(states, {name: values[:middle] for name, values in labels.items()}, middle)
    best = {}
    for name, label in labels.items():
        truth = label.dtype == bool
        sign = np.where(signed[name] < (0.5 if truth else 0.0), -1, 1)
        chosen = oriented(signed[name], sign, truth=truth)
        order = np.argsort(-chosen, kind="stable")[:top]  # NaN, where a unit does not vary, comes last
        again = [score(_column(states, units[place])[middle:], label[middle:])[0] for place in order]
        best[name] = [
            Scored(
                units[place], int(sign[place]), float(chosen[place]), float(oriented(later, sign[place], truth=truth))
            )
            for place, later in zip(order, again, strict=True)
        ]
    return best


def _signed_scores(states: States, labels: Labels, stop: int) -> dict[str, np.ndarray]:
    """For each label the signed score of every unit, over the places before `stop`."""
    scores = {}
    for measure, truth in ((areas, True), (correlations, False)):
        names = [name for name, values in labels.items() if (values.dtype == bool) == truth]
        if names:
            table = np.stack([labels[name] for name in names], axis=1)
            found = np.concatenate([measure(seen[:stop], table) for seen in states.values.values()])
            scores |= dict(zip(names, found.T, strict=True))
    return scores


def _column(states: States, unit: Unit) -> np.ndarray:
    """What one unit did: `[N, 1]`."""
    return states.values[Quantity(unit.layer, unit.name)][:, [unit.number]]


def _varies(label: np.ndarray, middle: int) -> bool:
    """Whether there is something to tell in both parts."""
    return all(len(part) > 0 and bool(np.any(part != part[0])) for part in (label[:middle], label[middle:]))


def _moved(label: np.ndarray, middle: int) -> np.ndarray:
    """The label of each part moved on by half the part, its end coming round to its start."""
    return np.concatenate([np.roll(part, len(part) // 2) for part in (label[:middle], label[middle:])])
