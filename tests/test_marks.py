"""Sequence boundaries and padding: what is marked changes exactly what it says, and no gradient leaks through."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import all_gradients, assert_close, random_like, random_params
from jaxrnn.cells import elman, elman_step, gru, lstm
from jaxrnn.compose import activation_penalty, dropout, language_model, stack, zoneout
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.marks import within_lengths
from jaxrnn.shapes import choose
from jaxrnn.stepwise import from_step
from jaxrnn.types import Marked

STEPS, ROWS, INPUT, HIDDEN = 7, 4, 3, 5
ELMAN = elman(INPUT, HIDDEN)
CELLS = {
    "elman": (ELMAN, reference.elman()),
    "lstm": (lstm(INPUT, HIDDEN), reference.lstm()),
    "gru_reset_after": (gru(INPUT, HIDDEN), reference.gru_reset_after()),
    "gru_reset_before": (gru(INPUT, HIDDEN, reset_after=False), reference.gru_reset_before()),
    "from_step": (
        from_step(elman(INPUT, HIDDEN).init, elman(INPUT, HIDDEN).initial_carry, elman_step),
        reference.elman(),
    ),
}
# Marks wrap any recurrence: one of two states, one of several products, and one that shows neither.
OF_EACH_KIND = ["lstm", "gru_reset_before", "from_step"]
RNG = np.random.default_rng(0)
XS = RNG.normal(size=(STEPS, ROWS, INPUT))
RESET = RNG.random((STEPS, ROWS)) < 0.3
KEEP = RNG.random((STEPS, ROWS)) < 0.6
LENGTHS = np.array([STEPS, 3, 0, 1])


def row_by_row(cell, params, carry, xs, reset, keep, d_carry, d_ys):
    """The meaning of marks, each row a Python loop of its own over the steps that are kept, reset where it is due.

    The last carry, the outputs, and all cotangents, those of documents before a reset ending there.
    """
    last, ys = [state.copy() for state in carry], np.zeros((*xs.shape[:2], HIDDEN))
    d_first, d_xs = [np.zeros_like(state) for state in carry], np.zeros_like(xs)
    d_params = {name: np.zeros_like(p) for name, p in params.items()}
    for row in range(xs.shape[1]):
        state, documents = tuple(s[row : row + 1] for s in carry), [[]]
        for t in range(xs.shape[0]):
            if reset[t, row]:
                state = tuple(np.zeros_like(s) for s in state)
                documents.append([])
            if keep[t, row]:
                state, values = cell.forward(params, state, xs[t, row : row + 1])
                documents[-1].append((t, values))
                ys[t, row] = state[0][0]
        for s, new in zip(last, state, strict=True):
            s[row] = new[0]
        back = tuple(d[row : row + 1] for d in d_carry)
        for document in reversed(documents):
            times, tape = [t for t, _ in document], [values for _, values in document]
            here, back, d_x = reference.bptt(cell, params, tape, back, [d_ys[t, row : row + 1] for t in times])
            d_params = {name: d_params[name] + here[name] for name in params}
            for t, d in zip(times, d_x, strict=True):
                d_xs[t, row] = d[0]
            if document is documents[0]:
                for d_state, d in zip(d_first, back, strict=True):
                    d_state[row] = d[0]
            back = tuple(np.zeros_like(d) for d in back)
    return (tuple(last), ys), (d_params, tuple(d_first), d_xs)


@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_resets_and_padding_are_a_loop_for_each_row(name):
    cell, by_hand = CELLS[name]
    params = random_params(1, cell)
    carry = random_like(2, (np.zeros((ROWS, HIDDEN)),) * by_hand.states)

    def unroll(params, carry, xs):
        carry, ys = cell.unroll(params, carry if by_hand.states > 1 else carry[0], Marked(xs, RESET, KEEP))
        return carry if by_hand.states > 1 else (carry,), ys

    results, cotangents = jax.jit(lambda *arguments: all_gradients(unroll, 3, *arguments))(params, carry, XS)
    expected = row_by_row(by_hand, params, carry, XS, RESET, KEEP, *random_like(3, results))
    assert_close((results, cotangents), expected)


@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_without_marks_nothing_changes(name):
    """To the bit: a `Marked` of nothing, one of marks that mark nothing, and the plain input."""
    cell, _ = CELLS[name]
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(ROWS))
    never, always = np.zeros((STEPS, ROWS), bool), np.ones((STEPS, ROWS), bool)

    def of_inputs(mark):
        return all_gradients(lambda params, carry, x: cell.unroll(params, carry, mark(x)), 3, params, carry, XS)

    plain, empty, idle = jax.jit(
        lambda: tuple(of_inputs(mark) for mark in (lambda x: x, Marked, lambda x: Marked(x, never, always)))
    )()
    assert_close(empty, plain, tolerance=0)
    assert_close(idle, plain, tolerance=1e-15)  # another program, so XLA may round another way


DEEP = stack(lstm(INPUT, HIDDEN), gru(HIDDEN, HIDDEN))
WITHIN = np.arange(STEPS)[:, None] < LENGTHS


@cache
def up_to_their_lengths():
    """All gradients of the deep network for inputs `[T, B, I]`, compiled once: what fills them up is data."""
    params, carry = random_params(1, DEEP), random_like(2, DEEP.initial_carry(ROWS))

    def unroll(params, carry, x):
        return DEEP.unroll(params, carry, Marked(x, keep=WITHIN))

    return jax.jit(lambda x: all_gradients(unroll, 3, params, carry, x))


@pytest.mark.parametrize("filler", [0.0, 1e300, np.inf, np.nan])
def test_what_stands_in_padding_does_not_matter(filler):
    """Outputs, last carries and all gradients are those of rows cut to their length, whatever fills the rest."""
    filled, clean = (up_to_their_lengths()(np.where(WITHIN[..., None], XS, number)) for number in (filler, 0.5))
    assert_close(filled, clean, tolerance=0)
    (_, ys), (_, _, d_xs) = filled
    assert not np.any(ys[~WITHIN]) and not np.any(d_xs[~WITHIN])


def test_rows_stop_at_their_length():
    """Each row's last carry is that of the row alone; a row of length zero returns its initial carry to the bit."""
    params, carry = random_params(1, DEEP), random_like(2, DEEP.initial_carry(ROWS))
    last, ys = DEEP.unroll(params, carry, Marked(XS, keep=within_lengths(LENGTHS, STEPS)))
    for row, length in enumerate(LENGTHS):
        one = jax.tree.map(lambda a, row=row: a[row : row + 1], carry)
        if length:
            one, outputs = DEEP.unroll(params, one, XS[:length, row : row + 1])
            assert_close(ys[:length, row : row + 1], outputs)
        assert_close(jax.tree.map(lambda a, row=row: a[row : row + 1], last), one, tolerance=0 if not length else 1e-12)


@cache
def estimate_of_ids():
    """The estimate of a model for ids and targets `[T, B]`, compiled once."""
    model = language_model(lstm(INPUT, HIDDEN), 7)
    params, estimator = random_params(1, model), bptt(model, softmax_cross_entropy)
    state = estimator.init(None, params, model.initial_carry(ROWS), None)

    def estimate(ids, targets):
        return estimator.estimate(params, state, Chunk(Marked(ids, keep=WITHIN), targets, WITHIN))

    return jax.jit(estimate)


@pytest.mark.parametrize("bad", [-1, 7, 10**6])
def test_padding_may_hold_ids_that_do_not_exist(bad):
    estimate = estimate_of_ids()
    ids, targets = np.random.default_rng(4).integers(0, 7, (2, STEPS, ROWS))
    filled = estimate(np.where(WITHIN, ids, bad), np.where(WITHIN, targets, bad))
    assert_close(filled, estimate(ids, targets), tolerance=0)
    assert float(filled[0].weight) == LENGTHS.sum()


# Credit across a reset.

EXPLODING = elman(INPUT, HIDDEN, activation=lambda a: a)  # linear, so that nothing saturates


def two_documents(length):
    """Two documents of that length in one row, the second marked by a reset; states double and more at each step."""
    rng = np.random.default_rng(5)
    params = random_params(1, EXPLODING) | {"w_hh": 100 * rng.normal(size=(HIDDEN, HIDDEN))}
    reset = np.zeros((2 * length, 1), bool)
    reset[length] = True
    return params, 1e-300 * rng.normal(size=(2 * length, 1, INPUT)), reset


def loss_of_the_end(params, xs, unroll):
    """A loss of the last output alone, so steep that its cotangents overflow on the way back through document 2."""
    return 1e150 * jnp.sum(unroll(params, EXPLODING.initial_carry(1), xs)[1][-1])


def test_no_gradient_crosses_a_reset_even_where_it_explodes():
    length = 100
    params, xs, reset = two_documents(length)
    d_xs = jax.jit(
        jax.grad(lambda xs: loss_of_the_end(params, xs, lambda p, c, x: EXPLODING.unroll(p, c, Marked(x, reset))))
    )(xs)
    assert not np.all(np.isfinite(d_xs[length:])), "the case is one of overflow"
    assert np.all(np.asarray(d_xs[:length]) == 0)


def test_a_mask_that_multiplies_would_let_it_cross():
    """The same network with `(1 - reset) * h`: what the library must not do; the test above would see it."""
    length = 100
    params, xs, reset = two_documents(length)

    def unroll(params, carry, xs):
        def step(h, now):
            x, new = now
            h, y = EXPLODING.step(params, (1.0 - new[:, None].astype(float)) * h, x)
            return h, y

        return jax.lax.scan(step, carry, (xs, reset))

    d_xs = jax.jit(jax.grad(lambda xs: loss_of_the_end(params, xs, unroll)))(xs)
    assert np.any(np.isnan(d_xs[:length]))


def test_a_reset_acts_before_its_own_step():
    """The step that is marked is the first of the new sequence: its output depends on its own input alone."""
    cell, _ = CELLS["lstm"]
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(1))
    reset = np.array([False, False, True, False])[:, None]
    _, ys = cell.unroll(params, carry, Marked(XS[:4, :1], reset))
    fresh = cell.unroll(params, cell.initial_carry(1), XS[2:4, :1])[1]
    before = cell.unroll(params, carry, XS[:2, :1])[1]
    assert_close(ys, np.concatenate([before, fresh]))


def test_noise_does_not_depend_on_marks():
    """The masks of a marked row are those of the plain one; a reset restarts states, not the noise."""
    noise = dropout(0.5)
    carry, ones = noise.initial_carry(ROWS, jax.random.key(6)), np.ones((STEPS, ROWS, HIDDEN))
    (last, plain), (marked_last, marked) = (noise.unroll({}, carry, xs) for xs in (ones, Marked(ones, RESET, KEEP)))
    assert_close(marked, choose(KEEP, plain, jnp.zeros_like(plain)), tolerance=0)
    assert_close(marked_last, last)


def test_a_carry_that_only_has_noise_in_training_takes_marks():
    """Its tree is then another one than that of the fresh carry, which is made without a key."""

    def initial_carry(batch_shape, key=None):
        noise = {} if key is None else {"key": jax.random.split(key, batch_shape)}
        return {"h": jnp.full((*batch_shape, HIDDEN), 0.5), **noise}

    def step(params, carry, x):
        h = jnp.tanh(carry["h"] + x)
        return carry | {"h": h}, h

    cell = from_step(lambda key: {}, initial_carry, step)
    xs = np.random.default_rng(0).normal(size=(STEPS, ROWS, HIDDEN))
    without, noisy = (
        cell.unroll({}, cell.initial_carry(ROWS, key), Marked(xs, RESET, KEEP)) for key in (None, jax.random.key(0))
    )
    assert_close((noisy[0]["h"], noisy[1]), (without[0]["h"], without[1]), tolerance=0)
    penalized = zoneout(stack(gru(HIDDEN, HIDDEN), activation_penalty(2.0)), 0.5)
    carry = penalized.initial_carry(ROWS, jax.random.key(0))
    _, ys = penalized.unroll(random_params(0, penalized), carry, Marked(xs, RESET, KEEP))
    assert not np.any(np.asarray(ys.y)[~KEEP])


def test_a_carry_of_other_precision_than_the_cell_is_made_for_is_reset():
    cell = gru(HIDDEN, HIDDEN)
    params, carry, xs = jax.tree.map(
        jnp.bfloat16, (random_params(0, cell), cell.initial_carry(ROWS), np.ones((STEPS, ROWS, HIDDEN)))
    )
    carry, ys = cell.unroll(params, carry, Marked(xs, RESET))
    assert carry.dtype == ys.dtype == jnp.bfloat16


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_refuses_marks_that_do_not_fit(name):
    cell, _ = CELLS[name]
    params, carry = random_params(1, cell), cell.initial_carry(ROWS)
    for unroll in (cell.unroll, cell.step):
        with pytest.raises(AssertionError, match=r"Marked: reset must have the shape"):
            unroll(params, carry, Marked(XS, reset=RESET[:-1]))
        with pytest.raises(AssertionError, match=r"Marked: keep must have the shape"):
            unroll(params, carry, Marked(XS, keep=KEEP[:, :1]))
        with pytest.raises(AssertionError, match="Marked: keep must be boolean"):
            unroll(params, carry, Marked(XS, keep=KEEP.astype(float)))


@pytest.mark.parametrize("name", ["reset", "keep"])
def test_marks_of_rows_are_not_taken_for_those_of_steps(name):
    """`[B]` in the place of `[T, B]`, where T is B."""
    cell, _ = CELLS["elman"]
    params, carry = random_params(1, cell), cell.initial_carry(ROWS)
    marks = {name: np.array([True, False, True, True])}
    with jax.numpy_rank_promotion("allow"), pytest.raises(AssertionError, match=rf"^Marked: {name} is \[\] at a step"):
        cell.unroll(params, carry, Marked(XS[:ROWS], **marks))
