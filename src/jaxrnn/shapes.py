"""Broadcasting said aloud, and shape errors that name the argument."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxrnn.choices import is_whole, require
from jaxrnn.errors import InputError, expect
from jaxrnn.types import Array, Params


def spread(b: Array, z: Array) -> Array:
    """Give `b` leading axes of length one, so that it adds to `z` along z's last axes.

    Args:
        b: `[H]`, or any array of fewer axes than `z`.
        z: `[..., H]`.

    Returns:
        `[1, ..., 1, H]`, as many axes as `z`.

    Example:
        >>> spread(jnp.ones(4), jnp.ones((2, 3, 4))).shape
        (1, 1, 4)
    """
    return jnp.expand_dims(b, tuple(range(z.ndim - b.ndim)))


def along(row: Array, a: Array) -> Array:
    """Give `row` trailing axes of length one, so that it multiplies `a` along its first axes.

    Args:
        row: `[*batch]`.
        a: `[*batch, ...]`.

    Returns:
        `[*batch, 1, ...]`, as many axes as `a`, in its dtype.

    Example:
        >>> along(jnp.ones(2), jnp.ones((2, 3, 4))).shape
        (2, 1, 1)
    """
    return _as_long(row, a).astype(a.dtype)


def product_or_zero(factor: Array, a: Array) -> Array:
    """Multiply, but give 0 wherever the factor is 0: what a reset or a gate has cut off may be infinite.

    Args:
        factor: an array.
        a: another, of as many axes.

    Returns:
        Their product.

    Example:
        >>> product_or_zero(jnp.array([0.0, 2.0]), jnp.array([jnp.inf, 3.0])).tolist()
        [0.0, 6.0]
    """
    return jnp.where(factor == 0, jnp.zeros_like(a), factor * a)


def choose(mask: Array, a: Array, b: Array) -> Array:
    """Take `a` where the mask of leading axes is true, else `b`, bit for bit.

    A `where` and never a product: zero times an infinite value would be NaN.

    Args:
        mask: bool `[*batch]`.
        a: `[*batch, ...]`.
        b: `[*batch, ...]`, same shape as `a`.

    Returns:
        `[*batch, ...]`.

    Example:
        >>> choose(jnp.array([True, False]), jnp.ones((2, 2)), jnp.zeros((2, 2))).tolist()
        [[1.0, 1.0], [0.0, 0.0]]
    """
    return jnp.where(_as_long(mask, a), a, b)


@jax.custom_jvp
def credit_where(mask: Array, a: Array) -> Array:
    """Let values through as they are, and derivatives only where the mask of leading axes is true, else zeros.

    Where it is false, `a` may hold anything, and so may what comes back to it.

    Args:
        mask: bool `[*batch]`.
        a: `[*batch, ...]`.

    Returns:
        `a`.

    Cost:
        None forwards, where `choose` would copy `a`.

    Example:
        >>> jax.grad(lambda a: credit_where(jnp.array([True, False]), a).sum())(jnp.array([1.0, jnp.nan])).tolist()
        [1.0, 0.0]
    """
    del mask
    return a


@credit_where.defjvp
def _credit_where_jvp(primals, tangents):
    (mask, a), (_, d_a) = primals, tangents
    return a, choose(mask, d_a, jnp.zeros_like(d_a))


def _as_long(row: Array, a: Array) -> Array:
    """`row` with as many axes as `a`."""
    return jnp.expand_dims(row, tuple(range(row.ndim, a.ndim)))


def check_sizes(name: str, **sizes: Any) -> None:
    """Refuse sizes that are not whole numbers of at least 1.

    Args:
        name: what they are the sizes of.
        **sizes: by the names of the arguments.

    Raises:
        InputError: naming the argument, with its value.

    Example:
        >>> check_sizes("lstm", input_size=3, hidden_size=0)
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: lstm: hidden_size is 0; it must be a whole number, at least 1
    """
    for argument, size in sizes.items():
        require(is_whole(size), f"{name}: {argument}", size, "a whole number, at least 1")


def check_last_axis(name: str, x: Any, size: int) -> None:
    """Refuse an input whose last axis does not have the size that a cell was built for.

    Args:
        name: how the caller knows the argument, with its shape, such as "lstm: x [*batch, I]".
        x: the argument.
        size: the size expected.

    Raises:
        AssertionError: (from chex) naming the argument, the shape expected and the shape found.

    Example:
        >>> check_last_axis("lstm: x [*batch, I]", jnp.ones((2, 3)), 3)
    """
    expect(f"{name} must end in an axis of size {size}", chex.assert_shape, x, (..., size))


def check_params(name: str, params: Params, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse parameters of another cell: those of this one must be there, and have its shapes.

    Args:
        name: of the cell.
        params: the parameters; there may be others among them.
        shapes: of the cell's own, by their names.

    Raises:
        InputError: naming the first that does not fit.

    Example:
        >>> check_params("dense", {"w": jnp.ones((3, 2))}, {"w": (3, 4)})
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: dense: params['w'] is [3, 2]; expected [3, 4], as init makes it
    """
    for key, expected in shapes.items():
        found = params.get(key) if isinstance(params, Mapping) else None
        shape = "missing" if found is None else list(jnp.shape(found))
        if shape != list(expected):
            raise InputError(f"{name}: params[{key!r}] is {shape}; expected {list(expected)}, as init makes it")


def is_float_dtype(dtype: Any) -> bool:
    """Tell whether something is a float dtype, or the name of one.

    Args:
        dtype: anything.

    Returns:
        True or False.

    Example:
        >>> is_float_dtype("bfloat16"), is_float_dtype(int), is_float_dtype("bf16")
        (True, False, False)
    """
    try:
        return bool(jnp.issubdtype(jnp.dtype(dtype), jnp.floating))
    except TypeError:
        return False
