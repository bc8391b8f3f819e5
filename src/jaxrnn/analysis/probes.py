"""Linear probes: how well a label can be read off the whole state, beside what the best single unit tells.

A probe has hundreds of weights, so that it wants far more text than the choice of a unit does: hundreds of thousands of
places. What the fit needs of them are sums only, which are taken as the text goes by; no states are kept.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxrnn.analysis.labels import Labels
from jaxrnn.analysis.scores import score

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties to choose from, on the weights of standardised values, as shares of what N places weigh."""


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
    labels: Mapping[str, tuple[float, np.ndarray]]

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
    table = np.array([*labels.values()], states.dtype).reshape(len(labels), len(states))
    sums = (float(label.sum()) for label in labels.values())
    known = dict(zip(labels, zip(sums, table @ states, strict=True), strict=True))
    return Moments(len(states), states.sum(axis=0, dtype=float), (states.T @ states).astype(float), known)


def fit(sums: Moments, ridge: float) -> dict[str, np.ndarray]:
    """Fit a linear probe of each label.

    With X the states, each unit at mean 0 and variance 1, and y a label at mean 0::

        w = (X^T X + ridge N 1)^-1 X^T y        reading = x w

    For truth values that is Fisher's linear discriminant with a ridge.

    Args:
        sums: of the places to fit on.
        ridge: how strongly weights are held back, as a share of N.

    Returns:
        For each label `[D]` the weights of the states as they are; 0 for a unit that does not vary.

    Cost:
        O(D^3) once for all labels.

    References:
        A. E. Hoerl, R. W. Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems", Technometrics
        12(1), 1970. R. A. Fisher, "The Use of Multiple Measurements in Taxonomic Problems", Annals of Eugenics 7(2),
        1936 (the discriminant).

    Example:
        >>> sums = moments(np.array([[1.0], [3.0]]), {"twice": np.array([2.0, 6.0])})
        >>> [float(fit(sums, ridge)["twice"][0].round(3)) for ridge in (0.0, 1.0)]
        [2.0, 1.0]
    """
    if not sums.labels:
        return {}
    n, mean = sums.places, sums.total / sums.places
    covariance = sums.products / n - np.outer(mean, mean)
    square = sums.products.diagonal() / n
    varies = covariance.diagonal() > 1e-6 * square  # of a unit that stands still, rounding leaves this
    scale = np.where(varies, 1 / np.sqrt(np.where(varies, covariance.diagonal(), 1)), 0)
    gram = scale[:, None] * covariance * scale + ridge * np.eye(len(scale))
    names, both = list(sums.labels), list(sums.labels.values())
    y = np.stack([scale * (product - label * mean) / n for label, product in both], axis=1)
    return dict(zip(names, (scale[:, None] * np.linalg.solve(gram, y)).T, strict=True))


def probe(first: Moments, later: Moments, states: np.ndarray, labels: Labels) -> dict[str, np.ndarray]:
    """Fit a linear probe of each label, with the ridge that does best on text that it was not fitted on.

    Each of `RIDGES` is tried: fitted on the first part of a text, and scored on places of the later part. The best is
    fitted again, on both.

    Args:
        first: of the first part.
        later: of the later part.
        states: `[n, D]` some of the later part's.
        labels: `[n]` each, bool or float: those of these places.

    Returns:
        For each label `[D]` the weights of the states as they are.

    Cost:
        O(D^3) twice a ridge, whatever the number of places and labels.

    References:
        G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier probes", arXiv:1610.01644.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> y = {"sum": x.sum(axis=1)}
        >>> probe(moments(x, y), moments(x, y), x, y)["sum"].round(3)
        array([1., 1.])
    """
    tried = [fit(first, ridge) for ridge in RIDGES]
    final = [fit(first + later, ridge) for ridge in RIDGES]
    chosen = {}
    for name, label in labels.items():
        readings = np.stack([states @ weights[name] for weights in tried], axis=1)
        scores = score(readings, label)
        chosen[name] = final[int(np.argmax(np.nan_to_num(scores, nan=-1.0)))][name]
    return chosen
