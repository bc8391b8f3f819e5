"""Linear probes: how well a label can be read off the whole state, beside what the best single unit tells.

A probe has hundreds of weights, so that it wants far more text than the choice of a unit does: hundreds of thousands of
places. What the fit needs of them are sums only, which are taken as the text goes by; no states are kept.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxrnn.analysis.labels import Labels
from jaxrnn.analysis.scores import score
from jaxrnn.analysis.states import RUN_UP, blocks, places
from jaxrnn.cell import Cell
from jaxrnn.types import Params

RIDGE = 0.1
"""Penalty on the weights of standardised values, as a share of what N places weigh."""

STATES = ("h", "c")
"""The quantities that are the whole state."""


class Moments(NamedTuple):
    """What a linear fit needs of N places; those of several texts add.

    Attributes:
        places: N.
        total: `[D]` the sum of the states x.
        products: `[D, D]` the sum of x x^T.
        labels: for each label its sum, and `[D]` the sum of x times the label.
    """

    places: int
    total: np.ndarray
    products: np.ndarray
    labels: dict[str, tuple[float, np.ndarray]]

    def __add__(self, other: "Moments") -> "Moments":  # pyright: ignore[reportIncompatibleMethodOverride]
        """The moments of both texts together, for the labels that both have."""
        both = {
            name: (mine + other.labels[name][0], product + other.labels[name][1])
            for name, (mine, product) in self.labels.items()
            if name in other.labels
        }
        return Moments(self.places + other.places, self.total + other.total, self.products + other.products, both)


def moments(states: np.ndarray, labels: Labels) -> Moments:
    """Take the sums over some places.

    Args:
        states: `[N, D]`.
        labels: `[N]` each.

    Returns:
        The moments, in float64; products are those of the states' own precision.

    Cost:
        O(N D^2).

    Example:
        >>> moments(np.array([[1.0], [2.0]]), {"y": np.array([False, True])}).labels["y"]
        (1.0, array([2.]))
    """
    known = {name: (float(label.sum()), label.astype(states.dtype) @ states) for name, label in labels.items()}
    return Moments(len(states), states.sum(axis=0, dtype=float), (states.T @ states).astype(float), known)


def read_moments(cell: Cell, params: Params, ids: np.ndarray, labels: Labels, *, rows: int = 8) -> Moments:
    """Let a model read a text, and take the sums of its states and labels; no state is kept.

    Args:
        cell: symbols in and logits out.
        params: its parameters.
        ids: the text; `jaxrnn.analysis.states.places` says how much of it counts.
        labels: for each symbol of the text.
        rows: how many rows it is read in.

    Returns:
        The moments.

    Raises:
        InputError: the text is too short.

    Cost:
        One forward pass, O(N D^2), and memory for a block of 250 steps.
    """
    length = places(len(ids), rows) // rows
    found = None
    for start, seen, _ in blocks(cell, params, ids, rows=rows, names=STATES):
        if start < RUN_UP:
            continue
        x = np.concatenate([values.reshape(-1, values.shape[-1]) for values in seen.values()], axis=1)
        steps = np.arange(start, start + len(x) // rows)
        at = np.ravel(steps[:, None] + np.arange(rows) * length)
        here = moments(x, {name: label[at] for name, label in labels.items()})
        found = here if found is None else found + here
    assert found is not None
    return found


def fit(sums: Moments) -> dict[str, np.ndarray]:
    """Fit a linear reading of each label.

    With X the states, each unit at mean 0 and variance 1, and y a label at mean 0::

        w = (X^T X + RIDGE N 1)^-1 X^T y        reading = x w

    For truth values that is Fisher's linear discriminant with a ridge.

    Args:
        sums: of the places to fit on.

    Returns:
        For each label `[D]` the weights of the states as they are; 0 for a unit that does not vary.

    Cost:
        O(D^3) once for all labels.
    """
    n, mean = sums.places, sums.total / sums.places
    covariance = sums.products / n - np.outer(mean, mean)
    square = sums.products.diagonal() / n
    varies = covariance.diagonal() > 1e-6 * square  # of a unit that stands still, rounding leaves this
    scale = np.where(varies, 1 / np.sqrt(np.where(varies, covariance.diagonal(), 1)), 0)
    gram = scale[:, None] * covariance * scale + RIDGE * np.eye(len(scale))
    names, both = list(sums.labels), list(sums.labels.values())
    y = np.stack([scale * (product - label * mean) / n for label, product in both], axis=1)
    return dict(zip(names, (scale[:, None] * np.linalg.solve(gram, y)).T, strict=True))


def probe(
    values: Sequence[np.ndarray], labels: Labels, middle: int, earlier: Moments | None = None
) -> dict[str, float]:
    """Fit a linear reading of each label on the first part of a text, and score it on the other.

    Args:
        values: `[N, H]` arrays, side by side the whole state.
        labels: `[N]` each, bool or float.
        middle: places in the first part.
        earlier: of more text, to be fitted on too; must know the labels.

    Returns:
        For each label the score of the reading on the other part: the area under the ROC curve for truth values, the
        correlation for floats; NaN where the label does not vary there.

    Cost:
        O(N D^2 + D^3) once for all labels, with D units in the state.

    References:
        G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier probes", arXiv:1610.01644.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> round(probe([x], {"sum": x.sum(axis=1)}, 100)["sum"], 6)
        1.0
    """
    x = np.concatenate(values, axis=1)
    sums = moments(x[:middle], {name: label[:middle] for name, label in labels.items()})
    weights = fit(sums if earlier is None else earlier + sums)
    return {
        name: float(score((x[middle:] @ weights[name])[:, None], label[middle:])[0]) for name, label in labels.items()
    }
