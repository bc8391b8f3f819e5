"""Influence balancing: does training reach the optimum, or does it run away, as the theory says?

With chunks of K steps whose losses are summed, truncated BPTT has the wrong sign up to K = 109; with a sliding window,
up to 40 (`jaxrnn.data.influence_balancing`). Here by plain gradient descent from theta = 1/2; the optimum is -1/6.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.full_vs_truncated.kept import Kept
from benchmarks.full_vs_truncated.setting import Setting
from jaxrnn.data.influence_balancing import OPTIMUM, balancing_cell, influence_balancing
from jaxrnn.gradients import (
    GradientEstimator,
    adaptive_bptt,
    bptt,
    checkpointed_bptt,
    geometric,
    heavy_tailed,
    randomized_bptt,
    rtrl,
    truncated_bptt,
    uoro,
)
from jaxrnn.losses import squared_error

CELL = balancing_cell()


class Entry(NamedTuple):
    """A rule, and how it is fed.

    Attributes:
        make: `(cell, loss) -> estimator`.
        chunk: K, the steps between two updates.
        rate: of gradient descent, on the sum of the losses.
        reaches: what the theory says: whether the optimum is reached. None where it says nothing.
        longer: how many times as many updates it gets.
    """

    make: Callable[..., GradientEstimator]
    chunk: int
    rate: float
    reaches: bool | None
    longer: int = 1


ENTRIES = {
    "chunks of 10": Entry(bptt, 10, 1e-4, False),
    "chunks of 100": Entry(bptt, 100, 1e-4, False),
    "chunks of 120": Entry(bptt, 120, 1e-4, True),
    "truncated, k = 100": Entry(partial(truncated_bptt, horizon=100), 200, 1e-4, False),
    "truncated, k = 120": Entry(partial(truncated_bptt, horizon=120), 240, 5e-5, True),
    "sliding window of 40": Entry(partial(truncated_bptt, horizon=40), 1, 3e-3, False, longer=5),
    "sliding window of 41": Entry(partial(truncated_bptt, horizon=41), 1, 3e-3, True, longer=5),
    "checkpointed": Entry(partial(checkpointed_bptt, segment_length=14), 200, 1e-4, True),
    "geometric": Entry(partial(randomized_bptt, segment_length=20, truncation=geometric(0.1)), 200, 1e-5, True),
    "heavy-tailed": Entry(partial(randomized_bptt, segment_length=20, truncation=heavy_tailed(8.0)), 200, 1e-5, True),
    "adaptive, target 0.1": Entry(partial(adaptive_bptt, longest=200, target=0.1), 10, 1e-4, None),
    "rtrl": Entry(rtrl, 10, 1e-4, True),
    "uoro": Entry(uoro, 10, 1e-5, True, longer=5),
}


def measure(setting: Setting, kept: Kept) -> list[dict[str, Any]]:
    """Train by every rule.

    Args:
        setting: the sizes.
        kept: what is done.

    Returns:
        Rows.
    """
    return [kept(f"balancing {name}", partial(descend, name, setting)) for name in ENTRIES]


def descend(name: str, setting: Setting) -> dict[str, Any]:
    """Train by one rule, with all seeds at once.

    Args:
        name: of the entry.
        setting: for seeds, points and updates.

    Returns:
        The row, with the distance from the optimum along the way, seed by seed; None where it is not finite any more.
    """
    entry = ENTRIES[name]
    each = entry.longer * setting.balancing_updates // setting.points
    with jax.enable_x64(True):
        theta = np.asarray(_train(entry, each, setting))
    distance = np.abs(theta - OPTIMUM)
    return {
        "rule": name,
        "chunk": entry.chunk,
        "rate": entry.rate,
        "theory_reaches": entry.reaches,
        "updates": [each * (n + 1) for n in range(setting.points)],
        "distance": [[float(f"{d:.3g}") if np.isfinite(d) else None for d in one] for one in distance],
    }


def _train(entry: Entry, each: int, setting: Setting) -> Any:
    """Theta after each stretch, `[seeds, points]`."""
    rule, chunk, params = (
        entry.make(CELL, squared_error),
        influence_balancing(1, steps=entry.chunk),
        CELL.init(jax.random.key(0)),
    )

    def update(running, _):
        params, state = running
        estimate, state = rule.estimate(params, state, chunk)
        return (jax.tree.map(lambda p, g: p - entry.rate * g, params, estimate.grads), state), None

    def stretch(running, _):
        running, _ = jax.lax.scan(update, running, length=each)
        return running, running[0]["theta"]

    def train(key):
        state = rule.init(key, params, CELL.initial_carry(1), chunk)
        return jax.lax.scan(stretch, (params, state), length=setting.points)[1]

    return jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), setting.seeds))
