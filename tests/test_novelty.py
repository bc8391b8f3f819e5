"""The longest copied run against a search for every piece, with blocks and hashes made as unlucky as can be."""

import numpy as np
import pytest

from jaxrnn import novelty
from jaxrnn.novelty import Copied, longest_copied


def by_hand(sample, training):
    """The length and first start of the longest piece of a text that stands in the other."""
    sample, training = ("".join(map(chr, ids)) for ids in (sample, training))
    for length in range(len(sample), 0, -1):
        for start in range(len(sample) - length + 1):
            if sample[start : start + length] in training:
                return length, start
    return 0, 0


@pytest.mark.parametrize("symbols", [1, 2, 5, 60])
@pytest.mark.parametrize("damage", ["none", "blocks", "hashes"])
def test_it_is_what_a_search_for_every_piece_finds(monkeypatch, symbols, damage):
    if damage == "blocks":
        monkeypatch.setattr(novelty, "BLOCK_IDS", 7)  # runs lie across the ends of blocks
    if damage == "hashes":
        monkeypatch.setattr(novelty, "_scattered", lambda ids: np.ones(len(ids), np.uint64))  # all runs look alike
    rng = np.random.default_rng(symbols)
    for size, most in ((1, 30), (12, 60), (30, 200)):
        training = rng.integers(symbols, size=most).astype(np.uint16)
        sample = rng.integers(symbols + 1, size=size).astype(np.int32)
        sample[size // 3 : size // 3 + 9] = training[5 : 5 + len(sample[size // 3 : size // 3 + 9])]
        found = longest_copied(sample, training)
        assert (found.length, found.start) == by_hand(sample, training)
        copied = training[found.place : found.place + found.length]
        np.testing.assert_array_equal(sample[found.start : found.start + found.length], copied)


def test_the_edges():
    text = np.arange(10)
    assert longest_copied(text[:0], text) == longest_copied(text, text[:0]) == Copied(0, 0, 0)
    assert longest_copied(text + 20, text) == Copied(0, 0, 0)
    assert longest_copied(text, text) == Copied(10, 0, 0)
    assert longest_copied(text, text[6:]) == Copied(4, 6, 0)


def test_equal_runs_have_equal_hashes_wherever_they_stand():
    ids = np.tile(np.arange(5), 40)
    hashes = novelty._hashes(ids, 7)
    assert len(hashes) == 194 and len(set(hashes.tolist())) == 5
    np.testing.assert_array_equal(hashes[:-5], hashes[5:])
