"""Dropout that stays over time: constant over a chunk, different across rows, and new in the next chunk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close
from jaxrnn.compose import Noise, embedding, locked_dropout, word_dropout
from jaxrnn.errors import InputError
from jaxrnn.trees import renew_keys
from jaxrnn.types import Marked

STEPS, ROWS, SIZE, WORDS = 6, 40, 50, 30
ONES = np.ones((STEPS, ROWS, SIZE))
IDS = np.random.default_rng(0).integers(0, WORDS, (STEPS, ROWS), dtype=np.int32)
TABLE = {"w": np.ones((WORDS, 3))}


def locked(rate, carry=None, xs=ONES):
    cell = locked_dropout(rate)
    carry = cell.initial_carry(ROWS, jax.random.key(0)) if carry is None else carry
    return np.asarray(jax.jit(lambda carry: cell.unroll({}, carry, xs)[1])(carry))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_mask_is_constant_over_time_and_differs_across_rows(rate):
    """Of n draws the share dropped is within 5 standard deviations: in all, in each row and in each unit."""
    ys = locked(rate)
    assert np.all(ys == ys[0]) and set(np.unique(ys)) == {0, 1 / (1 - rate)}
    dropped = ys[0] == 0
    assert len({row.tobytes() for row in dropped}) == ROWS
    for axes in ((0, 1), (0,), (1,)):
        n = np.prod([dropped.shape[axis] for axis in axes])
        assert np.abs(dropped.mean(axes) - rate).max() < 5 * (rate * (1 - rate) / n) ** 0.5


def test_every_chunk_has_masks_of_its_own():
    carry = locked_dropout(0.5).initial_carry(ROWS, jax.random.key(0))
    chunks = [locked(0.5, carry), locked(0.5, renew_keys(carry)), locked(0.5, renew_keys(renew_keys(carry)))]
    assert len({row.tobytes() for chunk in chunks for row in chunk[0]}) == 3 * ROWS


def test_marks_and_the_cutting_of_time_change_no_mask():
    cell = locked_dropout(0.5)
    carry, whole = cell.initial_carry(ROWS, jax.random.key(0)), locked(0.5)
    after, y = cell.step({}, carry, ONES[0])
    assert_close(y, whole[0], tolerance=0)
    assert_close(after, carry)
    rng = np.random.default_rng(1)
    reset, keep = rng.random((2, STEPS, ROWS)) < 0.5
    marked = locked(0.5, xs=Marked(np.where(keep[..., None], ONES, np.nan), reset=reset, keep=keep))
    assert_close(marked, np.where(keep[..., None], whole, 0), tolerance=0)


def test_rows_do_not_depend_on_how_the_batch_is_split():
    cell = locked_dropout(0.5)
    carry = jax.tree.map(lambda keys: keys[10:], cell.initial_carry(ROWS, jax.random.key(0)))
    assert_close(cell.unroll({}, carry, ONES[:, 10:])[1], locked(0.5)[:, 10:], tolerance=0)


def test_without_a_key_both_are_the_identity():
    cell, words = locked_dropout(0.9), word_dropout(embedding(WORDS, 3), 0.9)
    assert cell.initial_carry(ROWS) == Noise(None, None)
    assert cell.unroll({}, cell.initial_carry(ROWS), ONES)[1] is ONES
    assert_close(words.unroll(TABLE, words.initial_carry(ROWS), IDS)[1], np.ones((STEPS, ROWS, 3)), tolerance=0)


def fates(key, ids=IDS):
    """Which ids are read as they are: `[T, B]`. A word's vector is dropped as a whole or not at all."""
    cell = word_dropout(embedding(WORDS, 3), 0.3)
    carry = cell.initial_carry(ROWS, jax.random.key(0))
    carry = renew_keys(carry) if key else carry
    ys = np.asarray(jax.jit(lambda carry: cell.unroll(TABLE, carry, ids)[1])(carry))
    assert set(np.unique(ys)) == {0, 1 / 0.7} and np.all(ys == ys[..., :1])
    return ys[..., 0] > 0


def test_a_word_is_dropped_at_every_place_of_a_row_or_at_none():
    """Each row decides anew about each word, and so does each chunk. Shares are within 5 standard deviations."""
    twice = np.concatenate([np.arange(WORDS), np.arange(WORDS)[::-1]]).astype(np.int32)
    ids = np.tile(twice[:, None], ROWS)
    stays, later = fates(0, ids), fates(1, ids)
    assert np.array_equal(stays[:WORDS], stays[WORDS:][::-1])
    stays, later = stays[:WORDS], later[:WORDS]
    assert len({row.tobytes() for row in stays.T} | {row.tobytes() for row in later.T}) == 2 * ROWS
    for axes in ((0, 1), (0,), (1,)):
        n = np.prod([stays.shape[axis] for axis in axes])
        assert np.abs(stays.mean(axes) - 0.7).max() < 5 * (0.3 * 0.7 / n) ** 0.5


def test_a_word_has_one_fate_whatever_the_dtype_of_its_number():
    """The highest number of a uint8, too: counted on from it is 0, which is the next key of the chain."""
    cell = word_dropout(embedding(256, 1), 0.5)
    carry = cell.initial_carry(ROWS, jax.random.key(0))
    few, many = (cell.step({"w": np.ones((256, 1))}, carry, np.full(ROWS, 255, kind))[1] for kind in (np.uint8, int))
    assert_close(few, many, tolerance=0)


def test_word_dropout_heeds_padding_and_passes_the_gradient_of_what_is_read():
    cell = word_dropout(embedding(WORDS, 3), 0.3)
    carry, keep = cell.initial_carry(ROWS, jax.random.key(0)), np.random.default_rng(2).random(IDS.shape) < 0.5
    read = fates(0) & keep
    total = jax.jit(jax.grad(lambda table: jnp.sum(cell.unroll(table, carry, Marked(IDS, keep=keep))[1])))
    expected = np.zeros((WORDS, 3))
    np.add.at(expected, IDS, read[..., None] / 0.7)
    assert_close(total(TABLE), {"w": expected})


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_what_is_no_probability_is_refused(rate):
    with pytest.raises(InputError, match="locked_dropout: rate is"):
        locked_dropout(rate)
    with pytest.raises(InputError, match="word_dropout: rate is"):
        word_dropout(embedding(WORDS, 3), rate)
