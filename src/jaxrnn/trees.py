"""Carries and parameters as trees: float leaves that carry credit, integers and keys that carry noise, and masks."""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxrnn.choices import require
from jaxrnn.errors import expect
from jaxrnn.types import Array, Carry, Params


def is_float(leaf: Any) -> bool:
    """Tell whether a leaf has a cotangent: true for floating dtypes, false for integers, booleans and random keys.

    Args:
        leaf: an array, or anything with a dtype.

    Returns:
        True or False.

    Example:
        >>> is_float(jnp.ones(2)), is_float(jnp.arange(2))
        (True, False)
    """
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def is_key(leaf: Any) -> bool:
    """Tell whether a leaf is an array of typed random keys.

    Args:
        leaf: an array, or anything with a dtype.

    Returns:
        True or False.

    Example:
        >>> is_key(jax.random.key(0)), is_key(jnp.arange(2))
        (True, False)
    """
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


def threefry(seed: int) -> Array:
    """Make a random key of threefry, whatever `jax_default_prng_impl` says.

    Within `vmap`, JAX draws for all keys of `rbg` from the first one: what a row draws would hang on its neighbours.

    Args:
        seed: any whole number.

    Returns:
        `[]`, a typed key.

    Example:
        >>> with jax.default_prng_impl("rbg"):
        ...     bool(jnp.any(jax.random.bits(threefry(0)) != jax.random.bits(jax.random.key(0))))
        True
    """
    return jax.random.key(seed, impl="threefry2x32")


def check_threefry(name: str, key: Any) -> None:
    """Refuse all but a typed key of threefry, of which every row of a batch can have one of its own.

    A key as an array of numbers is not known for one by what renews keys; for `rbg` see `threefry`.

    Args:
        name: of the argument.
        key: what was given.

    Raises:
        InputError: for anything else, such as `jax.random.PRNGKey(0)`.

    Example:
        >>> check_threefry("uoro: key", jax.random.PRNGKey(0))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: uoro: key is dtype('uint32'); it must be a typed key of threefry, such as ...
    """
    typed = hasattr(key, "dtype") and is_key(key) and key.dtype.name == "key<fry>"
    expected = 'a typed key of threefry, such as jax.random.key(0, impl="threefry2x32")'
    require(typed, name, getattr(key, "dtype", type(key)), expected)


def partition(tree: Any, mask: Any) -> tuple[Any, Any]:
    """Split a tree in two by a mask; `join` undoes it.

    Args:
        tree: any tree of arrays.
        mask: a tree of the same structure, of Python booleans.

    Returns:
        Two trees of the same structure, the leaves where the mask is true and the others, each with None where the
        other has the leaf.

    Example:
        >>> partition({"a": 1, "b": 2}, {"a": True, "b": False})
        ({'a': 1, 'b': None}, {'a': None, 'b': 2})
    """
    chosen = jax.tree.map(lambda leaf, m: leaf if m else None, tree, mask)
    others = jax.tree.map(lambda leaf, m: None if m else leaf, tree, mask)
    return chosen, others


def dependencies(function: Callable[[Any], Any], tree: Any) -> Any:
    """Find out which leaves of a tree the result of a function depends on; nothing is computed.

    Calls within the function, such as those of `jax.jit` or `jax.lax.scan`, are not looked into: each of their results
    counts as depending on all of their arguments.

    Args:
        function: `(tree) -> result`, which JAX can trace.
        tree: any tree of arrays.

    Returns:
        A mask like the tree, for `partition`: false where the result does not depend on the leaf.

    Example:
        >>> dependencies(lambda tree: 2.0 * tree["a"], {"a": jnp.ones(2), "b": jnp.ones(3)})
        {'a': True, 'b': False}
    """
    jaxpr = jax.make_jaxpr(function)(tree).jaxpr
    live = {id(var) for var in jaxpr.outvars}
    for equation in reversed(jaxpr.eqns):
        if any(id(var) in live for var in equation.outvars):
            live.update(id(var) for var in equation.invars)
    return jax.tree.unflatten(jax.tree.structure(tree), [id(var) in live for var in jaxpr.invars])


def join(some: Any, others: Any) -> Any:
    """Put together what `partition` or `split_carry` split.

    Args:
        some: a tree with None in places.
        others: a tree of the same structure with the leaves of those places.

    Returns:
        The tree with all its leaves.

    Example:
        >>> join({"a": 1, "b": None}, {"a": None, "b": 2})
        {'a': 1, 'b': 2}
    """
    return jax.tree.map(lambda a, b: b if a is None else a, some, others, is_leaf=lambda node: node is None)


def add_where_present(tree: Any, some: Any) -> Any:
    """Add two trees, of which the second lacks leaves.

    Args:
        tree: any tree of arrays.
        some: a tree of the same structure, with None where there is nothing to add.

    Returns:
        The sum.

    Example:
        >>> add_where_present({"a": 1, "b": 2}, {"a": 10, "b": None})
        {'a': 11, 'b': 2}
    """
    return jax.tree.map(lambda s, a: a if s is None else a + s, some, tree, is_leaf=lambda node: node is None)


def end_to_end(floats: Carry, rows: int) -> Array:
    """Put all floats of each row end to end.

    Args:
        floats: leaves `[B, ...]`.
        rows: B.

    Returns:
        `[B, N]`.

    Example:
        >>> end_to_end((jnp.zeros((1, 2)), jnp.ones((1, 1))), 1).tolist()
        [[0.0, 0.0, 1.0]]
    """
    leaves = jax.tree.leaves(floats)
    return jnp.concatenate([leaf.reshape(rows, -1) for leaf in leaves], axis=1) if leaves else jnp.zeros((rows, 0))


def row_norms(tree: Any, rows: int) -> Array:
    """Measure each row, over all leaves together; the squares of small and of large numbers do no harm.

    Args:
        tree: float leaves `[B, ...]`, or none.
        rows: B.

    Returns:
        `[B]`, the norms, in JAX's default float.

    Example:
        >>> (row_norms([jnp.array([[3e30], [0.0]]), jnp.array([[4e30], [0.0]])], 2) / 1e30).round(3).tolist()
        [5.0, 0.0]
    """
    flat = [jnp.abs(leaf).reshape(rows, -1).astype(float) for leaf in jax.tree.leaves(tree)]
    numbers = jnp.concatenate([jnp.zeros((rows, 0), float), *flat], axis=1)
    top = jnp.max(numbers, axis=1, initial=0)
    usual = (top > 0) & (top < jnp.inf)  # false for NaN, which comes through as it is
    return top * jnp.where(usual, jnp.linalg.norm(numbers / jnp.where(usual, top, 1)[:, None], axis=1), 1)


def split_carry(carry: Carry) -> tuple[Carry, Carry]:
    """Split a carry into its float leaves and all others.

    Resets, gates, norms and cotangents concern the float leaves only; counters and random keys go beside them.

    Args:
        carry: any tree of arrays.

    Returns:
        Two trees of the same structure, `(floats, others)`, each with None where the other has the leaf.

    Example:
        >>> split_carry((jnp.ones(2), jnp.arange(2)))
        ((Array([1., 1.], dtype=float32), None), (None, Array([0, 1], dtype=int32)))
    """
    return partition(carry, jax.tree.map(is_float, carry))


def expect_rows(message: str, carry: Carry, initial_carry: Callable[..., Carry], batch_shape: tuple[int, ...]) -> None:
    """Refuse a carry of other rows than `batch_shape`: what would fit by broadcasting, or take units for rows.

    Args:
        message: what the carry must be.
        carry: only the shapes of its float leaves are asked.
        initial_carry: `(batch_shape) -> carry`; it is not computed.
        batch_shape: the rows that the carry must have.

    Raises:
        AssertionError: beginning with the message.

    Example:
        >>> expect_rows("no rows", jnp.ones(4), lambda batch_shape: jnp.zeros((*batch_shape, 4)), ())
    """
    fresh = jax.eval_shape(lambda: initial_carry(batch_shape))
    # Leaf by leaf: where only one of the two has noise, their trees differ.
    leaves, like = (jax.tree.leaves(split_carry(tree)[0]) for tree in (carry, fresh))
    expect(message, chex.assert_trees_all_equal_shapes, leaves, like)


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


def fitted(params: Params, like: Params) -> Params:
    """Put the parameters of a model into another that differs only in parts without parameters, such as dropout.

    Args:
        params: nested dicts of arrays; layers that have numbers for names are taken in their order.
        like: of the other model, arrays or their shapes.

    Returns:
        The parameters, with the names of the other.

    Example:
        >>> fitted({"0": {"w": 1}, "1": {"w": 2}}, {"0": {"w": 0}, "1": {}, "2": {"w": 0}})
        {'0': {'w': 1}, '1': {}, '2': {'w': 2}}
    """
    if not isinstance(like, Mapping):
        return params
    pairs = zip(_with_parameters(like), _with_parameters(params), strict=True)
    found = {name: fitted(params[theirs], like[name]) for name, theirs in pairs}
    return {name: found.get(name, part) for name, part in like.items()}


def _with_parameters(tree: Mapping[str, Params]) -> list[str]:
    """The names of the parts that have parameters: numbers by their size, others by the alphabet."""
    names = [name for name, part in tree.items() if jax.tree.leaves(part)]
    return sorted(names, key=lambda name: (int(name), "") if name.isdigit() else (-1, name))
