"""The gradient gate: a carry goes through as it is; what comes back through time is weighed, stopped or clipped."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxrnn.choices import is_number, require
from jaxrnn.errors import expect
from jaxrnn.shapes import along, product_or_zero
from jaxrnn.sums import norm
from jaxrnn.trees import join, split_carry
from jaxrnn.types import Array, Carry


def gate(carry: Carry, weight: Any = 1.0, *, clip_norm: float | None = None) -> Carry:
    """Pass a carry on unchanged, and in the backward pass multiply its cotangent by a weight.

    Forward the identity. Backward, row by row, for the cotangent g of all float leaves together::

        g = g * min(1, clip_norm / norm(g))       # with a clip_norm; a row that is not finite is stopped
        g = weight * g if weight != 0 else 0      # 0 stops even an infinite cotangent

    A gate at the start of every piece of a sequence is one mechanism for many rules: weight 1 is full backpropagation,
    0 is truncation (equal to `stop_gradient`), 0 or 1/(1-c) at random is ARTBP. The gate saves no memory by itself.

    Args:
        carry: float leaves `[B, ...]`; integer and key leaves have no cotangent and go beside.
        weight: `[]` or `[B]`. It is data: nothing is differentiated with respect to it.
        clip_norm: the greatest norm that a row's cotangent may have; None for no limit.

    Returns:
        The carry.

    Raises:
        InputError: if `clip_norm` is not above 0.
        AssertionError: (from chex) for weights of another shape.

    References:
        C. Tallec, Y. Ollivier, "Unbiasing Truncated Backpropagation Through Time", arXiv:1705.08209 (weights).
        R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013
        (clipping by the norm; there of the whole gradient).

    Example:
        >>> slope = jax.grad(lambda h: jnp.sum(3 * gate(h, jnp.array([0.0, 2.0]))))
        >>> slope(jnp.ones((2, 1))).ravel().tolist()
        [0.0, 6.0]
        >>> jax.grad(lambda h: jnp.sum(3 * gate(h, clip_norm=1.0)))(jnp.ones((2, 1))).ravel().tolist()
        [1.0, 1.0]
    """
    positive = clip_norm is None or (is_number(clip_norm) and clip_norm > 0)
    require(positive, "gate: clip_norm", clip_norm, "above 0, or None for no limit")
    floats, others = split_carry(carry)
    weight = jnp.asarray(weight, float)
    for leaf in jax.tree.leaves(floats):
        expect("gate: weight must be [] or [B]", chex.assert_shape, weight, leaf.shape[: min(weight.ndim, 1)])
    floats = _weigh(floats, weight)
    if clip_norm is not None and jax.tree.leaves(floats):
        floats = _clip(floats, jnp.asarray(clip_norm, float))
    return join(floats, others)


def stop(carry: Carry) -> Carry:
    """`stop_gradient` on the float leaves of a carry: the definition of truncation.

    Args:
        carry: any carry.

    Returns:
        The same values; no credit flows back through them.

    Example:
        >>> jax.grad(lambda h: jnp.sum(h * stop(h)))(jnp.array([2.0])).tolist()
        [2.0]
    """
    floats, others = split_carry(carry)
    return join(jax.lax.stop_gradient(floats), others)


@jax.custom_vjp
def _weigh(floats: Carry, weight: Array) -> Carry:
    """The identity; the cotangent of each row is multiplied by its weight, or stopped."""
    del weight
    return floats


def _weigh_backward(weight, cotangent):
    return jax.tree.map(lambda g: product_or_zero(along(weight, g), g), cotangent), jnp.zeros_like(weight)


_weigh.defvjp(lambda floats, weight: (floats, weight), _weigh_backward)


@jax.custom_vjp
def _clip(floats: Carry, limit: Array) -> Carry:
    """The identity; the cotangent of each row gets at most the norm of the limit."""
    del limit
    return floats


def _clip_backward(limit, cotangent):
    return jax.vmap(_shorten, in_axes=(0, None))(cotangent, limit), jnp.zeros_like(limit)


def _shorten(row: Carry, limit: Array) -> Carry:
    """One row's cotangent with at most the given norm; zeros if it is not finite, for then it has no direction."""
    top = jnp.max(jnp.stack([jnp.max(jnp.abs(g), initial=0).astype(limit.dtype) for g in jax.tree.leaves(row)]))
    # Squares of exploded numbers overflow: the norm is taken of the row over its largest entry, so it is at least 1.
    unit = jax.tree.map(lambda g: g / jnp.where(top == 0, jnp.ones_like(top), top).astype(g.dtype), row)
    length = jnp.maximum(norm(unit), 1).astype(limit.dtype)

    def one(g, u):
        shorter = jnp.where(length * top > limit, u * (limit / length).astype(g.dtype), g)
        return jnp.where(jnp.isfinite(top), shorter, jnp.zeros_like(g))

    return jax.tree.map(one, row, unit)


_clip.defvjp(lambda floats, limit: (floats, limit), _clip_backward)
