"""Scoring a model on a text of token ids: all of its targets, in streams side by side."""

from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh

from jaxrnn.cell import Cell
from jaxrnn.data.chunks import make_streams, number_of_chunks, read
from jaxrnn.evaluation import Evaluation, make_evaluate
from jaxrnn.gradients import given, tell
from jaxrnn.types import Params


def make_score(
    cell: Cell, streams: int, chunk_length: int, mesh: Mesh | None = None
) -> Callable[[Params, np.ndarray, str], Evaluation]:
    """Make the function that scores a text, compiled once for all texts.

    Args:
        cell: the model, symbols in and logits out.
        streams: into how many streams a text is cut (B); fewer where it has fewer targets.
        chunk_length: time steps at a time (K); the score does not depend on it.
        mesh: devices that share the streams; a text with fewer streams than that has them on one.

    Returns:
        `score(params, ids [N], name) -> Evaluation`: every target of the text but its first symbol counts, none is
        dropped. The name is for the error about a text that is too short.
    """
    evaluate = make_evaluate(cell, given)

    def score(params: Params, ids: np.ndarray, name: str) -> Evaluation:
        rows = make_streams(ids, max(1, min(streams, len(ids) - 1)), chunk_length, drop_tail=False, name=name)
        chunks = (tell(read(rows, index)) for index in range(number_of_chunks(rows)))
        return evaluate(params, cell.initial_carry((rows.batch_size,)), chunks)

    return score
