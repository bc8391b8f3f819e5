"""What clipping did to the gradients of a run, from its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.choices import is_number, require


class Clipping(NamedTuple):
    """The norm of the gradient through a run, before clipping and after.

    Attributes:
        steps: `[U]`, the numbers of the updates.
        before: `[U]`, the norms; NaN where one was not finite.
        after: `[U]`, what clipping by the norm left of them.
        clipped: bool `[U]`, whether it left less.
        share: of the updates that were clipped; NaN without any update.
    """

    steps: np.ndarray
    before: np.ndarray
    after: np.ndarray
    clipped: np.ndarray
    share: float


def clipping(rows: Sequence[Mapping[str, Any]], clip_norm: float) -> Clipping:
    """Read from a run's metrics how often, and by how much, gradients were shortened.

    Args:
        rows: the lines of `metrics.jsonl`, see `jaxrnn.running.runs.metrics`; those of updates are used.
        clip_norm: the greatest norm that a gradient was allowed; infinite for none.

    Returns:
        The norms before and after.

    Raises:
        InputError: for a `clip_norm` that is not above 0.

    Example:
        >>> norms = [("update", 0.5), ("update", 4.0), ("validation", None), ("update", None)]
        >>> rows = [{"kind": kind, "step": step, "gradient_norm": norm} for step, (kind, norm) in enumerate(norms, 1)]
        >>> seen = clipping(rows, clip_norm=1.0)
        >>> seen.after.tolist(), round(seen.share, 3)
        ([0.5, 1.0, nan], 0.333)
    """
    require(is_number(clip_norm) and clip_norm > 0, "clipping: clip_norm", clip_norm, "above 0, or inf for no limit")
    updates = [row for row in rows if row["kind"] == "update"]
    before = np.array([row["gradient_norm"] for row in updates], float)  # null stands for what is not finite
    clipped = before > clip_norm
    steps = np.array([row["step"] for row in updates], int)
    share = float(clipped.mean()) if len(updates) else float("nan")
    return Clipping(steps, before, np.minimum(before, clip_norm), clipped, share)
