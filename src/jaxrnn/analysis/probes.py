"""Linear probes: how well a label can be read off the whole state, beside what the best single unit tells."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxrnn.analysis.labels import Labels
from jaxrnn.analysis.scores import score

RIDGE = 0.1
"""Penalty on the weights of standardised values, as a share of what N places weigh."""


def probe(values: Sequence[np.ndarray], labels: Labels, middle: int) -> dict[str, float]:
    """Fit a linear reading of each label on the first part of a text, and score it on the other.

    With X the values of the first part, each unit at mean 0 and variance 1, and y a label at mean 0::

        w = (X^T X + RIDGE N 1)^-1 X^T y        reading = x w

    For truth values that is Fisher's linear discriminant with a ridge.

    Args:
        values: `[N, H]` arrays, side by side the whole state.
        labels: `[N]` each, bool or float.
        middle: places in the first part.

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
    weights = _ridge([part[:middle] for part in values], {name: label[:middle] for name, label in labels.items()})
    readings = np.sum([part[middle:] @ w for part, w in zip(values, weights, strict=True)], axis=0)
    return {
        name: float(score(readings[:, [column]], label[middle:])[0])
        for column, (name, label) in enumerate(labels.items())
    }


def _ridge(values: Sequence[np.ndarray], labels: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The weights `[H, L]` of each array; a unit that does not vary has none."""
    x = np.concatenate(values, axis=1)
    mean, spread = x.mean(axis=0, dtype=float), x.std(axis=0, dtype=float)
    scale = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)
    x = ((x - mean) * scale).astype(x.dtype)
    y = np.stack([label - label.mean() for label in labels.values()], axis=1)
    gram = (x.T @ x).astype(float) + RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T.astype(float) @ y) * scale[:, None]
    return np.split(weights, np.cumsum([part.shape[1] for part in values])[:-1])
