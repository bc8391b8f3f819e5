"""Dropout: its rate, and that nothing but the key and the step decide a mask."""

import jax
import numpy as np
import pytest

from agreement import assert_close, random_params
from jaxrnn.cells import lstm
from jaxrnn.compose import Noise, dropout, stack

STEPS, ROWS, SIZE = 40, 4, 50
ONES = np.ones((STEPS, ROWS, SIZE))


def masks(rate, key=0, steps=STEPS):
    cell = dropout(rate)
    carry = cell.initial_carry(ROWS, jax.random.key(key))
    return np.asarray(jax.jit(lambda carry: cell.unroll({}, carry, np.ones((steps, ROWS, SIZE)))[1])(carry))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate(rate):
    """Of n draws the share dropped is within 5 standard deviations: in all, and in each step, row and unit."""
    ys = masks(rate)
    assert set(np.unique(ys)) == {0, 1 / (1 - rate)}
    dropped = ys == 0
    for axes in ((0, 1, 2), (1, 2), (0, 2), (0, 1)):
        n = np.prod([dropped.shape[axis] for axis in axes])
        assert np.abs(dropped.mean(axes) - rate).max() < 5 * (rate * (1 - rate) / n) ** 0.5


def test_steps_rows_and_keys_differ():
    """Anew at every step, for every row, from every key."""
    drawn = [row.tobytes() for key in (0, 1) for step in masks(0.5, key) for row in step]
    assert len(set(drawn)) == 2 * STEPS * ROWS


def test_masks_do_not_depend_on_how_time_is_cut():
    cell = dropout(0.5)
    carry, parts = cell.initial_carry(ROWS, jax.random.key(0)), []
    for piece in np.split(ONES, 8):
        carry, ys = cell.unroll({}, carry, piece)
        parts.append(ys)
    for x in ONES[:2]:
        carry, y = cell.step({}, carry, x)
        parts.append(y[None])
    whole = masks(0.5, steps=STEPS + 2)
    assert_close(np.concatenate(parts), whole, tolerance=0)


def test_masks_do_not_depend_on_how_the_batch_is_split():
    """Rows of a batch of four are those of two batches of two that have the same keys."""
    cell = stack(lstm(3, SIZE), dropout(0.5), lstm(SIZE, 3))
    params, carry = random_params(0, cell), cell.initial_carry(ROWS, jax.random.key(0))
    xs = np.random.default_rng(1).normal(size=(5, ROWS, 3))
    run = jax.jit(lambda carry, xs: cell.unroll(params, carry, xs))
    last, ys = run(carry, xs)
    for rows in (slice(0, 2), slice(2, 4)):
        part = run(jax.tree.map(lambda a, rows=rows: a[rows], carry), xs[:, rows])
        assert_close(part, (jax.tree.map(lambda a, rows=rows: a[rows], last), ys[:, rows]))


def test_without_a_key_it_is_the_identity():
    cell = dropout(0.9)
    assert cell.initial_carry(ROWS) == Noise(None, None)
    for noise in (cell.initial_carry(ROWS), dropout(0.0).initial_carry(ROWS, jax.random.key(0))):
        quiet = cell if noise.key is None else dropout(0.0)
        last, ys = quiet.unroll({}, noise, ONES)
        assert last is noise and ys is ONES
