"""Sums over many numbers: what to add them up in and how, and the norm of a tree."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxrnn.types import Array


def sum_dtype(dtype: Any) -> Any:
    """Choose what to add up many numbers in: in bfloat16, 256 + 1 is 256.

    Args:
        dtype: that of the numbers.

    Returns:
        The same, but float32 for a narrower float.

    Example:
        >>> [sum_dtype(jnp.dtype(name)).name for name in ("bfloat16", "float16", "float64", "int32")]
        ['float32', 'float32', 'float64', 'int32']
    """
    narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32) if narrow else dtype


def widened(tree: Any) -> Any:
    """Bring arrays to the dtype in which many of their like are added up.

    Args:
        tree: arrays, of JAX or NumPy, or Python's own numbers.

    Returns:
        The same numbers, those of narrow floats in float32; `optax.tree.cast_like` brings them back.

    Example:
        >>> widened(jnp.ones(2, jnp.bfloat16)).dtype.name
        'float32'
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, sum_dtype(jnp.result_type(leaf))), tree)


def added(total: Any, part: Any) -> Any:
    """Add to a sum, in the dtypes of the sum.

    Args:
        total: arrays.
        part: arrays of the same shapes, which may be narrower.

    Returns:
        The sum.

    Example:
        >>> added(jnp.float32(256), jnp.bfloat16(1)).item()
        257.0
    """
    return jax.tree.map(lambda a, b: a + b.astype(a.dtype), total, part)


def norm(tree: Any) -> Array:
    """The length of all arrays of a tree as one vector: the root of the sum of all squares.

    Args:
        tree: arrays of floats.

    Returns:
        `[]`, in float32 at least: the square of 256 is more than float16 holds.

    Example:
        >>> norm({"w": jnp.full(4, 300, jnp.float16)}).item()
        600.0
    """
    return optax.tree.norm(widened(tree))
