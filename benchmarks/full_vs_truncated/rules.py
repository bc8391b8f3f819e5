"""The ways of going back through time that are measured, each by its name."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax

from jaxrnn.cell import Cell
from jaxrnn.errors import InputError
from jaxrnn.gradients import (
    Chunk,
    GradientEstimator,
    accumulate,
    adaptive_bptt,
    bptt,
    checkpointed_bptt,
    geometric,
    heavy_tailed,
    randomized_bptt,
    rtrl,
    snap1,
    truncated_bptt,
    uoro,
)
from jaxrnn.gradients.budget import compiled_memory
from jaxrnn.types import Carry, Params


class Case(NamedTuple):
    """What a rule is made for.

    Attributes:
        cell: the cell.
        loss: the loss.
        params: its parameters; they, the carry and the chunk give shapes only.
        carry: its carry.
        chunk: `[T, B, ...]`.
        horizon: k.
    """

    cell: Cell
    loss: Callable[[Any, Any], Any]
    params: Params
    carry: Carry
    chunk: Chunk
    horizon: int


class Rule(NamedTuple):
    """One way of going back through time.

    Attributes:
        make: from the case to the estimator.
        has_horizon: whether k has a say.
        is_random: whether it draws.
        fewer_updates: by what the number of updates is divided where many are made.
        may_refuse: whether there are cases that cannot be.
    """

    make: Callable[[Case], GradientEstimator]
    has_horizon: bool = True
    is_random: bool = False
    fewer_updates: int = 1
    may_refuse: bool = False


def piece_length(horizon: int) -> int:
    """The new steps (k1) that come at a time where credit goes back beyond them (k2): half of it.

    Args:
        horizon: k2.

    Returns:
        k1.
    """
    return horizon // 2


def variants(names: Sequence[str], horizons: Sequence[int], steps: int) -> list[tuple[str, int]]:
    """All pairs of a rule and a horizon that are to be measured at a length.

    Args:
        names: of rules.
        horizons: k; those that are not shorter than T are left out.
        steps: T.

    Returns:
        Pairs; the horizon is 0 for rules that have none.
    """
    shorter = [k for k in horizons if k < steps]
    return [(name, k) for name in names for k in (shorter if RULES[name].has_horizon else [0])]


def possible(pairs: Sequence[tuple[str, int]], case: Case) -> list[tuple[str, int]]:
    """Leave out what cannot be: a long chunk in the memory that truncation takes at a very short horizon.

    Args:
        pairs: of a rule and a horizon.
        case: the case, but for its horizon.

    Returns:
        The pairs whose rule does not refuse the case.
    """

    def refused(name: str, horizon: int) -> bool:
        if not RULES[name].may_refuse:
            return False
        rule = RULES[name].make(case._replace(horizon=horizon))
        state = rule.init(jax.random.key(0), case.params, case.carry, case.chunk)
        try:
            jax.eval_shape(rule.estimate, case.params, state, case.chunk)
        except InputError as error:
            print(f"left out: {name} at k = {horizon}: {error}", flush=True)
            return True
        return False

    return [pair for pair in pairs if not refused(*pair)]


def _within_chunk(case: Case, length: int) -> int:
    """A length, or that of the chunk if it is shorter."""
    return min(length, case.chunk.weight.shape[0])


def _truncated(case):
    """Pieces of k steps, `k2 < k1 = T`."""
    return truncated_bptt(case.cell, case.loss, horizon=_within_chunk(case, case.horizon))


def _in_segments(case):
    """Segments of k steps."""
    return checkpointed_bptt(case.cell, case.loss, segment_length=_within_chunk(case, case.horizon))


def _in_the_memory_of_truncation(case):
    """What truncation takes for its temporaries at the same horizon."""
    budget = compiled_memory(_truncated(case), case.params, case.carry, case.chunk)
    return checkpointed_bptt(case.cell, case.loss, memory=budget)


def _replaying(case):
    """Pieces of k/2 steps, each loss reaching back over k/2 to k: `k1 < k2`."""
    return accumulate(truncated_bptt(case.cell, case.loss, horizon=case.horizon), piece_length(case.horizon))


def _adaptive(case):
    """Pieces of k/2 steps, and a horizon of 4 k at most."""
    piece = piece_length(case.horizon)
    longest = max(2, min(8, case.chunk.weight.shape[0] // piece)) * piece
    return accumulate(adaptive_bptt(case.cell, case.loss, longest=longest, target=0.5), piece)


def _at_random(truncation, case):
    """Credit is cut after k steps in the mean: every second time at boundaries that lie k/2 apart."""
    length = _within_chunk(case, piece_length(case.horizon))
    return randomized_bptt(case.cell, case.loss, segment_length=length, truncation=truncation)


RULES = {
    "bptt": Rule(lambda case: bptt(case.cell, case.loss), has_horizon=False),
    "checkpointed, segments": Rule(_in_segments),
    "checkpointed, budget": Rule(_in_the_memory_of_truncation, may_refuse=True),
    "truncated": Rule(_truncated),
    "replaying": Rule(_replaying),
    "geometric": Rule(partial(_at_random, geometric(0.5)), is_random=True),
    "heavy-tailed": Rule(partial(_at_random, heavy_tailed(2.0)), is_random=True),
    "adaptive": Rule(_adaptive, fewer_updates=4),
    "snap1": Rule(lambda case: snap1(case.cell, case.loss), has_horizon=False),
    "uoro": Rule(lambda case: uoro(case.cell, case.loss), has_horizon=False, is_random=True),
    "rtrl": Rule(lambda case: rtrl(case.cell, case.loss), has_horizon=False),
}
