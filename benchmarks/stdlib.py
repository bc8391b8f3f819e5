"""The source text of Python's standard library, by characters: what benchmarks read that need a text."""

from functools import cache

import numpy as np

from jaxrnn.data.chunks import make_streams, read
from jaxrnn.data.corpora import open_corpus
from jaxrnn.data.dataset import prepare
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.gradients import Chunk


@cache
def symbols() -> tuple[dict[str, np.ndarray], int]:
    """Read the text.

    Returns:
        The ids of its splits, and V.
    """
    dataset = prepare(open_corpus("stdlib"), TOKENIZERS["character"])
    return dataset.ids, len(dataset.vocabulary.symbols)


def take(ids: np.ndarray, rows: int, steps: int, index: int = 0) -> Chunk:
    """Take a chunk of a text; after the last one comes the first again.

    Args:
        ids: the text.
        rows: B.
        steps: K.
        index: which.

    Returns:
        `[K, B]`.
    """
    streams = make_streams(ids, batch_size=rows, chunk_length=steps, drop_tail=True)
    return read(streams, index % (((len(ids) - 1) // rows) // steps))
