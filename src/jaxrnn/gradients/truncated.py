"""Truncated backpropagation through time: credit flows back over a limited horizon."""

from collections.abc import Callable
from typing import Any

from jaxrnn.cell import Cell
from jaxrnn.errors import InputError
from jaxrnn.gradients.accumulate import accumulate
from jaxrnn.gradients.base import GradientEstimator
from jaxrnn.gradients.segments import chunk_loss, renewing, reverse_mode
from jaxrnn.types import Array


def truncated_bptt(cell: Cell, loss: Callable[[Any, Any], Array], *, horizon: int) -> GradientEstimator:
    """Make the estimator that cuts the chunk into pieces of `horizon` steps and lets no credit cross a boundary.

    The carry crosses every boundary by value, so the forward pass is that of full BPTT. A loss at offset i of its piece
    reaches back over the lags 0 to i and no further; the pieces' gradients add up to **one** estimate, made with the
    same parameters. (For an update after every piece, feed pieces of that length to `bptt` instead.)

    Its definition, and its oracle in the tests, is `stop_gradient` on the carry at each boundary inside one big
    gradient; taking the gradient of each piece inside a scan gives the same numbers in the memory of one piece.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        horizon: k2, time steps in a piece. Chunks may have any length; the last piece of each may be shorter.

    Returns:
        The estimator; its state is the carry. Biased: of the exact gradient it keeps the lags within a piece.

    Raises:
        InputError: if the horizon is not at least 1.

    Cost:
        Memory of one piece and one gradient, flat in K; the compute of full BPTT.

    References:
        R. J. Williams, J. Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network
        Trajectories", Neural Computation 2(4), 1990.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients.base import Chunk
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((100, 2, 3)), jnp.zeros((100, 2, 4)), jnp.ones((100, 2)))
        >>> estimator = truncated_bptt(cell, squared_error, horizon=10)
        >>> estimate, state = estimator.estimate(params, estimator.init(jax.random.key(1), params, carry, chunk), chunk)
        >>> float(estimate.weight)
        200.0
    """
    if horizon < 1:
        raise InputError(f"truncated_bptt: horizon is {horizon}; expected at least 1 time step")
    return renewing(accumulate(reverse_mode(chunk_loss(cell, loss)), horizon))
