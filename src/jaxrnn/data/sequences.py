"""Sequences of unequal lengths: as one array with padding, and in batches of like lengths, so that little is padded."""

from collections.abc import Sequence

import numpy as np

from jaxrnn.choices import is_whole, require
from jaxrnn.errors import InputError


def pad(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Lay sequences side by side, zeros after their ends.

    Args:
        sequences: B arrays `[T_b, ...]`, alike but for their lengths; at least one.

    Returns:
        `[T, B, ...]`, with T the greatest length, and the lengths, int `[B]`, for `jaxrnn.marks.within_lengths`.

    Raises:
        InputError: for no sequence, and for one that is not like the others.

    Example:
        >>> xs, lengths = pad([np.array([1, 2, 3]), np.array([4])])
        >>> xs.tolist(), lengths.tolist()
        ([[1, 4], [2, 0], [3, 0]], [3, 1])
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    require(arrays, "pad: the number of sequences", 0, "at least 1")
    kind = np.result_type(*arrays)
    for number, array in enumerate(arrays):
        if array.ndim == 0 or array.shape[1:] != arrays[0].shape[1:]:
            shape = ["T", *arrays[0].shape[1:]]
            raise InputError(f"pad: sequence {number} is {list(array.shape)}; expected {shape}, as the first one is")
    lengths = np.array([len(array) for array in arrays])
    padded = np.zeros((lengths.max(), len(arrays), *arrays[0].shape[1:]), kind)
    for row, array in enumerate(arrays):
        padded[: len(array), row] = array
    return padded, lengths


def like_lengths(lengths: Sequence[int] | np.ndarray, size: int, *, seed: int, pool: int = 50) -> list[np.ndarray]:
    """Draw batches of rows of like lengths, for one epoch: with other seeds, other batches.

    The rows are shuffled and taken `pool` batches at a time; those are sorted by length and cut into batches, and all
    batches shuffled. A small pool mixes lengths more, a large one pads less. The last rows that fill no batch are left
    out: others with each seed.

    Args:
        lengths: `[N]`.
        size: B, rows in a batch.
        seed: of all draws.
        pool: how many batches are sorted together.

    Returns:
        `N // B` arrays `[B]` of row numbers, in the order in which to take them.

    Raises:
        InputError: for a size below 1 or above N, and for a pool below 1.

    Example:
        >>> batches = like_lengths([5, 90, 6, 91, 4, 92], 3, seed=0)
        >>> sorted(sorted(batch.tolist()) for batch in batches)
        [[0, 2, 4], [1, 3, 5]]
    """
    lengths = np.asarray(lengths)
    good = is_whole(size) and size <= len(lengths)
    require(good, "like_lengths: size", size, f"a whole number from 1 to {len(lengths)}, the number of rows")
    require(is_whole(pool), "like_lengths: pool", pool, "a whole number of batches, at least 1")
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(lengths))[: len(lengths) // size * size]
    pools = (rows[start : start + pool * size] for start in range(0, len(rows), pool * size))
    ordered = np.concatenate([some[np.argsort(lengths[some], kind="stable")] for some in pools])
    return list(rng.permutation(ordered.reshape(-1, size)))
