"""Full backpropagation through time in less memory: activations are computed again, segment by segment."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax

from jaxrnn.cell import Cell
from jaxrnn.choices import is_whole, require
from jaxrnn.errors import InputError
from jaxrnn.gradients.base import GradientEstimator, check_chunk
from jaxrnn.gradients.budget import plan, read_bytes, shapes
from jaxrnn.gradients.segments import ChunkLoss, chunk_loss, renewing, reverse_mode, segmented
from jaxrnn.types import Loss


def checkpointed_bptt(
    cell: Cell,
    loss: Loss,
    *,
    segment_length: int | Sequence[int] | None = None,
    memory: int | str | None = None,
) -> GradientEstimator:
    """Make the estimator that gives the exact gradient of the chunk and keeps only the carry at each segment's start.

    Forward, segment by segment, only carries are kept. Backward, last segment first, each segment is run again from its
    carry and differentiated, and the carry's cotangent is handed to the segment before it.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        segment_length: C, time steps recomputed at a time; need not divide the chunk. Or several, the longest first,
            for segments within segments.
        memory: instead of it, a budget for the temporaries of the compiled program, in bytes or as in "64MiB". The
            segments are then as long, and nested as little, as the compiler says will fit (`jaxrnn.gradients.budget`);
            where the whole chunk fits, nothing is recomputed.

    Returns:
        The estimator; its state is the carry. Exact within the chunk, to rounding.

    Raises:
        InputError: if there is not exactly one of segment length and memory, or one that is no such thing; from
            `estimate`, as soon as it is traced, if the budget is too small for the chunk.

    Cost:
        The forward pass twice, by count about 1.33 times the work of `bptt` (`benchmarks.long_sequence` measures the
        time), and once more for each further level. Memory of `K / C` carries and the intermediates of C steps: least
        at `C = sqrt(K b_c / b_r)`, with b_c bytes a carry and b_r bytes kept a step. With L levels, about
        `L (K / C)^(1/L)` carries. A budget costs a few compilations for each new shape.

    References:
        T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174,
        section 3.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients.base import Chunk
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((100, 2, 3)), jnp.zeros((100, 2, 4)), jnp.ones((100, 2)))
        >>> estimator = checkpointed_bptt(cell, squared_error, segment_length=10)
        >>> estimate, state = estimator.estimate(params, estimator.init(jax.random.key(1), params, carry, chunk), chunk)
        >>> float(estimate.weight)
        200.0
        >>> tiny = checkpointed_bptt(cell, squared_error, memory="100B")
        >>> tiny.estimate(params, state, chunk)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: checkpointed_bptt: memory (gradient.memory) is 100 bytes, ... of ... bytes works
    """
    run = chunk_loss(cell, loss)
    if (segment_length is None) == (memory is None):
        raise InputError("checkpointed_bptt: give a segment_length or a memory budget, and not both")
    if memory is not None:
        return renewing(_within_budget(run, read_bytes(memory)))
    return renewing(reverse_mode(recomputed(run, read_lengths("checkpointed_bptt", segment_length))))


def read_lengths(rule: str, segment_length: Any) -> Sequence[int]:
    """Read the length of segments, or of segments within segments.

    Args:
        rule: who asks, for the refusal.
        segment_length: one length or several, in time steps.

    Returns:
        One or more.

    Raises:
        InputError: if there is none, or one that is no whole number or below 1.
    """
    lengths = segment_length if isinstance(segment_length, Sequence) else [segment_length]
    good = len(lengths) > 0 and all(is_whole(length) for length in lengths)
    whole = "a whole number of time steps, at least 1, or several"
    require(good, f"{rule}: segment_length", segment_length, whole)
    return lengths


def recomputed(run: ChunkLoss, lengths: Sequence[int]) -> ChunkLoss:
    """Cut a chunk's loss into segments within segments that are computed again when it is differentiated.

    Args:
        run: the loss.
        lengths: of the segments, in time steps, the longest first; none for no cut.

    Returns:
        The same loss.
    """
    # Inside a scan there is nothing to fear from common subexpressions, and the barriers against them cost time.
    within = partial(jax.checkpoint, prevent_cse=False)
    for length in reversed(lengths):
        run = segmented(run, length, within=within)
    return run


def _within_budget(run: ChunkLoss, budget: int) -> GradientEstimator:
    """The estimator that plans its segments when it sees the shapes, once for each."""

    def recomputing(lengths):
        return reverse_mode(recomputed(run, lengths))

    @cache
    def planned(structure, leaves) -> tuple[int, ...]:
        return plan(run, recomputing, *jax.tree.unflatten(structure, leaves), budget=budget)

    # `init` plans nothing: it may be asked for all rows, where each device is to run its own ones only.
    def estimate(params, state, chunk):
        check_chunk(chunk)
        leaves, structure = jax.tree.flatten(shapes((params, state.carry, chunk)))
        fitted = recomputing(planned(structure, tuple(leaves)))
        return fitted.estimate(params, state, chunk)

    return recomputing(())._replace(estimate=estimate)
