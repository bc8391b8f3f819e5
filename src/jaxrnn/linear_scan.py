"""Recurrences that are linear in their state, `h' = a * h + b`: all steps at once instead of one after the other.

References:
    G. E. Blelloch, "Prefix Sums and Their Applications", CMU-CS-90-190, 1990, section 1.4 (first-order recurrences).
    E. Martin, C. Cundy, "Parallelizing Linear Recurrent Neural Nets Over Sequence Length", ICLR 2018, arXiv:1709.04057.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell
from jaxrnn.lookup import TakesLookup, of_rows
from jaxrnn.marks import marks_of, silence, unmarked
from jaxrnn.products import in_reverse
from jaxrnn.shapes import choose, product_or_zero, spread
from jaxrnn.types import Array, Params, Step


def linear_unroll(cell: Cell, coefficients: Callable[[Params, Any], tuple[Array, Array]]) -> Step:
    """Make the `unroll` of a cell whose step is `h' = a * h + b`, with a and b of the input alone, and output `h'`.

    Args:
        cell: the cell, with a single array as carry. That its step is of this form is not checked.
        coefficients: `(params, z) -> (a, b)`, where `z` is what the cell's `project` makes of its input, `[T, *batch,
            ...]`, and a and b are `[T, *batch, H]`.

    Returns:
        `unroll(params, carry, xs) -> (carry, ys)`, which takes `Marked` inputs, too: a row that starts anew has a = 0,
        and padding a = 1 and b = 0. In reverse mode only.

    Cost:
        See `linear_scan`.

    Example:
        >>> from jaxrnn.cells.layer import derive_layer
        >>> halving = derive_layer("half", (2, 2), lambda key: {}, lambda params, h, x, dot, note: (0.5 * h + x,) * 2,
        ...                        project=lambda params, x: x)
        >>> unroll = linear_unroll(halving, lambda params, x: (jnp.full_like(x, 0.5), x))
        >>> unroll({}, jnp.zeros(2), jnp.ones((3, 2)))[1][:, 0].tolist()
        [1.0, 1.5, 1.75]
    """

    def unroll(params, carry, xs):
        jax.eval_shape(cell.unroll, params, carry, xs)  # it refuses params, carry and inputs that do not fit
        zs = of_rows(in_reverse(cell.recurrence.project), params, xs)
        a, b = coefficients(params, unmarked(zs))
        reset, keep = marks_of(zs)
        if keep is not None:
            a, b = choose(keep, a, jnp.ones_like(a)), choose(keep, b, jnp.zeros_like(b))
        if reset is not None:
            b = choose(reset, a * spread(cell.initial_carry(reset.shape[1:]), a) + b, b)
            a = choose(reset, jnp.zeros_like(a), a)
        hs = linear_scan(a, b, carry.astype(b.dtype))
        return hs[-1] if len(hs) else carry, silence(zs, hs)

    return TakesLookup(unroll)


@jax.custom_vjp
def linear_scan(a: Array, b: Array, h: Array) -> Array:
    """Compute a linear recurrence for all steps at once.

    Equals the loop::

        for t in range(T):
            h = a[t] * h + b[t]
            hs[t] = h

    Two steps, one after the other, are one: `a2 (a1 h + b1) + b2 = (a2 a1) h + (a2 b1 + b2)`. So steps may be joined in
    pairs, these in pairs, and so on (`jax.lax.associative_scan`). Where `a[t]` is 0 nothing comes from before t, even
    if it was infinite; second derivatives take such a zero for a constant. The gradient is a recurrence of the same
    kind, backwards: with `g` the cotangent of `hs`::

        d[t] = g[t] + a[t+1] * d[t+1]                           # of b[t]
        d[t] * h[t-1]                                           # of a[t]

    Args:
        a: `[T, *batch, H]`.
        b: `[T, *batch, H]`.
        h: `[*batch, H]`, before the first step.

    Returns:
        `[T, *batch, H]`, the state after each step. In reverse mode only.

    Cost:
        About 2 T joins each way, each of two products and a sum of `[*batch, H]`, in 2 log2(T) rounds instead of T. The
        gradient keeps `a` and the result.

    Example:
        >>> linear_scan(jnp.array([2.0, 2.0, 0.0]), jnp.array([1.0, 1.0, 1.0]), jnp.array(1.0)).tolist()
        [3.0, 7.0, 1.0]
        >>> jax.grad(lambda h: linear_scan(jnp.array([2.0, 2.0]), jnp.zeros(2), h).sum())(jnp.array(1.0)).item()
        6.0
    """
    return _scan(a, b, h)


def _scan(a: Array, b: Array, h: Array, reverse: bool = False) -> Array:
    """The recurrence, from the last step to the first if wanted."""

    def joined(first, then):
        return product_or_zero(then[0], first[0]), product_or_zero(then[0], first[1]) + then[1]

    factors, terms = jax.lax.associative_scan(joined, (a, b), reverse=reverse)
    return product_or_zero(factors, spread(h, factors)) + terms


def _forward(a, b, h):
    hs = _scan(a, b, h)
    return hs, (a, h, hs)


def _backward(saved, d_hs):
    a, h, hs = saved
    later = jnp.concatenate([a[1:], jnp.zeros_like(a[:1])])
    d = _scan(later, d_hs, jnp.zeros_like(h), reverse=True)
    before = jnp.concatenate([h[None], hs])[:-1]
    return d * before, d, product_or_zero(a[:1], d[:1]).sum(0)


linear_scan.defvjp(_forward, _backward)
