"""Full backpropagation through time over the chunk."""

from jaxrnn.cell import Cell
from jaxrnn.gradients.base import GradientEstimator
from jaxrnn.gradients.segments import chunk_loss, renewing, reverse_mode
from jaxrnn.types import Loss


def bptt(cell: Cell, loss: Loss) -> GradientEstimator:
    """Make the estimator that unrolls the chunk and differentiates all of it: the exact gradient of the chunk's loss.

    With `h_t = F(h_{t-1}, x_t)` and `lambda_t = dl_t/dh_t + lambda_{t+1} dh_{t+1}/dh_t`, the gradient is
    `sum_t (dl_t/dparams + lambda_t dF_t/dparams)`, where the states are taken as given.

    Fed one whole sequence it is full BPTT. Fed chunk by chunk it is truncated BPTT with k1 = k2 = K: the carry goes on
    by value, credit stops at the chunk's start.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.

    Returns:
        The estimator; its state is the carry. Exact within the chunk.

    Cost:
        Memory grows with K: the carry and the pre-activations of every step, and the outputs. `checkpointed_bptt` gives
        the same gradient in the square root of that.

    References:
        P. J. Werbos, "Backpropagation Through Time: What It Does and How to Do It", Proceedings of the IEEE 78(10),
        1990.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients.base import Chunk
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((5, 2, 3)), jnp.zeros((5, 2, 4)), jnp.ones((5, 2)))
        >>> estimator = bptt(cell, squared_error)
        >>> estimate, state = estimator.estimate(params, estimator.init(jax.random.key(1), params, carry, chunk), chunk)
        >>> float(estimate.weight), estimate.grads["w_hh"].shape
        (10.0, (4, 4))
    """
    return renewing(reverse_mode(chunk_loss(cell, loss)))
