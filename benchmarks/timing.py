"""Timing several things fairly: in turn, after warm-up, by the median."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import jax


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Time each call once a round, one after the other, so that a slow moment of the machine hits all of them.

    Args:
        calls: name -> what to time; its result is waited for.
        rounds: how often each is timed, after one call that is not.

    Returns:
        Name -> median seconds.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}
