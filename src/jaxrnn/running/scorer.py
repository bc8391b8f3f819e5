"""Scoring a model on a text of token ids: all of its targets, in streams side by side."""

from collections.abc import Callable, Iterator

import numpy as np
from jax.sharding import Mesh

from jaxrnn.cell import Cell
from jaxrnn.config import Data
from jaxrnn.data.chunks import Streams, make_streams, number_of_chunks, read, rows
from jaxrnn.evaluation import Evaluation, make_evaluate
from jaxrnn.gradients import Chunk, given, tell
from jaxrnn.mesh import on_one_device
from jaxrnn.types import Params

ANEW = "; initial again at the beginning of each line"


def evaluation_streams(data: Data) -> int:
    """Into how many streams a text is cut to be scored, unless told otherwise.

    Args:
        data: the section.

    Returns:
        The number.

    Example:
        >>> evaluation_streams(Data(batch_size=20)), evaluation_streams(Data(batch_size=20, evaluation_streams=10))
        (20, 10)
    """
    return data.evaluation_streams or data.batch_size


def make_score(
    cell: Cell, mesh: Mesh | None = None, *, separate_lines: bool = False
) -> Callable[[Params, Streams], Evaluation]:
    """Make the function that scores a text, compiled once for all texts that are cut alike.

    Args:
        cell: the model, symbols in and logits out.
        mesh: devices that share the streams; a text whose streams do not divide by their number has them on one.
        separate_lines: whether the model starts anew with each line, for the protocol.

    Returns:
        `score(params, text) -> Evaluation`, see `text_in_rows`: every symbol of the text but the first is a
        target that counts, none is dropped unless the text says so.
    """
    evaluate = {where: make_evaluate(cell, given, mesh=where) for where in {mesh, None}}

    def score(params: Params, text: Streams) -> Evaluation:
        where = None if mesh is None or text.batch_size % mesh.size else mesh
        params = on_one_device(params) if where is None else params
        carry, chunks = cell.initial_carry((text.batch_size,)), map(tell, scored_chunks(text))
        evaluation = evaluate[where](params, carry, chunks)
        protocol = evaluation.protocol
        dropped = len(text.ids) - 1 - protocol.targets
        tail = f"{dropped} targets dropped" if text.drop_tail else f"nothing dropped, {protocol.tail}"
        carry_text = about_carry(protocol.carry, separate_lines)
        return evaluation._replace(protocol=protocol._replace(carry=carry_text, tail=tail))

    return score


def about_carry(carry: str, separate_lines: bool) -> str:
    """Say for a protocol what became of the carry, with what a model of separate lines does to it by itself.

    Args:
        carry: what an evaluation says of it.
        separate_lines: whether the model starts anew with each line.

    Returns:
        The words.

    Example:
        >>> about_carry("passed on", separate_lines=True)
        'passed on; initial again at the beginning of each line'
    """
    return carry + (ANEW if separate_lines else "")


def text_in_rows(
    ids: np.ndarray, streams: int, chunk_length: int, *, drop_tail: bool = False, name: str = "the text"
) -> Streams:
    """Cut a text as it is scored.

    Args:
        ids: `[N]` token ids.
        streams: B; fewer where the text has fewer targets.
        chunk_length: K; the score does not depend on it unless the tail is dropped.
        drop_tail: whether to score full chunks only, as some published figures do.
        name: for the error about a text that is too short.

    Returns:
        The text as rows of chunks.

    Raises:
        InputError: if there is no target, or no full chunk where the tail is dropped.
    """
    return make_streams(ids, max(1, min(streams, len(ids) - 1)), chunk_length, drop_tail=drop_tail, name=name)


def scored_chunks(text: Streams) -> Iterator[Chunk]:
    """Read the chunks that count: all, or the full ones where the tail is dropped.

    Args:
        text: the text as rows of chunks.

    Returns:
        The chunks, in order.

    Example:
        >>> text = text_in_rows(np.arange(24), 2, 5)      # rows of 12 and 11 targets
        >>> [chunk.weight.sum().item() for chunk in scored_chunks(text)]
        [10.0, 10.0, 3.0]
        >>> [chunk.weight.sum().item() for chunk in scored_chunks(text._replace(drop_tail=True))]
        [10.0, 10.0]
    """
    return (read(text, index) for index in range(count_scored(text)))


def count_scored(text: Streams) -> int:
    """Count the chunks of `scored_chunks` without reading them.

    Args:
        text: the text as rows of chunks.

    Returns:
        How many there are.

    Example:
        >>> text = text_in_rows(np.arange(24), 2, 5)
        >>> count_scored(text), count_scored(text._replace(drop_tail=True))
        (3, 2)
    """
    return _full_chunks(text) if text.drop_tail else number_of_chunks(text)


def scored_parts(text: Streams) -> list[np.ndarray]:
    """The stretches of a text whose symbols count, but for the first of each.

    Args:
        text: the text as rows of chunks.

    Returns:
        The whole text, or the full chunks of each row where the tail is dropped.

    Example:
        >>> text = text_in_rows(np.arange(24), 2, 5, drop_tail=True)
        >>> [(part[0].item(), part[-1].item()) for part in scored_parts(text)]
        [(0, 10), (11, 21)]
    """
    if not text.drop_tail:
        return [text.ids]
    steps = _full_chunks(text) * text.chunk_length
    return [text.ids[start : start + steps + 1] for start in rows(text)[0]]


def _full_chunks(text: Streams) -> int:
    """How many chunks all rows fill."""
    return int(rows(text)[1].min()) // text.chunk_length
