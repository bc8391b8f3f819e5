"""Choosing units: which states or gates of a model tell a label best, of all that there are."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxrnn.analysis.labels import Labels
from jaxrnn.analysis.scores import areas, correlations, oriented
from jaxrnn.analysis.states import Quantity


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

    def __str__(self) -> str:
        """Name it, as in "h 124 of layer 1"."""
        return f"{self.name} {self.number} of layer {self.layer}"


class Scored(NamedTuple):
    """How well a unit tells a label.

    Attributes:
        unit: the unit.
        sign: 1 where it is high with the label, -1 where it is low.
        chosen: its score on the text that it was chosen on.
        held_out: its score on another text, the one to report.
    """

    unit: Unit
    sign: int
    chosen: float
    held_out: float


def choose_units(values: Mapping[Quantity, np.ndarray], labels: Labels, *, top: int) -> dict[str, list[Scored]]:
    """Choose the units with the highest scores.

    Args:
        values: `[N, H]` each, what the units did at N places.
        labels: `[N]` each, bool or float.
        top: how many.

    Returns:
        For each label the best units, best first; what they score elsewhere is not known yet.

    Cost:
        One sort of the N places for every unit, whatever the number of labels.

    Example:
        >>> values = {Quantity(1, "h"): np.array([[0.5, 0.9], [0.5, 0.1]])}         # the second unit is low with it
        >>> [best] = choose_units(values, {"vowel": np.array([False, True])}, top=1)["vowel"]
        >>> str(best.unit), best.sign, best.chosen
        ('h 1 of layer 1', -1, 1.0)
    """
    units = [Unit(*quantity, number) for quantity, seen in values.items() for number in range(seen.shape[1])]
    best = {}
    for name, signed in _signed_scores(values, labels).items():
        truth = labels[name].dtype == bool
        sign = np.where(signed < (0.5 if truth else 0.0), -1, 1)
        chosen = oriented(signed, sign, truth=truth)
        order = np.argsort(-chosen, kind="stable")[:top]  # NaN, where a unit does not vary, comes last
        best[name] = [Scored(units[place], int(sign[place]), float(chosen[place]), np.nan) for place in order]
    return best


def _signed_scores(values: Mapping[Quantity, np.ndarray], labels: Labels) -> dict[str, np.ndarray]:
    """For each label the signed score of every unit."""
    scores = {}
    for measure, truth in ((areas, True), (correlations, False)):
        names = [name for name, label in labels.items() if (label.dtype == bool) == truth]
        if names:
            table = np.stack([labels[name] for name in names], axis=1)
            found = np.concatenate([measure(seen, table) for seen in values.values()])
            scores |= dict(zip(names, found.T, strict=True))
    return scores
