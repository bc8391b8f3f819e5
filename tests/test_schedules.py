"""Schedules against their formulas, the plateau rule against a list of scores."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.errors import InputError
from jaxrnn.schedules import SCHEDULES, Plateau, observe, schedule, stalled

RATE, STEPS, WARMUP, FINAL, EVERY, DECAY = 0.3, 20, 4, 0.1, 5, 0.5


def expected_rate(name, t):
    """The table in the docstring of `schedule`, in plain Python."""
    if t < WARMUP:
        return RATE * (t + 1) / (WARMUP + 1)
    u = t - WARMUP
    part = min(u / (STEPS - WARMUP), 1)
    return {
        "constant": RATE,
        "plateau": RATE,
        "linear": RATE * (1 - (1 - FINAL) * part),
        "cosine": RATE * (FINAL + (1 - FINAL) * (1 + math.cos(math.pi * part)) / 2),
        "exponential": RATE * DECAY ** (u / EVERY),
        "step": RATE * DECAY ** math.floor(u / EVERY),
    }[name]


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_equals_its_formula_under_jit(name):
    rate = schedule(name, RATE, steps=STEPS, warmup=WARMUP, final=FINAL, every=EVERY, decay=DECAY)
    steps = np.arange(STEPS + 10, dtype=np.int32)
    got = jax.jit(jax.vmap(lambda t: jnp.asarray(rate(t), float)))(steps)
    np.testing.assert_allclose(got, [expected_rate(name, int(t)) for t in steps], rtol=1e-12)


@pytest.mark.parametrize("every", [41, 1328])
def test_a_step_comes_when_it_is_due_in_float32_too(every):
    """Compiled, 1328 / 1328 was below 1."""
    counts = np.arange(4 * every, dtype=np.int32)
    with jax.enable_x64(False):
        rate = schedule("step", 1.0, every=every, decay=0.5)
        got = jax.jit(jax.vmap(lambda t: jnp.asarray(rate(t), float)))(counts)
    np.testing.assert_array_equal(got, 0.5 ** (counts // every))


def test_no_update_is_made_at_rate_zero_in_the_warm_up():
    rate = schedule("constant", 1.0, warmup=3)
    assert [float(rate(t)) for t in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    "key, value",
    [("rate", 0.0), ("rate", math.nan), ("rate", math.inf), ("steps", 0), ("warmup", -1), ("final", 1.5), ("every", 0)]
    + [
        ("decay", 0.0),
        ("decay", 1.5),
        ("final", math.nan),
        ("rate", "1"),
        ("steps", 2.5),
        ("warmup", 0.5),
        ("every", "2"),
    ],
)
def test_a_value_out_of_range_is_named(key, value):
    with pytest.raises(InputError, match=f"schedule: {key} is"):
        schedule("step", **{"rate": 1.0, key: value})


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_one_that_falls_to_the_end_must_know_where_that_is(name):
    with pytest.raises(InputError, match="schedule: steps is None"):
        schedule(name, 1.0)


def test_an_unknown_schedule_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        schedule("cosin", 1.0)


def test_plateau_falls_at_every_run_of_patience_and_starts_anew_at_a_best():
    scores = [3.0, 2.0, 2.5, 2.0, math.nan, 2.1, 1.9, 1.9]
    plateau, seen = Plateau(), []
    for score in scores:
        plateau = observe(plateau, score)
        seen.append((plateau.best, plateau.stale, stalled(plateau, patience=2)))
    assert seen == [
        (3.0, 0, False),
        (2.0, 0, False),
        (2.0, 1, False),
        (2.0, 2, True),  # a score as good as the best is no improvement
        (2.0, 3, False),
        (2.0, 4, True),  # nor is NaN
        (1.9, 0, False),
        (1.9, 1, False),
    ]


def test_a_first_score_that_is_nan_is_stale():
    assert observe(Plateau(), math.nan) == Plateau(math.inf, 1)


@pytest.mark.parametrize("patience", [0, 2.5])
def test_a_patience_of_no_validations_is_refused(patience):
    with pytest.raises(InputError, match=f"stalled: patience is {patience}; it must be a whole number"):
        stalled(Plateau(2.0, 1), patience)
