"""How well a number tells a label: the area under the ROC curve for yes or no, the correlation for how much.

Both are computed for thousands of units at once, in NumPy, on the host.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_BLOCK = 8  # columns that a thread takes at a time


def areas(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The area under the ROC curve of every column of values, as a guess at every column of labels.

    It is the probability that a place with the label has the larger value than a place without, ties counting half::

        area = sum(v > w) + sum(v == w) / 2  over all pairs (v with, w without), divided by the number of pairs

    computed exactly from ranks: with R the sum of the (mean) ranks from 1 of the n places with the label, out of N::

        area = (R - n (n + 1) / 2) / (n (N - n))

    Args:
        values: `[N, U]` floats.
        labels: `[N, L]` bool.

    Returns:
        `[U, L]`: 1 where the value tells the label perfectly, 0 where it does so the other way round, 0.5 where it
        says nothing; NaN where a label is true everywhere or nowhere, or where a value is NaN.

    Cost:
        One sort of N numbers a unit, whatever L: about 10 ms for 100,000 places.

    References:
        J. A. Hanley, B. J. McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC)
        curve", Radiology 143, 1982 (the area as a Wilcoxon statistic).

    Example:
        >>> areas(np.array([[0.1], [0.2], [0.2], [0.9]]), np.array([[False], [False], [True], [True]]))
        array([[0.875]])
    """
    with_label = labels.sum(axis=0, dtype=float)
    pairs = with_label * (len(labels) - with_label)
    weights = labels.astype(float)

    def sums_of_ranks(block: np.ndarray) -> np.ndarray:
        return np.stack([_ranks(column) @ weights for column in block])

    sums = _by_blocks(sums_of_ranks, values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums - with_label * (with_label + 1) / 2) / pairs


def correlations(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pearson's correlation of every column of values with every column of labels.

    Args:
        values: `[N, U]` floats.
        labels: `[N, L]` floats.

    Returns:
        `[U, L]` between -1 and 1; NaN where a column does not vary.

    Cost:
        One product `[U, N] x [N, L]`, and one pass over the values.

    Example:
        >>> correlations(np.array([[1.0, 1.0], [2.0, 0.0], [3.0, 2.0]]), np.array([[2.0], [4.0], [6.0]])).round(3)
        array([[1. ],
               [0.5]])
    """
    labels = np.asarray(labels, float)
    centred = labels - labels.mean(axis=0)
    label_scales = _varying(np.sqrt(np.sum(centred**2, axis=0)), labels.T)

    def of_block(block: np.ndarray) -> np.ndarray:
        around = block - block.mean(axis=1, dtype=float, keepdims=True)
        scales = _varying(np.sqrt(np.einsum("un,un->u", around, around)), block)[:, None] * label_scales
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(scales > 0, around @ centred / scales, np.nan)

    return _by_blocks(of_block, values)


def _varying(scales: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The scales of rows `[R]`, 0 for one whose numbers differ from their mean by its rounding alone."""
    rounding = np.finfo(float).eps * np.abs(rows).max(axis=1, initial=0) * rows.shape[1] ** 0.5
    return np.where(scales > rounding, scales, 0)


def score(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The signed score of every column for one label: areas for truth values, correlations for floats.

    Args:
        values: `[N, U]` floats.
        label: `[N]` bool or float.

    Returns:
        `[U]`.

    Example:
        >>> score(np.array([[0.1], [0.9]]), np.array([True, False])).tolist()
        [0.0]
    """
    measure = areas if label.dtype == bool else correlations
    return measure(values, label[:, None])[:, 0]


def oriented(signed: np.ndarray, sign: np.ndarray | float, *, truth: bool) -> np.ndarray:
    """A score the way up that a sign says: a unit that is low where the label holds tells as much as one that is high.

    Args:
        signed: scores.
        sign: 1 or -1 for each.
        truth: whether these are areas, which turn around 0.5, or correlations, which turn around 0.

    Returns:
        The scores, turned where the sign is -1.

    Example:
        >>> float(oriented(np.array(0.25), -1, truth=True)), float(oriented(np.array(0.25), -1, truth=False))
        (0.75, -0.25)
    """
    middle = 0.5 if truth else 0.0
    return middle + sign * (signed - middle)


def _by_blocks(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """The rows that a function makes of the columns, `[block, N]` at a time, on all cores: `[U, ...]`."""
    starts = range(0, values.shape[1], _BLOCK)
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # NumPy sorts and multiplies without holding the interpreter
        parts = threads.map(lambda start: function(values[:, start : start + _BLOCK].T.copy()), starts)
        return np.concatenate(list(parts))


def _ranks(column: np.ndarray) -> np.ndarray:
    """The rank of each number from 1, equal ones sharing the mean of theirs: `[N]`; NaN has no place among numbers."""
    if np.isnan(column).any():
        return np.full(len(column), np.nan)
    order = np.argsort(column)
    in_order = column[order]
    first = np.append(True, in_order[1:] != in_order[:-1])
    group = np.cumsum(first) - 1
    ends = np.append(np.flatnonzero(first), len(column))
    ranks = np.empty(len(column))
    ranks[order] = ((ends[:-1] + ends[1:] + 1) / 2)[group]
    return ranks
