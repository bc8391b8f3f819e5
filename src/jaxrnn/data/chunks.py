"""Chunks: contiguous streams over a text, cut into chunks of one shape, with an exact account of every target.

A text of `N` ids has `N - 1` targets: every id but the first is predicted from those before it. The targets are cut
into `B` rows that stand one after another in the text. A chunk takes the next `K` steps of every row, so row `i` of a
chunk goes on where row `i` of the previous chunk ended, and the carry may be handed on.

::

    ids   0 1 2 3 4 5 6 7 8      B = 2, K = 3
    row 0 inputs  0 1 2 | 3      targets  1 2 3 | 4
    row 1 inputs  4 5 6 | 7      targets  5 6 7 | 8       the second chunk is padded to K steps, with weight 0

In laps (`Streams.lap`) the inputs are a circle, on which a row goes on where the next one began. An epoch has full
chunks alone, and the next begins where it has ended, so that the carry may be handed on for ever::

    lap 0, row 0    inputs  0 1 2      targets  1 2 3
    lap 1, row 0    inputs  3 4 5      targets  4 5 6
    lap 2, row 0    inputs  6 7 0      targets  7 8 1     the last id is a target only
"""

from typing import Any, NamedTuple

import numpy as np

from jaxrnn.choices import is_whole
from jaxrnn.errors import InputError
from jaxrnn.gradients.base import Chunk
from jaxrnn.types import Marked


class Streams(NamedTuple):
    """A text as `B` contiguous rows. `make_streams` checks that there is something in them.

    Attributes:
        ids: `[N]` token ids; a memory map is read only where a chunk needs it.
        batch_size: how many rows, `B`.
        chunk_length: how many steps a chunk has, `K`.
        drop_tail: True (training): all rows are `(N - 1) // B` long and the `(N - 1) % B` last targets are dropped.
            False (evaluation): nothing is dropped, the first `(N - 1) % B` rows are one step longer.
        cuts: `[chunks + 1]` the steps of a row at which chunks of different lengths begin, and the last one ends; none
            is longer than `chunk_length`. None: one begins every `chunk_length` steps. See `jaxrnn.data.lengths`.
        lap: which epoch on the circle, from 0; without `cuts`. None: every epoch begins at the rows' first steps.
    """

    ids: np.ndarray
    batch_size: int
    chunk_length: int
    drop_tail: bool
    cuts: np.ndarray | None = None
    lap: int | None = None


class Account(NamedTuple):
    """What one epoch holds. `targets + dropped == ids - 1` and `targets + padded == chunks * K * B`.

    Attributes:
        ids: symbols in the text, `N`.
        targets: symbols that are predicted, each once.
        dropped: symbols that are not: at the text's end; in laps, what is left of the rows.
        padded: places in the chunks that hold nothing, with weight 0.
        chunks: how many chunks an epoch has.
    """

    ids: int
    targets: int
    dropped: int
    padded: int
    chunks: int


def make_streams(
    ids: np.ndarray, batch_size: int, chunk_length: int, *, drop_tail: bool, name: str = "the text"
) -> Streams:
    """The streams over a text, checked: for training, one chunk must be full.

    Args:
        ids: `[N]` token ids.
        batch_size: how many rows, `B`.
        chunk_length: how many steps a chunk has, `K`.
        drop_tail: see `Streams`.
        name: what the text is called in an error.

    Returns:
        The streams.

    Raises:
        InputError: a size is no whole number of at least 1; there is no target at all; or, with `drop_tail`, less
            than one full chunk.

    Example:
        >>> make_streams(np.arange(9), 2, 3, drop_tail=True).batch_size
        2
    """
    if not (is_whole(batch_size) and is_whole(chunk_length)):
        sizes = f"batch_size {batch_size!r}, chunk_length {chunk_length!r}"
        raise InputError(f"{sizes}: expected 1 or more for both, whole numbers")
    needed = batch_size * chunk_length + 1 if drop_tail else 2
    if len(ids) < needed:
        size = f"batch_size {batch_size} x chunk_length {chunk_length} + 1 = {needed}" if drop_tail else "2"
        raise InputError(
            f"{name}: {len(ids)} symbols, shorter than a chunk; expected at least {size}: give a longer text"
            + (", or a smaller batch_size or chunk_length" if drop_tail else "")
        )
    return Streams(ids, batch_size, chunk_length, drop_tail)


def rows(streams: Streams) -> tuple[np.ndarray, np.ndarray]:
    """Where each row begins in the text, and how many targets it has.

    Args:
        streams: the text as rows.

    Returns:
        `[B]` the position of each row's first input, and `[B]` its length; together the rows are the text.

    Example:
        >>> starts, lengths = rows(Streams(np.arange(12), batch_size=2, chunk_length=4, drop_tail=False))
        >>> starts.tolist(), lengths.tolist()
        ([0, 6], [6, 5])
    """
    length, more = divmod(max(len(streams.ids) - 1, 0), streams.batch_size)
    row = np.arange(streams.batch_size)
    longer = np.zeros_like(row) if streams.drop_tail else (row < more).astype(row.dtype)
    lengths = length + longer
    return np.cumsum(lengths) - lengths, lengths


def number_of_chunks(streams: Streams) -> int:
    """How many chunks an epoch has: the longest row's length over `K`, rounded up, or as many as there are cuts for.

    In laps it is rounded down.

    Args:
        streams: the text as rows.

    Returns:
        The number of chunks; 0 if there is no target.

    Example:
        >>> streams = Streams(np.arange(12), batch_size=2, chunk_length=2, drop_tail=True)     # rows of 5 targets
        >>> number_of_chunks(streams), number_of_chunks(streams._replace(lap=0))
        (3, 2)
    """
    if streams.cuts is not None:
        return len(streams.cuts) - 1
    length, steps = int(rows(streams)[1].max()), streams.chunk_length
    return -(-length // steps) if streams.lap is None else length // steps


def account(streams: Streams) -> Account:
    """The exact account of an epoch's targets.

    Args:
        streams: the text as rows.

    Returns:
        What an epoch holds, and what the text's tail drops.

    Example:
        >>> account(Streams(np.arange(12), batch_size=2, chunk_length=4, drop_tail=True))
        Account(ids=12, targets=10, dropped=1, padded=6, chunks=2)
        >>> account(Streams(np.arange(12), batch_size=2, chunk_length=4, drop_tail=False))
        Account(ids=12, targets=11, dropped=0, padded=5, chunks=2)
    """
    _, lengths = rows(streams)
    chunks = number_of_chunks(streams)
    places = chunks * streams.chunk_length * streams.batch_size
    targets = int(lengths.sum()) if streams.lap is None else places
    return Account(len(streams.ids), targets, len(streams.ids) - 1 - targets, places - targets, chunks)


def read(streams: Streams, index: int) -> Chunk:
    """Chunk number `index` of an epoch, copied from the text.

    Args:
        streams: the text as rows.
        index: from 0 to `number_of_chunks(streams) - 1`.

    Returns:
        `Chunk` of `[K, B]` NumPy arrays: inputs and targets int32, weight float32. After a row's end the ids are 0
        and the weight is 0. Where chunks differ in length, the next chunk must go on from a shorter one's last step, so
        its inputs are `Marked`: the steps beyond it are not kept.

    Raises:
        IndexError: there is no such chunk.

    Cost:
        `O(K B)`, whatever `N` is.

    Example:
        >>> streams = Streams(np.arange(9), batch_size=2, chunk_length=3, drop_tail=True)
        >>> read(streams, 1).inputs
        array([[3, 7],
               [0, 0],
               [0, 0]], dtype=int32)
    """
    chunks = number_of_chunks(streams)
    if not 0 <= index < chunks:
        raise IndexError(f"chunk {index}: expected 0 to {chunks - 1}")
    starts, lengths = rows(streams)
    begin, end = _span(streams, index)
    steps = begin + np.arange(streams.chunk_length)[:, None]
    inside = (steps < np.minimum(lengths[None, :], end)) | (streams.lap is not None)
    positions = np.where(inside, starts[None, :] + steps, 0) % (len(streams.ids) - 1)
    inputs, targets = (np.where(inside, streams.ids[positions + ahead], 0).astype(np.int32) for ahead in (0, 1))
    weight: Any = inside.astype(np.float32)  # NumPy, for the one jit to put on its device
    keep: Any = inside
    return Chunk(inputs if streams.cuts is None else Marked(inputs, keep=keep), targets, weight)


def _span(streams: Streams, index: int) -> tuple[int, int]:
    """The steps of a row at which a chunk begins and ends."""
    if streams.cuts is None:
        number = (streams.lap or 0) * number_of_chunks(streams) + index
        return number * streams.chunk_length, (number + 1) * streams.chunk_length
    return int(streams.cuts[index]), int(streams.cuts[index + 1])
