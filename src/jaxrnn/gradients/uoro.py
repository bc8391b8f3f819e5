"""Unbiased online recurrent optimization: the influence as one random product of two vectors."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

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
from jaxrnn.sums import norm
from jaxrnn.trees import check_threefry, end_to_end, split_carry
from jaxrnn.types import Array, Loss, Params

EPSILON = 1e-7  # keeps the two ratios finite; it changes the variance, never the mean


class RankOne(NamedTuple):
    """The influence of the parameters on the carry, `dh/dparams ~ s theta`, for each row.

    Attributes:
        key: typed keys `[B]`, from which the signs are drawn.
        steps: int32 `[B]`, how many were taken.
        s: `[B, n]`.
        theta: like the parameters, `[B, ...]`; None for those that do not reach the carry.
    """

    key: Array
    steps: Array
    s: Array
    theta: Params


def random_signs(key: Array, steps: Array, size: int) -> Array:
    """Draw the signs of one row and step, each -1 or 1 with equal probability.

    Args:
        key: the row's key `[]`.
        steps: the row's steps so far `[]`.
        size: n.

    Returns:
        int `[n]`.

    Example:
        >>> sorted(set(random_signs(jax.random.key(0), jnp.array(0), 100).tolist()))
        [-1, 1]
    """
    return jax.random.rademacher(jax.random.fold_in(key, steps), (size,))


def uoro(cell: Cell, loss: Loss, *, draw: Callable[[Array, Array, int], Array] = random_signs) -> GradientEstimator:
    """Make the estimator that carries, in the place of the whole influence, a random one of rank one with that mean.

    For each row, with h all float leaves of the carry end to end, `J = dh'/dh`, `D = dh'/dparams` of one step, and nu
    random signs::

        grads += dl_t/dparams + (dl_t/dh s) theta
        r_0 = sqrt(|theta| / |J s|)                     # these two lessen the variance
        r_1 = sqrt(|nu D| / |nu|)
        s     = r_0 J s     + r_1 nu
        theta = theta / r_0 + nu D / r_1                # where J s is 0, as after a reset, the past is dropped

    As `E[nu nu^T] = 1` and the signs of different steps are independent, `E[s theta]` is the influence of `rtrl` at
    every step, and so the gradient has the right mean: over all ways to draw the signs, at frozen parameters, it equals
    that of `bptt` over the whole past. The influence goes from chunk to chunk.

    **When not to use it**: where the sequence can be stored, for `bptt` and `checkpointed_bptt` have no variance at
    all, and `truncated_bptt` with even a short horizon is mostly the better bargain. The variance grows with n and with
    the length of the memory. It is a baseline for unbiased online learning, and wants small rates and many rows.

    Args:
        cell: any cell, of any number of layers.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        draw: `(key [], steps [], n) -> [n]`, independent numbers of mean 0 and variance 1, symmetric about 0.

    Returns:
        The estimator. Its state holds `RankOne`. Unbiased while the parameters stay.

    Raises:
        InputError: (from `init` and `estimate`) for a chunk without a step; (from `init`) for a key that is no typed
            one of threefry.

    Cost:
        With n numbers in a row's carry and P parameters that reach it: memory B (P + n), and for each step about three
        times the compute of one of `bptt`, ten times that of a step forwards; both free of T.

    References:
        C. Tallec, Y. Ollivier, "Unbiased Online Recurrent Optimization", ICLR 2018, arXiv:1702.05043, algorithm 1.

    Example:
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients import Chunk
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((6, 2, 3)), jnp.zeros((6, 2, 4)), jnp.ones((6, 2)))
        >>> estimator = uoro(cell, squared_error)
        >>> state = estimator.init(jax.random.key(1), params, carry, chunk)
        >>> estimate, state = estimator.estimate(params, state, chunk)
        >>> state.influence.s.shape, state.influence.theta["w_hh"].shape, state.influence.steps.tolist()
        ((2, 4), (2, 4, 4), [6, 6])
    """

    def start(key, params, carry, x):
        check_threefry("uoro: key", key)
        rows = rows_of(x)
        h = end_to_end(split_carry(carry)[0], rows)
        reaching = influencing(cell, params, carry, x)
        theta = jax.tree.map(lambda p: jnp.zeros((rows, *jnp.shape(p)), jnp.result_type(p)), reaching)
        return RankOne(jax.random.split(key, rows), jnp.zeros(rows, jnp.int32), jnp.zeros_like(h), theta)

    def credit(d_carry, influence):
        d_h = end_to_end(d_carry, influence.s.shape[0])
        share = jnp.sum(product_or_zero(d_h, influence.s), axis=1)
        return jax.tree.map(lambda th: jnp.sum(product_or_zero(along(share, th), th), axis=0), influence.theta)

    def advance(params, carry, x, influence):
        params, others = followed(params, influence.theta)

        def one_row(carry, x, influence):
            key, steps, s, theta = influence
            h, step = row_step(cell.step, params, others, carry, x)
            nu = draw(key, steps, h.size).astype(h.dtype)
            _, pushed = jax.jvp(partial(step, params), (h,), (s,))
            (pulled,) = jax.vjp(lambda params: step(params, h), params)[1](nu)
            past = jnp.any(pushed != 0)  # else nothing of it reaches on, as after a reset, be it infinite
            r_0, r_1 = jnp.where(past, _balance(theta, pushed), 1), _balance(pulled, nu)
            theta = jax.tree.map(lambda th, d: (jnp.where(past, th / r_0, 0) + d / r_1).astype(th.dtype), theta, pulled)
            return RankOne(key, steps + 1, r_0 * pushed + r_1 * nu, theta)

        return map_rows(one_row, carry, x, influence)

    return forward_mode(cell, loss, OnlineRule(start, credit, advance))


def _balance(params: Params, state: Array) -> Array:
    """The factor that makes the two sides of a product equally long."""
    return jnp.sqrt((norm(params) + EPSILON) / (norm(state) + EPSILON)).astype(state.dtype)
