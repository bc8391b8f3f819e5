"""Random chunk lengths: they add up, differ from epoch to epoch, and lose no target."""

import numpy as np
import pytest

from jaxrnn.data.chunks import account, make_streams, number_of_chunks, read
from jaxrnn.data.lengths import longest, random_lengths, vary_lengths
from jaxrnn.errors import InputError


@pytest.mark.parametrize("steps", [1, 4, 5, 70, 1000, 100_003])
@pytest.mark.parametrize(("mean", "spread"), [(70, 5.0), (3, 1.0), (1, 0.5)])
def test_lengths_are_positive_fit_and_add_up(steps, mean, spread):
    lengths = random_lengths(7, steps, mean, spread)
    assert lengths.sum() == steps and lengths.min() >= 1 and lengths.max() <= longest(mean, spread)


def test_lengths_are_those_of_the_paper():
    """19 of 20 around the mean, one around half of it; the last one is what is left."""
    lengths = random_lengths(0, 2_000_000, 70, 5.0)[:-1]
    short = lengths < 50
    assert short.mean() == pytest.approx(0.05, abs=0.005)
    assert lengths[short].mean() == pytest.approx(35, abs=0.5)
    assert lengths[~short].mean() == pytest.approx(70, abs=0.2)
    assert lengths[~short].std() == pytest.approx(5, abs=0.3)


def test_no_length_is_below_five_or_above_two_deviations():
    lengths = random_lengths(0, 100_000, 20, 10.0)[:-1]
    assert lengths.min() == 5 and lengths.max() == 40


def streams_of(epoch, spread=3.0):
    streams = make_streams(np.arange(801), 2, longest(20, spread), drop_tail=True)
    return vary_lengths(streams, 20, spread, seed=1, epoch=epoch)


def test_every_epoch_reads_every_target_once_in_chunks_cut_elsewhere():
    counts, cuts = set(), []
    for epoch in range(3):
        streams = streams_of(epoch)
        chunks = [read(streams, index) for index in range(number_of_chunks(streams))]
        rows = [np.concatenate([chunk.targets[chunk.weight[:, row] == 1, row] for chunk in chunks]) for row in (0, 1)]
        np.testing.assert_array_equal(rows, [np.arange(1, 401), np.arange(401, 801)])
        for chunk in chunks:
            np.testing.assert_array_equal(chunk.inputs.keep, chunk.weight == 1)
            assert chunk.weight.shape == (26, 2)
        counts.add(len(chunks))
        cuts.append(tuple(streams.cuts))
        assert account(streams).padded == len(chunks) * 26 * 2 - 800
    assert len(counts) == 1 and len(set(cuts)) == 3
    assert tuple(streams_of(0).cuts) == cuts[0], "the same draw for the same seed and epoch"


def test_without_spread_nothing_changes():
    streams = make_streams(np.arange(801), 2, 20, drop_tail=True)
    assert vary_lengths(streams, 20, 0.0, seed=1, epoch=3) is streams


def test_a_spread_below_zero_is_refused():
    with pytest.raises(InputError, match="spread is -1"):
        random_lengths(0, 100, 20, -1.0)


def test_chunks_too_short_for_the_longest_are_refused():
    """They would lose the targets that do not fit."""
    streams = make_streams(np.arange(801), 2, longest(20, 3.0) - 1, drop_tail=True)
    with pytest.raises(InputError, match="chunk_length of the streams is 25; it must be 26 or more"):
        vary_lengths(streams, 20, 3.0, seed=1, epoch=0)
