"""Truncated backpropagation through time: credit flows back over a limited horizon."""

from jaxrnn.cell import Cell
from jaxrnn.choices import is_whole, require
from jaxrnn.gradients.accumulate import accumulate
from jaxrnn.gradients.base import GradientEstimator, check_chunk
from jaxrnn.gradients.replay import ReplayState, empty_past, estimate_with_replay
from jaxrnn.gradients.segments import chunk_loss, renewing, reverse_mode
from jaxrnn.types import Loss


def truncated_bptt(cell: Cell, loss: Loss, *, horizon: int) -> GradientEstimator:
    """Make the estimator whose credit flows back over `horizon` steps (k2), while chunks bring `K` new ones (k1).

    **Not longer than the chunk.** The chunk is cut into pieces of `horizon` steps, and no credit crosses a boundary. A
    loss at offset i of its piece reaches back over the lags 0 to i; the pieces' gradients add up to **one** estimate,
    made with the same parameters. (For an update after every piece, feed pieces of that length to `bptt` instead.)

    **Longer than the chunk.** The losses of the new chunk are differentiated through the last `horizon` steps: past
    chunks are kept in the state and replayed. A loss at offset i of the chunk reaches back over the lags 0 to
    `horizon - K + i`. This is BPTT(h; h') of Williams and Peng, with h = k2 and h' = k1. Where parameters have changed
    since, past chunks are replayed under the new ones, each from the carry that it had.

    Which of the two it is, the chunk given to `init` decides: after one of `horizon` steps or more nothing is replayed,
    and a shorter one that follows keeps the lags within itself.

    The definition, and the oracle in the tests, is `stop_gradient` on the carry at the boundaries inside one big
    gradient; taking gradients piece by piece gives the same numbers in the memory of one piece. The carry crosses every
    boundary by value, so that the forward pass is that of full BPTT.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        horizon: k2, in time steps. Chunks may have any length; those shorter than the horizon must all have the same.

    Returns:
        The estimator; its state is the carry, and for a longer horizon the past. Biased: of the exact gradient it keeps
        the lags above.

    Raises:
        InputError: if the horizon is not a whole number of at least 1; from `estimate`, for a chunk of another length
            than those that are kept for replay, or of other shapes or dtypes.

    Cost:
        Memory of one piece, or one chunk, and one gradient: flat in K, or in the horizon but for the inputs kept. The
        compute of full BPTT, times `horizon / K` for a longer horizon. Where the horizon is no multiple of the chunk,
        the steps of the oldest chunk that are beyond it run forward for nothing.

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
        >>> chunk = Chunk(jnp.ones((10, 2, 3)), jnp.zeros((10, 2, 4)), jnp.ones((10, 2)))
        >>> for horizon in (5, 25):
        ...     estimator = truncated_bptt(cell, squared_error, horizon=horizon)
        ...     state = estimator.init(jax.random.key(1), params, carry, chunk)
        ...     estimate, state = estimator.estimate(params, state, chunk)
        ...     print(float(estimate.weight))
        20.0
        20.0
    """
    require(is_whole(horizon), "truncated_bptt: horizon", horizon, "a whole number of time steps, at least 1")
    run = chunk_loss(cell, loss)
    in_pieces = accumulate(reverse_mode(run), horizon)

    def init(key, params, carry, chunk):
        check_chunk(chunk)
        steps = chunk.weight.shape[0]
        if not 0 < steps < horizon:
            return in_pieces.init(key, params, carry, chunk)
        return ReplayState(carry, empty_past(carry, chunk, -(-(horizon - steps) // steps)))

    def estimate(params, state, chunk):
        if not isinstance(state, ReplayState):
            return in_pieces.estimate(params, state, chunk)
        check_chunk(chunk)
        replays, steps_more = divmod(horizon - chunk.weight.shape[0], max(1, chunk.weight.shape[0]))
        return estimate_with_replay(cell, run, params, state, chunk, replays, steps_more)

    return renewing(GradientEstimator(init, estimate))
