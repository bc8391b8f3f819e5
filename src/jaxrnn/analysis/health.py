"""The health of a training: how its steps compare with what they changed, and what had to be held back."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Health(NamedTuple):
    """What the metrics of U updates say.

    Attributes:
        steps: `[U]` the number of each update.
        gradient_ratio: `[U]` length of the gradient, before clipping, over length of the parameters.
        update_ratio: `[U]` length of the step over length of the parameters; about 1e-3 is customary.
        clipped: share of updates whose gradient was clipped.
        skipped: how many updates were not made because something was not finite.
    """

    steps: np.ndarray
    gradient_ratio: np.ndarray
    update_ratio: np.ndarray
    clipped: float
    skipped: int


def health(rows: Sequence[Mapping[str, Any]]) -> Health | None:
    """Read the health of a training off its metrics.

    Args:
        rows: those of `metrics.jsonl`; only updates are looked at. A number that was not finite is None there.

    Returns:
        The health; None where there is no update.

    Example:
        >>> row = {"kind": "update", "step": 1, "gradient_norm": 3.0, "update_norm": 0.2, "parameter_norm": 100.0}
        >>> health([row | {"clipped": True, "skipped": False}]).gradient_ratio.tolist()
        [0.03]
    """
    updates = [row for row in rows if row["kind"] == "update"]
    if not updates:
        return None

    def column(name: str) -> np.ndarray:
        return np.array([np.nan if row[name] is None else row[name] for row in updates], float)

    size = column("parameter_norm")
    return Health(
        steps=column("step").astype(int),
        gradient_ratio=column("gradient_norm") / size,
        update_ratio=column("update_norm") / size,
        clipped=float(np.mean([row["clipped"] for row in updates])),
        skipped=sum(bool(row["skipped"]) for row in updates),
    )
