"""Recomputation is exact however segments are cut and nested, and takes the memory that it was allowed."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from agreement import assert_close, random_like, random_params
from jaxrnn.cells import lstm
from jaxrnn.compose import locked_dropout, stack
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, bptt, checkpointed_bptt
from jaxrnn.gradients.budget import compiled_memory, nested_lengths
from jaxrnn.losses import squared_error
from jaxrnn.stepwise import from_step

CELL, ROWS = lstm(2, 8), 3
PARAMS = random_params(0, CELL)
CARRY = random_like(1, CELL.initial_carry(ROWS))


def chunk_of(steps):
    return random_like(2, Chunk(*(np.zeros((steps, ROWS, n)) for n in (2, 8)), np.zeros((steps, ROWS))))


def estimate(estimator, chunk):
    state = estimator.init(jax.random.key(0), PARAMS, CARRY, chunk)
    return jax.jit(estimator.estimate)(PARAMS, state, chunk)


@cache
def exact_of(steps):
    """The estimate of full BPTT."""
    return estimate(bptt(CELL, squared_error), chunk_of(steps))


def temporaries(estimator, steps):
    """Bytes, from the compiler."""
    return compiled_memory(estimator, PARAMS, CARRY, jax.eval_shape(lambda: chunk_of(steps)))


@pytest.mark.parametrize("lengths", [1, 7, 10, (4, 2), (5, 3, 2), (2, 4)])
def test_every_cut_and_nesting_is_exact(lengths):
    """Lengths that divide the chunk or not, exceed it, or exceed the segment that they lie in."""
    found = estimate(checkpointed_bptt(CELL, squared_error, segment_length=lengths), chunk_of(7))
    assert_close(found, exact_of(7))


@pytest.mark.parametrize(("steps", "length"), [(1, 1), (1, 5), (2, 1), (64, 8), (64, 7)])
def test_chunks_of_every_length_are_exact(steps, length):
    found = estimate(checkpointed_bptt(CELL, squared_error, segment_length=length), chunk_of(steps))
    assert_close(found, exact_of(steps))


STEPS = 2**12


@pytest.fixture(scope="module")
def least():
    """A budget that works, as said by the refusal of one that is too small."""
    with pytest.raises(InputError, match=r"too little for a chunk of 4096 steps and 3 rows") as refusal:
        temporaries(checkpointed_bptt(CELL, squared_error, memory=1000), STEPS)
    return int(str(refusal.value).split()[-3])


@pytest.fixture(scope="module")
def everything():
    """What full BPTT takes, which keeps all that it makes."""
    return temporaries(bptt(CELL, squared_error), STEPS)


def test_the_budget_that_is_said_to_work_works(least):
    assert temporaries(checkpointed_bptt(CELL, squared_error, memory=least), STEPS) <= least


@pytest.mark.parametrize("share", [1 / 50, 1 / 20, 1])
def test_the_compiled_gradient_fits_the_budget(least, everything, share):
    """From a fiftieth of what keeping everything takes, to all of it; the more is allowed, the more is used."""
    budget = round(everything * share)
    assert least < budget
    used = temporaries(checkpointed_bptt(CELL, squared_error, memory=budget), STEPS)
    assert budget / 4 < used <= budget
    assert (used == everything) == (share == 1)  # nothing is recomputed where nothing need be


def tight(cell, carry, chunk):
    """An estimator with half of the memory that full BPTT takes: something has to be computed again."""
    everything = compiled_memory(bptt(cell, squared_error), jax.eval_shape(cell.init, jax.random.key(0)), carry, chunk)
    return checkpointed_bptt(cell, squared_error, memory=everything // 2)


def test_a_budget_changes_no_number():
    chunk = chunk_of(64)
    assert_close(estimate(tight(CELL, CARRY, chunk), chunk), exact_of(64))


def test_a_budget_is_refused_only_where_no_plan_fits_it():
    """Segments that do not divide the chunk take more than the plan expects; of those that do, some still fit."""
    budget = temporaries(checkpointed_bptt(CELL, squared_error, segment_length=(64, 4)), 1024)
    assert temporaries(checkpointed_bptt(CELL, squared_error, memory=budget), 1024) <= budget


def test_within_a_budget_noise_is_renewed_as_in_full_bptt():
    cell, chunk = stack(locked_dropout(0.5), lstm(2, 8)), chunk_of(64)
    params, carry = random_params(0, cell), random_like(1, cell.initial_carry(ROWS, jax.random.key(2)))

    def twice(rule):
        step = jax.jit(rule.estimate)
        first, state = step(params, rule.init(None, params, carry, chunk), chunk)
        return first, step(params, state, chunk)

    exact = twice(bptt(cell, squared_error))
    assert_close(twice(tight(cell, carry, chunk)), exact)
    assert exact[0].loss != exact[1][0].loss


def test_memory_grows_no_faster_than_the_square_root():
    by_root = [temporaries(checkpointed_bptt(CELL, squared_error, segment_length=n), n * n) for n in (2**5, 2**7)]
    assert by_root[1] <= 4 * by_root[0]


def test_levels_are_balanced():
    assert nested_lengths(10**6, 100, 2) == (10_000, 100)
    assert nested_lengths(216**3, 216, 2) == (216**2, 216)
    assert nested_lengths(7, 7, 3) == (7, 7, 7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "a segment_length or a memory budget"),
        ({"segment_length": 3, "memory": "1MiB"}, "and not both"),
        ({"segment_length": 0}, "segment_length is 0"),
        ({"segment_length": (4, 0)}, r"segment_length is \(4, 0\)"),
        ({"memory": "64 XB"}, "memory is '64 XB'.*MiB"),
        ({"memory": "lots"}, "memory is 'lots'"),
        ({"memory": 0}, "memory is 0"),
        ({"memory": -5}, "memory is -5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        checkpointed_bptt(CELL, squared_error, **settings)


def test_a_compiler_that_does_not_say_is_named(monkeypatch):
    monkeypatch.setattr(jax.stages.Compiled, "memory_analysis", lambda self: None)
    with pytest.raises(InputError, match="does not report its memory; give a segment_length"):
        temporaries(bptt(CELL, squared_error), 4)


def evaluations(jaxpr, name, times=1):
    """How often a primitive is run by a program, those within loops included."""
    own = times * sum(equation.primitive.name == name for equation in jaxpr.eqns)
    inner = (
        evaluations(part, name, times * equation.params.get("length", 1))
        for equation in jaxpr.eqns
        for part in jaxprs_in_params(equation.params)
    )
    return own + sum(inner)


@pytest.mark.parametrize(("lengths", "times"), [((16,), 2), ((4,), 2), ((8, 2), 3), ((8, 4, 2), 4)])
def test_each_level_runs_the_steps_once_more(lengths, times):
    """Forward once, and once again for each level of segments."""
    cell = from_step(
        lambda key: jnp.ones(()),
        lambda batch_shape, key=None: jnp.zeros((*batch_shape, 2)),
        lambda params, h, x: (jnp.tanh(params * h + x),) * 2,
    )
    chunk = Chunk(np.ones((16, 1, 2)), np.ones((16, 1, 2)), np.ones((16, 1)))
    estimator = checkpointed_bptt(cell, squared_error, segment_length=lengths)
    state = estimator.init(None, jnp.ones(()), cell.initial_carry(1), chunk)
    program = jax.make_jaxpr(estimator.estimate)(jnp.ones(()), state, chunk)
    assert evaluations(program.jaxpr, "tanh") == times * 16
