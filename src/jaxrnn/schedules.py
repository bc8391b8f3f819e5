"""The course of the learning rate over a run: by the number of updates alone, or lowered when validation stalls."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrnn.choices import is_number, is_whole, look_up, require
from jaxrnn.types import Array

Schedule = Callable[[Any], Any]


def _over(course: Schedule, steps: Array) -> Schedule:
    """A course of one update, stretched over so many."""
    return lambda step: course(step / steps)


def _staircase(rate: float, every: int, decay: float) -> Schedule:
    """A decay at every so many updates: at the half between two counts, for a compiled `1328 / 1328` may be below 1."""
    return lambda step: rate * decay ** jnp.floor((step + 0.5) / every)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": lambda rate, **_: optax.constant_schedule(rate),
    "linear": lambda rate, steps, final, **_: _over(optax.linear_schedule(rate, final * rate, 1), steps),
    "cosine": lambda rate, steps, final, **_: _over(optax.cosine_decay_schedule(rate, 1, alpha=final), steps),
    "exponential": lambda rate, every, decay, **_: optax.exponential_decay(rate, every, decay),
    "step": lambda rate, every, decay, **_: _staircase(rate, every, decay),
    "plateau": lambda rate, **_: optax.constant_schedule(rate),  # lowered from outside: see `Plateau`
}


def schedule(
    name: str,
    rate: float,
    *,
    steps: int | Array | None = None,
    warmup: int = 0,
    final: float = 0.0,
    every: int = 1000,
    decay: float = 0.5,
) -> Schedule:
    """Make a schedule of the learning rate by its name, with a linear warm-up before it where asked for.

    With `t` the number of updates so far, `u = t - warmup` and `n = steps - warmup`::

        t < warmup    rate * (t + 1) / (warmup + 1)          # so that no update is made at rate 0
        constant      rate
        linear        rate * (1 - (1 - final) * min(u / n, 1))
        cosine        rate * (final + (1 - final) * (1 + cos(pi * min(u / n, 1))) / 2)
        exponential   rate * decay ** (u / every)
        step          rate * decay ** floor(u / every)
        plateau       rate, which the host lowers when validation stalls (see `Plateau`)

    Args:
        name: one of `SCHEDULES`.
        rate: the rate after the warm-up.
        steps: updates in all, the warm-up among them (linear, cosine, which need it); an array where it is known to a
            compiled function only.
        warmup: updates of the warm-up.
        final: fraction of the rate left at the end (linear, cosine).
        every: updates between two decays (exponential, step).
        decay: factor of each decay (exponential, step).

    Returns:
        `(step []) -> []`, the rate of the update that follows `step` earlier ones.

    Raises:
        InputError: for a name that does not exist, or a value out of range.

    References:
        I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5
        (cosine, here without restarts).

    Example:
        >>> half_wave = schedule("cosine", 0.1, steps=10)
        >>> [round(float(half_wave(t)), 4) for t in (0, 5, 10, 20)]
        [0.1, 0.05, 0.0, 0.0]
    """
    factory = look_up("schedule", name, SCHEDULES)
    require(is_number(rate) and 0 < rate < math.inf, "schedule: rate", rate, "more than 0")
    known = isinstance(steps, jax.Array) or is_whole(steps) or (steps is None and name not in ("linear", "cosine"))
    require(known, "schedule: steps", steps, "a whole number, at least 1")
    require(is_whole(warmup, 0), "schedule: warmup", warmup, "a whole number, 0 or more")
    require(is_number(final) and 0 <= final <= 1, "schedule: final", final, "a fraction from 0 to 1")
    require(is_whole(every), "schedule: every", every, "a whole number, at least 1")
    require(is_number(decay) and 0 < decay <= 1, "schedule: decay", decay, "more than 0 and at most 1")
    left = jnp.maximum(jnp.asarray(1 if steps is None else steps, float) - warmup, 1.0)
    after = factory(rate, steps=left, final=final, every=every, decay=decay)
    before = optax.linear_schedule(rate / (warmup + 1), rate, warmup)
    joined = optax.join_schedules([before, after], [warmup]) if warmup > 0 else after
    # Optax mixes the count with floats, which strict promotion refuses where it is an integer.
    return lambda step: joined(jnp.asarray(step, float))


class Plateau(NamedTuple):
    """What the host remembers of the validation scores: enough to divide the rate, and to stop early.

    Attributes:
        best: the lowest score so far.
        stale: scores since then.
    """

    best: float = math.inf
    stale: int = 0


def observe(plateau: Plateau, score: float) -> Plateau:
    """Take note of one more validation score; lower is better, and NaN is no improvement.

    The loop that divides the rate by four on a plateau, and stops on a longer one::

        plateau = observe(plateau, score)
        if stalled(plateau, patience):
            state = scale_rate(state, 1 / 4)          # the moments of the optimizer stay as they are
        if plateau.stale >= stop_after:
            break

    Args:
        plateau: what is remembered so far.
        score: any number to be lowered, such as nats per symbol.

    Returns:
        What to remember.

    Example:
        >>> observe(observe(Plateau(), 2.0), 2.5)
        Plateau(best=2.0, stale=1)
    """
    return Plateau(score, 0) if score < plateau.best else Plateau(plateau.best, plateau.stale + 1)


def stalled(plateau: Plateau, patience: int) -> bool:
    """Tell whether the rate should fall now: true at every `patience` scores in a row without a new best.

    Args:
        plateau: what is remembered of the scores.
        patience: at least 1.

    Returns:
        Whether the last score completed such a run.

    Raises:
        InputError: for a patience that is no whole number of at least 1.

    Example:
        >>> [stalled(Plateau(2.0, stale), patience=2) for stale in range(5)]
        [False, False, True, False, True]
    """
    require(is_whole(patience), "stalled: patience", patience, "a whole number of validations, at least 1")
    return plateau.stale > 0 and plateau.stale % patience == 0
