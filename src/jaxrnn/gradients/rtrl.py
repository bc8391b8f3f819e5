"""Real-time recurrent learning: the exact gradient, forward in time."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell
from jaxrnn.gradients.base import GradientEstimator
from jaxrnn.gradients.influence import (
    OnlineRule,
    followed,
    forward_mode,
    influencing,
    map_rows,
    row_step,
    rows_of,
)
from jaxrnn.shapes import along, product_or_zero
from jaxrnn.trees import end_to_end, split_carry
from jaxrnn.types import Array, Loss


def rtrl(cell: Cell, loss: Loss) -> GradientEstimator:
    """Make the estimator that carries the whole influence `S_t = dh_t/dparams` of the parameters on the carry.

    For each row, with h all float leaves of the carry end to end, `J_t = dh_t/dh_{t-1}`, `D_t` the direct derivative
    `dh_t/dparams` of one step, and `l_t` the loss of step t as a function of the parameters and h_{t-1}::

        grads += dl_t/dparams + dl_t/dh_{t-1} S_{t-1}
        S_t = J_t S_{t-1} + D_t

    Nothing is stored but the present, and nothing is truncated: the influence goes from chunk to chunk. Fed with chunks
    of any length it gives, in sum, the gradient that `bptt` gives of the whole sequence. A row that starts anew
    (`Marked`) loses its influence, a row at rest (padding) keeps it. Parameters that cannot reach the carry, such as a
    readout's, have no influence and no memory.

    **When not to use it**: nearly always. It is the oracle of the other rules, and a teacher. Where the sequence fits
    in memory `bptt`, and where it does not `checkpointed_bptt`, give the same gradient at a small part of the cost.
    For cells whose units remember each by itself, such as `jaxrnn.cells.elstm`, `snap1` gives the same gradient for
    the memory of the parameters. With updates inside a sequence, S is made of old parameters and exact of none.

    Args:
        cell: any cell, of any number of layers.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.

    Returns:
        The estimator. Its state holds the influence, `[B, n, ...]` for a parameter `[...]`. Exact since the state was
        made, while the parameters stay.

    Raises:
        InputError: (from `init` and `estimate`) for a chunk without a step.

    Cost:
        With n numbers in a row's carry (2 H for an LSTM) and P parameters that reach it: memory B n P, and for each
        step compute of about B n^2 P, both free of T. For an LSTM with H = I = 64 that is 4.3 million numbers a row.

    References:
        R. J. Williams, D. Zipser, "A Learning Algorithm for Continually Running Fully Recurrent Neural Networks",
        Neural Computation 1(2), 1989, equations 10 to 12.

    Example:
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients import Chunk, bptt
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((6, 2, 3)), jnp.zeros((6, 2, 4)), jnp.ones((6, 2)))
        >>> forward, backward = (make(cell, squared_error) for make in (rtrl, bptt))
        >>> state = forward.init(jax.random.key(1), params, carry, chunk)
        >>> state.influence["w_hh"].shape
        (2, 4, 4, 4)
        >>> first, state = forward.estimate(params, state, jax.tree.map(lambda leaf: leaf[:4], chunk))
        >>> second, state = forward.estimate(params, state, jax.tree.map(lambda leaf: leaf[4:], chunk))
        >>> exact, _ = backward.estimate(params, backward.init(None, params, carry, chunk), chunk)
        >>> bool(jnp.allclose(first.grads["w_hh"] + second.grads["w_hh"], exact.grads["w_hh"], rtol=1e-5))
        True
    """

    def start(key, params, carry, x):
        del key
        h = end_to_end(split_carry(carry)[0], rows_of(x))
        reaching = influencing(cell, params, carry, x)
        return jax.tree.map(lambda p: jnp.zeros((*h.shape, *jnp.shape(p)), h.dtype), reaching)

    def credit(d_carry, influence):
        def one_parameter(s):
            d_h = end_to_end(d_carry, s.shape[0])
            return jnp.sum(product_or_zero(along(d_h, s), s), axis=(0, 1))

        return jax.tree.map(one_parameter, influence)

    def advance(params, carry, x, influence):
        params, others = followed(params, influence)

        def one_row(carry, x, influence):
            h, step = row_step(cell.step, params, others, carry, x)
            direct = jax.jacrev(step)(params, h)
            push = jax.linearize(partial(step, params), h)[1]  # J times a column; a where in the step stays a where
            return jax.tree.map(lambda s, d: _columns(push, s) + d.astype(s.dtype), influence, direct)

        return map_rows(one_row, carry, x, influence)

    return forward_mode(cell, loss, OnlineRule(start, credit, advance))


def _columns(push: Callable[[Array], Array], s: Array) -> Array:
    """Apply a linear map of `[n]` to all columns of `[n, ...]`."""
    return jax.vmap(push, in_axes=1, out_axes=1)(s.reshape(s.shape[0], -1)).reshape(s.shape)
