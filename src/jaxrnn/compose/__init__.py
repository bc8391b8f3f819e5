"""Combinators: they take cells and return cells, or make cells that have no recurrence of their own."""

from jaxrnn.compose.bidirectional import Bidirectional, bidirectional
from jaxrnn.compose.documents import documents
from jaxrnn.compose.dropout import dropout
from jaxrnn.compose.language_model import language_model, language_trunk, readout_of
from jaxrnn.compose.learned_start import learned_start
from jaxrnn.compose.locked import locked_dropout, word_dropout
from jaxrnn.compose.mixed_precision import mixed_precision
from jaxrnn.compose.noise import Noise
from jaxrnn.compose.penalties import activation_penalty, temporal_penalty, with_penalties
from jaxrnn.compose.pointwise import dense, embedding, pointwise
from jaxrnn.compose.readout import with_readout
from jaxrnn.compose.stack import stack
from jaxrnn.compose.weight_drop import weight_drop
from jaxrnn.compose.zoneout import zoneout

__all__ = [
    "Bidirectional",
    "Noise",
    "activation_penalty",
    "bidirectional",
    "dense",
    "documents",
    "dropout",
    "embedding",
    "language_model",
    "language_trunk",
    "learned_start",
    "locked_dropout",
    "mixed_precision",
    "pointwise",
    "readout_of",
    "stack",
    "temporal_penalty",
    "weight_drop",
    "with_penalties",
    "with_readout",
    "word_dropout",
    "zoneout",
]
