"""Sequences of unequal lengths: nothing is lost by padding, and batches of like lengths pad less."""

import numpy as np
import pytest

from jaxrnn.data.sequences import like_lengths, pad
from jaxrnn.errors import InputError

LENGTHS = np.random.default_rng(0).integers(1, 500, size=1003)


def padding(batches):
    return sum(int((LENGTHS[batch].max() - LENGTHS[batch]).sum()) for batch in batches)


def test_every_sequence_comes_back_and_the_rest_is_zero():
    rng = np.random.default_rng(1)
    sequences = [rng.normal(size=(length, 2)).astype(np.float32) for length in (3, 1, 0, 5)]
    xs, lengths = pad(sequences)
    assert xs.shape == (5, 4, 2) and xs.dtype == np.float32 and lengths.tolist() == [3, 1, 0, 5]
    for row, sequence in enumerate(sequences):
        np.testing.assert_array_equal(xs[: len(sequence), row], sequence)
        assert not xs[len(sequence) :, row].any()


def test_mixed_kinds_become_the_one_that_holds_all():
    assert pad([np.array([1, 2]), np.array([0.5])])[0].tolist() == [[1.0, 0.5], [2.0, 0.0]]


@pytest.mark.parametrize(
    ("sequences", "named"),
    [
        ([], "the number of sequences is 0"),
        ([np.ones((2, 3)), np.ones((2, 4))], r"sequence 1 is \[2, 4\]; expected \['T', 3\]"),
        ([np.ones(2), np.array(1.0)], r"sequence 1 is \[\]"),
    ],
)
def test_what_cannot_be_padded_is_refused(sequences, named):
    with pytest.raises(InputError, match=f"pad: {named}"):
        pad(sequences)


def test_every_row_is_drawn_at_most_once_and_as_many_as_fill_batches():
    batches = like_lengths(LENGTHS, 10, seed=0)
    rows = np.concatenate(batches)
    assert len(batches) == 100 and len(set(rows.tolist())) == 1000 and set(rows) <= set(range(1003))


def test_like_lengths_pad_less_the_more_so_the_larger_the_pool():
    none, some, all_rows = (padding(like_lengths(LENGTHS, 10, seed=0, pool=pool)) for pool in (1, 10, 1000))
    assert all_rows < some < none and all_rows < none / 20
    spread = [np.ptp(LENGTHS[batch]) for batch in like_lengths(LENGTHS, 10, seed=0, pool=1000)]
    assert max(spread) < 30


def test_seeds_draw_other_batches_in_another_order():
    one, same, other = (like_lengths(LENGTHS, 10, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    means = [LENGTHS[batch].mean() for batch in like_lengths(LENGTHS, 10, seed=0, pool=1000)]
    assert abs(np.corrcoef(means, np.arange(100))[0, 1]) < 0.3  # not from short to long


@pytest.mark.parametrize("change", [{"size": 0}, {"size": 1004}, {"pool": 0}])
def test_sizes_that_make_no_sense_are_refused(change):
    with pytest.raises(InputError, match=f"like_lengths: {next(iter(change))}"):
        like_lengths(LENGTHS, **({"size": 10, "seed": 0} | change))
