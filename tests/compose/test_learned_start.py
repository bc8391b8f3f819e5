"""A learned start: its gradient is that of a state put in by hand wherever a row starts, and exactly 0 elsewhere."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import all_gradients, assert_close, random_params, scanned
from jaxrnn.cells import gru, lstm
from jaxrnn.compose import documents, dropout, learned_start, stack, temporal_penalty, zoneout
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, bptt, rtrl
from jaxrnn.losses import squared_error
from jaxrnn.shapes import choose
from jaxrnn.stepwise import from_step
from jaxrnn.types import Marked

STEPS, ROWS, INPUT, HIDDEN = 6, 4, 3, 5
RNG = np.random.default_rng(0)
XS, TARGETS = RNG.normal(size=(STEPS, ROWS, INPUT)), RNG.normal(size=(STEPS, ROWS, HIDDEN))
RESET, KEEP = RNG.random((STEPS, ROWS)) < 0.3, np.arange(STEPS)[:, None] < np.array([STEPS, 3, 0, 1])
CORE = lstm(INPUT, HIDDEN)
CELL = learned_start(CORE)
PARAMS, FRESH = random_params(1, CELL), CELL.initial_carry(ROWS)


def test_its_gradient_is_that_of_a_state_put_in_by_hand():
    """At the first step, after resets, and in rows that end early, one of which has no step at all."""

    def by_unroll(params, reset, keep):
        return jnp.sum(TARGETS * CELL.unroll(params, FRESH, Marked(XS, reset, keep))[1])

    def by_hand(params, reset, keep):
        start = jax.tree.map(lambda state: jnp.stack([state] * ROWS), params["start"])

        def body(states, now):
            x, reset, keep = now
            states = jax.tree.map(partial(choose, reset), start, states)
            new, y = CORE.step(params["cell"], states, x)
            return jax.tree.map(partial(choose, keep), new, states), choose(keep, y, jnp.zeros_like(y))

        return jnp.sum(TARGETS * jax.lax.scan(body, start, (XS, reset, keep))[1])

    found, expected = (jax.jit(jax.value_and_grad(function)) for function in (by_unroll, by_hand))
    for marks in itertools.product((np.zeros_like(RESET), RESET), (np.ones_like(KEEP), KEEP)):
        assert_close(found(PARAMS, *marks), expected(PARAMS, *marks))


def test_what_has_no_step_has_not_started():
    (first, _), _ = CELL.unroll(PARAMS, FRESH, Marked(XS, keep=KEEP))
    assert first.ravel().tolist() == [0, 0, 1, 0]
    assert_close(CELL.unroll(PARAMS, FRESH, XS[:0])[0], FRESH, tolerance=0)


def test_of_two_chunks_the_first_gives_it_credit_and_the_second_only_by_a_rule_that_reaches_back_so_far():
    whole = Chunk(XS, TARGETS, np.ones((STEPS, ROWS)))
    halves = [jax.tree.map(lambda leaf, at=at: leaf[at], whole) for at in (slice(3), slice(3, None))]

    def credit(rule, *chunks):
        estimator, found = rule(CELL, squared_error), []
        state = estimator.init(None, PARAMS, FRESH, chunks[0])
        for chunk in chunks:
            estimate, state = jax.jit(estimator.estimate)(PARAMS, state, chunk)
            found.append(estimate.grads["start"])
        return found

    first, second = credit(bptt, *halves)
    assert all(np.all(g != 0) for g in first) and not any(np.any(g) for g in second)
    assert_close(jax.tree.map(jnp.add, *credit(rtrl, *halves)), *credit(bptt, whole))


def test_with_noise_and_marks_unroll_is_the_scan_of_step():
    cell = learned_start(zoneout(gru(INPUT, HIDDEN), 0.5))

    @jax.jit
    def both(*arguments):
        return tuple(all_gradients(run, 2, *arguments) for run in (cell.unroll, scanned(cell)))

    carry = cell.initial_carry(ROWS, jax.random.key(0))
    unrolled, defined = both(random_params(1, cell), carry, Marked(XS, RESET, KEEP))
    assert_close(unrolled, defined)
    _, (d_params, *_) = unrolled
    assert np.all(d_params["start"][1] != 0)


def test_a_document_starts_from_it_whether_the_mark_is_made_within_or_around():
    def positive(xs):
        return xs[..., 0] > 0

    expected = CELL.unroll(PARAMS, FRESH, Marked(XS, positive(XS)))
    for cell in (learned_start(documents(CORE, positive)), documents(CELL, positive)):
        assert_close(cell.unroll(PARAMS, FRESH, XS), expected)


def test_in_bfloat16_the_credit_of_many_rows_is_added_up_in_float32():
    """Each of 300 adds 1; in bfloat16 256 + 1 is 256."""

    def initial_carry(batch_shape, key=None):
        return jnp.zeros((*batch_shape, 1), jnp.bfloat16)

    cell = learned_start(from_step(lambda key: {}, initial_carry, lambda params, h, x: (h + x,) * 2))
    params, carry, xs = cell.init(jax.random.key(0)), cell.initial_carry(300), jnp.zeros((1, 300, 1), jnp.bfloat16)
    assert {leaf.dtype for leaf in (params["start"], *carry)} == {jnp.dtype(jnp.bfloat16)}
    grads = jax.grad(lambda params: jnp.sum(cell.unroll(params, carry, xs)[1], dtype=jnp.float32))(params)
    assert float(grads["start"][0]) == 300


def test_what_has_no_state_or_more_with_noise_or_no_start_is_refused():
    with pytest.raises(InputError, match="learned_start: the number of the cell's states is 0"):
        learned_start(dropout(0.5))
    with pytest.raises(InputError, match="the cell's states with noise is 2; .*each layer by itself"):
        learned_start(stack(gru(INPUT, HIDDEN), temporal_penalty(HIDDEN, 0.1)))
    with pytest.raises(InputError, match=r"learned_start: the form of params\['start'\] is \[\]; it must be"):
        CELL.unroll(PARAMS["cell"], FRESH, XS)
