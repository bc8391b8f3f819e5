"""How much of a sample is copied: the longest run of symbols that stands in the training text as well."""

from typing import NamedTuple

import numpy as np

BLOCK_IDS = 1 << 22
"""So many ids of the training text are looked at in one go."""

_SEED, _ODD = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93


class Copied(NamedTuple):
    """A run that stands in both texts.

    Attributes:
        length: how many symbols it has; 0 if the texts have none in common.
        start: where it begins in the sample.
        place: where it begins in the training text.
    """

    length: int
    start: int
    place: int


def longest_copied(sample: np.ndarray, training: np.ndarray) -> Copied:
    """Find the longest run of symbols of a sample that stands in a training text, exactly.

    A part of a copied run is copied too, so that its length is found by bisection. Whether any run of one length is
    copied is asked of hashes, of all runs of both texts at once; where two are equal, the symbols themselves decide.

    Args:
        sample: `[M]` ids.
        training: `[N]` ids; a memory map is read block by block.

    Returns:
        The longest run, the first of several in the sample.

    Cost:
        Time N log M for each of the log M lengths that are tried, memory of a block and of the sample.

    References:
        R. M. Karp, M. O. Rabin, "Efficient randomized pattern-matching algorithms", IBM Journal of Research and
        Development 31(2), 1987 (hashes of runs; here with a check, so that nothing is left to chance).

    Example:
        >>> longest_copied(np.array([7, 1, 2, 3, 9]), np.array([0, 1, 2, 3, 4]))
        Copied(length=3, start=1, place=1)
    """
    sample = np.asarray(sample)
    found, too_long = Copied(0, 0, 0), min(len(sample), len(training)) + 1
    while too_long - found.length > 1:
        length = (found.length + too_long) // 2
        run = _copied_run(sample, training, length)
        if run is None:
            too_long = length
        else:
            found = run
    return found


def _copied_run(sample: np.ndarray, training: np.ndarray, length: int) -> Copied | None:
    """The first run of this length in the sample that stands in the training text, or None."""
    wanted, best = _hashes(sample, length), None
    for begin in range(0, len(training) - length + 1, BLOCK_IDS):
        block = np.asarray(training[begin : begin + BLOCK_IDS + length - 1])
        end = len(wanted) if best is None else best.start
        start, place = _first_in_both(sample, wanted[:end], block, length)
        best = best if start is None else Copied(length, start, begin + place)
    return best


def _first_in_both(sample: np.ndarray, wanted: np.ndarray, block: np.ndarray, length: int) -> tuple[int | None, int]:
    """Where the first of the wanted runs that is in a block begins, and its place there; None if none is."""
    if not len(wanted):
        return None, 0
    hashes, known = _hashes(block, length), np.unique(wanted)
    alike = np.flatnonzero(known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes)
    alike = alike[np.argsort(hashes[alike], kind="stable")]
    firsts, ends = (np.searchsorted(hashes[alike], wanted, side) for side in ("left", "right"))
    for start in np.flatnonzero(ends > firsts):
        for place in alike[firsts[start] : ends[start]]:
            if np.array_equal(sample[start : start + length], block[place : place + length]):
                return int(start), int(place)
    return None, 0


def _hashes(ids: np.ndarray, length: int) -> np.ndarray:
    """A hash of every run of this length, uint64 `[N - length + 1]`: equal runs have equal ones.

    `hash(i) = odd^-i * sum of value(id_j) * odd^j for j in i ... i + length - 1`, modulo 2^64, where an odd number has
    an inverse.
    """
    powers, inverse = (_powers(base, len(ids) + 1) for base in (_ODD, pow(_ODD, -1, 1 << 64)))
    sums = np.zeros(len(ids) + 1, np.uint64)
    np.cumsum(_scattered(ids) * powers[:-1], out=sums[1:])
    return (sums[length:] - sums[:-length]) * inverse[: len(ids) - length + 1]


def _powers(base: int, number: int) -> np.ndarray:
    """`1, base, base^2, ...` modulo 2^64."""
    powers = np.full(number, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _scattered(ids: np.ndarray) -> np.ndarray:
    """A number of 64 bits for each id, without a pattern."""
    x = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(_SEED)
    x ^= x >> np.uint64(31)
    return x * np.uint64(0xBF58476D1CE4E5B9) ^ (x >> np.uint64(27))
