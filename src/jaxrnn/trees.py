"""Carries as trees: the float leaves that carry credit, and the integer and key leaves that carry noise."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.types import Carry


def is_float(leaf: Any) -> bool:
    """Tell whether a leaf has a cotangent: true for floating dtypes, false for integers, booleans and random keys."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def is_key(leaf: Any) -> bool:
    """Tell whether a leaf is an array of typed random keys."""
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


def split_carry(carry: Carry) -> tuple[Carry, Carry]:
    """Split a tree into its float leaves and all others.

    Resets, gates, norms and cotangents concern the float leaves only; counters and random keys go beside them.

    Args:
        carry: any tree of arrays.

    Returns:
        Two trees of the same structure, `(floats, others)`, each with None where the other has the leaf.

    Example:
        >>> split_carry((jnp.ones(2), jnp.arange(2)))
        ((Array([1., 1.], dtype=float32), None), (None, Array([0, 1], dtype=int32)))
    """
    floats = jax.tree.map(lambda leaf: leaf if is_float(leaf) else None, carry)
    others = jax.tree.map(lambda leaf: None if is_float(leaf) else leaf, carry)
    return floats, others


def join_carry(floats: Carry, others: Carry) -> Carry:
    """Undo `split_carry`.

    Args:
        floats: a tree with None in the place of every leaf that is not a float.
        others: a tree of the same structure with the remaining leaves.

    Returns:
        The tree with all its leaves.

    Example:
        >>> join_carry(*split_carry({"h": jnp.zeros(1), "count": jnp.array(3)}))["count"].item()
        3
    """
    return jax.tree.map(lambda a, b: b if a is None else a, floats, others, is_leaf=lambda node: node is None)


def renew_keys(carry: Carry) -> Carry:
    """Derive the next random key from every key leaf; all other leaves stay.

    A noisy cell draws with `fold_in(key, count)` and counts from 1, so that `fold_in(key, 0)` is free to be the next
    key of the chain: renewing needs no further key, and each row goes on by itself wherever it is computed.

    Args:
        carry: a carry; its key leaves are typed keys of any shape.

    Returns:
        The carry with new keys.

    Example:
        >>> key = jax.random.key(0)
        >>> bool(jnp.all(renew_keys((key, 1.0))[0] == jax.random.fold_in(key, 0)))
        True
    """

    def renew(leaf):
        if not is_key(leaf):
            return leaf
        flat = jax.vmap(lambda key: jax.random.fold_in(key, 0))(leaf.reshape(-1))
        return flat.reshape(leaf.shape)

    return jax.tree.map(renew, carry)
