"""Combinators: they take cells and return cells, or make cells that have no recurrence of their own."""

from jaxrnn.compose.bidirectional import Bidirectional, bidirectional
from jaxrnn.compose.language_model import language_model
from jaxrnn.compose.noise import Noise, dropout
from jaxrnn.compose.pointwise import dense, embedding, pointwise
from jaxrnn.compose.readout import with_readout
from jaxrnn.compose.stack import stack

__all__ = [
    "Bidirectional",
    "Noise",
    "bidirectional",
    "dense",
    "dropout",
    "embedding",
    "language_model",
    "pointwise",
    "stack",
    "with_readout",
]
