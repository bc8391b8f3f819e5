"""Full backpropagation through time in less memory: activations are computed again, segment by segment."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from jaxrnn.cell import Cell
from jaxrnn.errors import InputError
from jaxrnn.gradients.base import GradientEstimator
from jaxrnn.gradients.segments import chunk_loss, renewing, reverse_mode, segmented
from jaxrnn.types import Array


def checkpointed_bptt(cell: Cell, loss: Callable[[Any, Any], Array], *, segment_length: int) -> GradientEstimator:
    """Make the estimator that gives the exact gradient of the chunk and keeps only the carry at each segment's start.

    Forward, segment by segment, only carries are kept. Backward, last segment first, each segment is run again from its
    carry and differentiated, and the carry's cotangent is handed to the segment before it.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        segment_length: C, time steps recomputed at a time; need not divide the chunk.

    Returns:
        The estimator; its state is the carry. Exact within the chunk, to rounding.

    Raises:
        InputError: if the segment length is not at least 1.

    Cost:
        The forward pass twice, about 1.33 times the time of `bptt`. Memory `K / C` carries and the intermediates of C
        steps: least at `C = sqrt(K b_c / b_r)`, with b_c bytes a carry and b_r bytes kept a step.

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
    """
    if segment_length < 1:
        raise InputError(f"checkpointed_bptt: segment_length is {segment_length}; expected at least 1 time step")
    # Inside a scan there is nothing to fear from common subexpressions, and the barriers against them cost time.
    within = partial(jax.checkpoint, prevent_cse=False)
    return renewing(reverse_mode(segmented(chunk_loss(cell, loss), segment_length, within=within)))
