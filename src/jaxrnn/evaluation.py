"""Scoring a model on a stretch of text: what a symbol costs on average, and by what protocol that was measured.

An evaluation has a carry of its own and only reads the parameters, so that training does not notice it.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxrnn.cell import Cell
from jaxrnn.choices import require
from jaxrnn.gradients.base import Chunk
from jaxrnn.gradients.segments import chunk_loss
from jaxrnn.mesh import in_turn
from jaxrnn.parallel import by_rows
from jaxrnn.trees import is_float
from jaxrnn.types import Array, Carry, Loss, Params

CARRY = "initial at the start of each stream, then passed on from chunk to chunk"


class Score(NamedTuple):
    """The weighted sum of the losses, and what to divide it by.

    Attributes:
        loss_sum: in nats.
        weight: the sum of the weights; where these are 0 and 1, the number of targets.

    Example:
        >>> score = Score(loss_sum=10 * math.log(2), weight=10.0)        # ten tosses of a coin
        >>> round(score.nats, 4), round(score.bits, 4), round(score.perplexity, 4)
        (0.6931, 1.0, 2.0)
    """

    loss_sum: float
    weight: float

    @property
    def nats(self) -> float:
        """The mean loss of a target, `loss_sum / weight`; NaN where there is none."""
        return self.loss_sum / self.weight if self.weight else math.nan

    @property
    def perplexity(self) -> float:
        """`exp(nats)`: so many equally likely symbols would be as hard to guess; inf where that overflows."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.nats))

    @property
    def bits(self) -> float:
        """`nats / log 2`: bits per symbol, that is per character for a character model."""
        return self.nats / math.log(2.0)


class Protocol(NamedTuple):
    """How a score was measured; two scores compare only where this is the same.

    Attributes:
        streams: B, the contiguous streams that the text was cut into: all but the first start in mid-text, from the
            initial carry.
        carry: what became of the carry between chunks.
        tail: what became of the text's end, in words.
        targets: how many targets were counted.
    """

    streams: int
    carry: str
    tail: str
    targets: int


class Evaluation(NamedTuple):
    """A score and how it came about.

    Attributes:
        score: the score.
        protocol: how it was measured.
        carry: the carry after the last chunk, to go on with.
    """

    score: Score
    protocol: Protocol
    carry: Carry


def make_evaluate(cell: Cell, loss: Loss, *, mesh: Mesh | None = None) -> Callable[..., Evaluation]:
    """Make the function that scores parameters on chunks that follow one another, compiled once for each chunk shape.

    Args:
        cell: the model, such as a `language_model`.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`, in nats; see `jaxrnn.losses`.
        mesh: devices that share the rows, see `jaxrnn.parallel`; None: it runs where the parameters are.

    Returns:
        `evaluate(params, carry, chunks) -> Evaluation`, which equals::

            for chunk in chunks:
                carry, outputs = cell.unroll(params, carry, chunk.inputs)
                loss_sum += sum(chunk.weight * loss(outputs, chunk.targets))
                weight += sum(chunk.weight)

        The carry is the cell's `initial_carry((B,))`, without a key: noise belongs to training. No chunk, or none with
        a target that counts, raises `InputError`.

    Cost:
        Memory of one chunk's forward pass: the score does not depend on the chunk length but for rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn.stepwise import from_step
        >>> from jaxrnn.losses import softmax_cross_entropy
        >>> clueless = from_step(lambda key: {}, lambda shape, key=None: jnp.zeros(shape),
        ...                      lambda params, carry, x: (carry, jnp.zeros((*x.shape, 4))))
        >>> ids = np.zeros((5, 2), np.int32)
        >>> evaluate = make_evaluate(clueless, softmax_cross_entropy)
        >>> score = evaluate({}, clueless.initial_carry((2,)), [Chunk(ids, ids, np.ones((5, 2)))] * 3).score
        >>> score.weight, round(score.bits, 4), round(score.perplexity, 4)
        (30.0, 2.0, 4.0)
    """
    run = chunk_loss(cell, lambda outputs, targets: in_floats(loss(outputs, targets)))
    advance = in_turn(jax.jit(run if mesh is None else by_rows(run, mesh)), mesh)

    def evaluate(params: Params, carry: Carry, chunks: Iterable[Chunk]) -> Evaluation:
        score, protocol, carry = score_chunks(partial(advance, params), carry, chunks, CARRY)
        return Evaluation(score, protocol, carry)

    return evaluate


def in_floats(losses: Array) -> Array:
    """Make floats of what a loss gives as truth values or whole numbers, such as errors, so that weights may be floats.

    Args:
        losses: `[K, B]`.

    Returns:
        The same, if they are floats.

    Example:
        >>> import jax.numpy as jnp
        >>> in_floats(jnp.array([True, False])).tolist()
        [1.0, 0.0]
    """
    return losses if is_float(losses) else losses.astype(float)


def score_chunks(
    advance: Callable[[Any, Chunk], tuple[Any, tuple[Array, Any]]],
    state: Any,
    chunks: Iterable[Chunk],
    about_carry: str,
) -> tuple[Score, Protocol, Any]:
    """Add up what chunks that follow one another cost, and keep account of their targets.

    Args:
        advance: `(state, chunk) -> (state, (loss_sum [], ...))`.
        state: the first state.
        chunks: the text.
        about_carry: what becomes of the carry, for the protocol.

    Returns:
        The score, how it was measured, and the last state.

    Raises:
        InputError: if there is no target.

    Example:
        >>> advance = lambda number, chunk: (number + 1, (np.float32(2), None))
        >>> chunks = [Chunk(None, None, np.ones((3, 2)))] * 4
        >>> score, protocol, number = score_chunks(advance, 0, chunks, about_carry="counts the chunks")
        >>> score, protocol.targets, number
        (Score(loss_sum=8.0, weight=24.0), 24, 4)
    """
    several = "several, one after another, such as [chunk]"
    require(not isinstance(chunks, Chunk), "evaluation: chunks", "a single Chunk", several)
    sums, weight, targets, places, streams = [], 0.0, 0, 0, 0
    for chunk in chunks:
        state, (loss_sum, _) = advance(state, chunk)
        sums.append(loss_sum)
        weights = np.asarray(chunk.weight)
        weight += float(np.sum(weights, dtype=np.float64))
        targets += int(np.count_nonzero(weights))
        places += weights.size
        streams = weights.shape[1]
    require(weight > 0, "evaluation: the number of targets", targets, "more than 0: give a longer text")
    # Read here, all at once, so that one device never waits; added exactly, whatever the number of chunks.
    score = Score(math.fsum(float(part) for part in jax.device_get(sums)), weight)
    return score, Protocol(streams, about_carry, f"{places - targets} places of padding", targets), state
