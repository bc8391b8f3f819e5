"""What a symbol costs by how much of the text the model has read since its carry was last reset."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn.cell import Cell
from jaxrnn.choices import is_whole, require
from jaxrnn.evaluation import Score
from jaxrnn.gradients.base import Chunk
from jaxrnn.marks import begin_where, marks_of
from jaxrnn.types import Carry, Loss, Marked, Params


class Stretch(NamedTuple):
    """The targets whose contexts are of some lengths.

    Attributes:
        first: the shortest, in symbols read since the reset, that of the step itself included.
        last: the longest.
        score: what they cost; of weight 0 where there are none.
    """

    first: int
    last: int
    score: Score


def make_cost_by_context(cell: Cell, loss: Loss) -> Callable[..., list[Stretch]]:
    """Make the function that scores a text, and keeps the scores of different lengths of context apart.

    Args:
        cell: the model.
        loss: as for `jaxrnn.evaluation.make_evaluate`.

    Returns:
        `cost(params, carry, chunks, lasts) -> [Stretch]`. `lasts` are the ends of the stretches, such as
        `doubling(256)`; what lies beyond the last of them is not counted. In each row::

            read = 0                                    # at the start, which is from the initial carry
            for t in range(T):
                read = (0 if reset[t] else read) + keep[t]      # marks in the inputs, if any: see `reset_every`
                carry, output = cell.step(params, carry, inputs[t])
                loss_sum[stretch of read] += weight[t] * loss(output, targets[t])

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn.stepwise import from_step
        >>> from jaxrnn.losses import softmax_cross_entropy
        >>> counter = from_step(lambda key: {}, lambda shape, key=None: jnp.zeros(shape),   # surer with every step
        ...                     lambda params, n, x: (n + 1, (n + 1)[..., None] * jax.nn.one_hot(x, 4)))
        >>> ids = np.zeros((8, 2), np.int32)
        >>> chunks = reset_every([Chunk(ids, ids, np.ones((8, 2)))], 4)
        >>> cost = make_cost_by_context(counter, softmax_cross_entropy)
        >>> [(s.first, s.last, s.score.weight, round(s.score.nats, 2))
        ...  for s in cost({}, counter.initial_carry((2,)), chunks, doubling(4))]
        [(1, 1, 4.0, 0.74), (2, 2, 4.0, 0.34), (3, 4, 8.0, 0.1)]
    """

    @jax.jit
    def advance(params, carry, chunk):
        carry, outputs = cell.unroll(params, carry, chunk.inputs)
        return carry, loss(outputs, chunk.targets)

    def cost(params: Params, carry: Carry, chunks: Iterable[Chunk], lasts: Sequence[int]) -> list[Stretch]:
        ends = np.asarray(lasts)
        require(ends.size and ends[0] >= 1 and np.all(np.diff(ends) > 0), "context: lasts", lasts, "rising, from 1")
        sums, weights, read = np.zeros(len(ends) + 1), np.zeros(len(ends) + 1), 0
        for chunk in chunks:
            carry, losses = advance(params, carry, chunk)
            positions = _positions(read, chunk)
            read = positions[-1]
            stretch, weight = np.searchsorted(ends, positions), np.asarray(chunk.weight, np.float64)
            weighed = np.where(weight > 0, weight * np.asarray(losses, np.float64), 0.0)
            sums += np.bincount(stretch.ravel(), weighed.ravel(), len(sums))
            weights += np.bincount(stretch.ravel(), weight.ravel(), len(sums))
        firsts = [1, *(end + 1 for end in lasts[:-1])]
        pairs = zip(sums[:-1].tolist(), weights[:-1].tolist(), strict=True)
        return [Stretch(first, last, Score(*pair)) for first, last, pair in zip(firsts, lasts, pairs, strict=True)]

    return cost


def _positions(read: Any, chunk: Chunk) -> np.ndarray:
    """How many symbols each step `[K, B]` has read since the reset, if so many had been before the chunk."""
    reset, keep = marks_of(chunk.inputs)
    kept = np.ones(chunk.weight.shape, int) if keep is None else np.asarray(keep, int)
    count = np.cumsum(kept, axis=0)
    if reset is None:
        return read + count
    forgotten = np.where(np.asarray(reset), count - kept, -read)  # of those counted, and minus those from before
    return count - np.maximum.accumulate(forgotten, axis=0)


def doubling(longest: int) -> list[int]:
    """Ends of stretches that double: 1, 2, 4, 8, ..., and the longest context itself.

    Args:
        longest: the longest context.

    Returns:
        The ends.

    Example:
        >>> doubling(20)
        [1, 2, 4, 8, 16, 20]
    """
    require(is_whole(longest), "context: the longest", longest, "a whole number, at least 1")
    return [2**power for power in range((longest - 1).bit_length())] + [longest]


def reset_every(chunks: Iterable[Chunk], steps: int) -> Iterator[Chunk]:
    """Mark chunks so that every row starts anew each so many steps, whatever the length of a chunk.

    Args:
        chunks: one after another, with plain inputs.
        steps: between two resets.

    Yields:
        The chunks with `Marked` inputs.

    Raises:
        InputError: when the first chunk is asked for, if `steps` is no whole number of at least 1.

    Example:
        >>> ids = np.zeros((3, 1), np.int32)
        >>> marked = reset_every([Chunk(ids, ids, np.ones((3, 1)))] * 2, 2)
        >>> [chunk.inputs.reset[:, 0].tolist() for chunk in marked]
        [[True, False, True], [False, True, False]]
    """
    require(is_whole(steps), "context: steps", steps, "a whole number, at least 1")
    t = 0
    for chunk in chunks:
        length, rows = chunk.weight.shape
        starts = (t + np.arange(length)) % steps == 0
        reset: Any = np.broadcast_to(starts[:, None], (length, rows))
        yield chunk._replace(inputs=Marked(chunk.inputs, reset=reset))
        t += length


def reset_at(chunks: Iterable[Chunk], symbol: int) -> Iterator[Chunk]:
    """Mark chunks so that a row starts anew before each such symbol, beside the marks that they have.

    Args:
        chunks: one after another, of ids, plain or `Marked`.
        symbol: its id.

    Yields:
        The chunks with `Marked` inputs.

    Example:
        >>> ids = np.array([[7], [0], [7]])
        >>> [marked] = reset_at([Chunk(ids, ids, np.ones((3, 1)))], 0)
        >>> marked.inputs.reset[:, 0].tolist()
        [False, True, False]
    """
    for chunk in chunks:
        yield chunk._replace(inputs=begin_where(lambda ids: ids == symbol, chunk.inputs))
