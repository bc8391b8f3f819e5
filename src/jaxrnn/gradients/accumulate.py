"""The sum of an estimator's estimates over parts of a chunk, in the memory of one part."""

import jax

from jaxrnn.choices import is_whole, require
from jaxrnn.gradients.base import GradientEstimator, check_chunk
from jaxrnn.gradients.segments import piece_of, sum_over_pieces


def accumulate(estimator: GradientEstimator, length: int) -> GradientEstimator:
    """Feed a chunk to an estimator in parts, with the same parameters, and add up what it says.

    Equals the loop::

        for part in parts(chunk, length):                  # the last one may be shorter
            estimate, state = estimator.estimate(params, state, part)
            total = total + estimate

    The gradient is taken *inside* the loop over parts, so no part's intermediates outlive it: differentiating the whole
    loop with `stop_gradient` at the boundaries gives the same gradient but keeps every step's values.

    Args:
        estimator: any estimator.
        length: time steps in a part.

    Returns:
        An estimator with the same state; exact or biased as its part is. **Masks are per part**: the given estimator
        takes each part for a chunk, and renews the noise in the carry at its start. So with noise the loss is not that
        of the whole chunk under one key, and a mask that lasts for a chunk lasts for a part.

    Raises:
        InputError: if the length is not a whole number of at least 1; from the result, for weights that are no array
            `[K, B]`. Estimators that replay past chunks (`truncated_bptt` with a horizon longer than the part,
            `adaptive_bptt`) refuse a last part that is shorter: let the length divide the chunk's.
        AssertionError: (from chex, from the result) for inputs or targets that do not begin with the axes of the
            weights.

    Cost:
        Memory of one part and one gradient, whatever K is.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients.base import Chunk
        >>> from jaxrnn.gradients.bptt import bptt
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((5, 2, 3)), jnp.zeros((5, 2, 4)), jnp.ones((5, 2)))
        >>> in_parts = accumulate(bptt(cell, squared_error), 2)
        >>> total, _ = in_parts.estimate(params, in_parts.init(jax.random.key(1), params, carry, chunk), chunk)
        >>> float(total.weight)
        10.0
    """
    require(is_whole(length), "accumulate: length", length, "a whole number of time steps, at least 1")

    def estimate(params, state, chunk):
        check_chunk(chunk)

        def one(state, number, steps):
            estimate, state = estimator.estimate(params, state, piece_of(chunk, number * length, steps))
            return state, estimate

        state, total = sum_over_pieces(one, state, chunk.weight.shape[0], length)
        return total, state

    def init(key, params, carry, chunk):
        check_chunk(chunk)
        part = jax.eval_shape(lambda chunk: jax.tree.map(lambda a: a[:length], chunk), chunk)
        return estimator.init(key, params, carry, part)

    return GradientEstimator(init, estimate)
