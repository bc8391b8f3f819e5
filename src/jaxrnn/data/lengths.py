"""Random chunk lengths: the places where credit stops move from epoch to epoch, and no step is always at an edge."""

import math
from functools import lru_cache

import numpy as np

from jaxrnn.choices import require
from jaxrnn.data.chunks import Streams, rows

HALF = 0.05  # the share of chunks of half the length
SHORTEST = 5


def longest(mean: int, spread: float) -> int:
    """The places that a chunk of random length needs: two standard deviations above the mean.

    Args:
        mean: of the lengths.
        spread: their standard deviation.

    Returns:
        K, time steps.

    Example:
        >>> longest(70, 5.0), longest(70, 0.0)
        (80, 70)
    """
    return mean + math.ceil(2 * spread)


def random_lengths(seed: int, steps: int, mean: int, spread: float) -> np.ndarray:
    """Draw the lengths of the chunks that a stream is cut into.

    Equals the loop::

        while sum(lengths) < steps:
            middle = mean / 2 if rng.random() < 0.05 else mean
            lengths.append(clip(round(rng.normal(middle, spread)), 5, mean + 2 spread))
        # and the last one is shortened, so that they add up

    Args:
        seed: of the draws.
        steps: how long the stream is.
        mean: of the lengths, for 19 chunks out of 20.
        spread: standard deviation.

    Returns:
        `[N]` whole numbers of at least 1 that add up to `steps`.

    References:
        S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018, section 4.1.

    Example:
        >>> lengths = random_lengths(0, steps=1000, mean=70, spread=5.0)
        >>> int(lengths.sum()), int(lengths.max()) <= 80
        (1000, True)
    """
    require(spread >= 0, "random_lengths: spread", spread, "0 or more")
    rng, shortest = np.random.default_rng(seed), min(SHORTEST, mean)
    number = steps // shortest + 1  # enough, if all of them were the shortest
    middle = np.where(rng.random(number) < HALF, mean / 2, mean)
    lengths = np.clip(np.rint(rng.normal(middle, spread)), shortest, longest(mean, spread)).astype(np.int64)
    ends = np.minimum(np.cumsum(lengths), steps)
    return np.diff(ends[: np.searchsorted(ends, steps) + 1], prepend=0)


def vary_lengths(streams: Streams, mean: int, spread: float, *, seed: int, epoch: int) -> Streams:
    """Cut streams into chunks of random lengths: the same lengths in every epoch, in an order of its own.

    So all epochs have as many chunks and updates, and their boundaries lie elsewhere.

    Args:
        streams: for training; its `chunk_length` gives the places of a chunk, see `longest`.
        mean: of the lengths.
        spread: their standard deviation; with 0 the streams are returned as they are.
        seed: of all draws.
        epoch: which epoch, from 0.

    Returns:
        The streams with their cuts.

    Raises:
        InputError: if a chunk of the streams has fewer places than the longest needs.

    Example:
        >>> streams = Streams(np.arange(2001), batch_size=2, chunk_length=longest(70, 5.0), drop_tail=True)
        >>> first, second = (vary_lengths(streams, 70, 5.0, seed=0, epoch=epoch).cuts for epoch in (0, 1))
        >>> bool(first[-1] == second[-1] == 1000), len(first) == len(second), bool((first == second).all())
        (True, True, False)
    """
    if spread == 0:
        return streams
    places = longest(mean, spread)  # a chunk with fewer would lose what does not fit
    fits = streams.chunk_length >= places
    require(fits, "vary_lengths: chunk_length of the streams", streams.chunk_length, f"{places} or more, see `longest`")
    return streams._replace(cuts=_cuts(seed, epoch, int(rows(streams)[1].max()), mean, spread))


@lru_cache(maxsize=2)
def _cuts(seed: int, epoch: int, steps: int, mean: int, spread: float) -> np.ndarray:
    """Where chunks begin in an epoch, and the last one ends; asked for again with every dispatch of the epoch."""
    lengths = random_lengths(seed, steps, mean, spread)
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
    cuts = np.concatenate([[0], np.cumsum(lengths[order])])
    cuts.setflags(write=False)
    return cuts
