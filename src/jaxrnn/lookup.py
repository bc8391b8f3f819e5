"""Inputs that are rows of a table: what a layer makes of an input, it can make of the rows before they are looked up.

Where a text has more symbols than its vocabulary, most of its inputs are equal, and so are their products::

    table[ids] @ w  =  (table @ w)[ids]                  # V rows are multiplied instead of T B, forwards and backwards

So a layer whose outputs are rows of a table hands on the table and the ids, where the layer above it takes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.sums import widened
from jaxrnn.types import Array, Carry, Marked, Params, Step

_WORTH = 2  # symbols for each row of the table, at least; measured at 21 and 38 only, where it pays, not where it ends


class Lookup(NamedTuple):
    """Inputs `table[ids]`.

    Attributes:
        table: `[V, I]`.
        ids: integer `[T, *batch]`.
    """

    table: Array
    ids: Array


@dataclass(frozen=True)  # a tuple has no weak references, which `jax.jit` needs
class GivesLookup:
    """The `unroll` of a layer whose outputs are rows of a table.

    Attributes:
        unroll: `(params, carry, xs) -> (carry, ys)`; the carry stays as it is.
        lookup: `(params, xs) -> Lookup`, of the same outputs.
    """

    unroll: Step
    lookup: Callable[[Params, Any], Lookup]

    def __call__(self, params: Params, carry: Carry, xs: Any) -> tuple[Carry, Any]:
        """Unroll the layer."""
        return self.unroll(params, carry, xs)


@dataclass(frozen=True)
class TakesLookup:
    """The `unroll` of a layer that takes a `Lookup` in the place of its inputs.

    Attributes:
        unroll: `(params, carry, xs) -> (carry, ys)`.
    """

    unroll: Step

    def __call__(self, params: Params, carry: Carry, xs: Any) -> tuple[Carry, Any]:
        """Unroll the layer."""
        return self.unroll(params, carry, xs)


def take_rows(table: Array, ids: Array) -> Array:
    """Take rows of a table.

    Args:
        table: `[V, I]`.
        ids: integer `[*batch]`; one outside `[0, V)` gives NaN.

    Returns:
        `[*batch, I]`. Gradients of one row are added up in float32 at least.

    Example:
        >>> take_rows(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1, 0, 2])).tolist()
        [[3.0, 4.0], [1.0, 2.0], [nan, nan]]
    """
    table = jnp.asarray(table)
    return widened(table).at[ids].get(mode="fill", wrap_negative_indices=False).astype(table.dtype)


def of_rows(project: Callable[[Params, Any], Any], params: Params, xs: Any) -> Any:
    """Equals `project(params, xs)`, for inputs that may be a `Lookup`.

    Args:
        project: `(params, x [..., I]) -> z`, of each input by itself.
        params: its parameters.
        xs: `[T, *batch, I]`, or a `Lookup` of such.

    Returns:
        Its results, `[T, *batch, ...]`.

    Example:
        >>> lookup = Lookup(jnp.array([[1.0], [2.0]]), jnp.array([0, 1, 1]))
        >>> of_rows(lambda w, x: w * x, 10.0, lookup).ravel().tolist()
        [10.0, 20.0, 20.0]
    """
    if not isinstance(xs, Lookup):
        return project(params, xs)
    return jax.tree.map(lambda rows: take_rows(rows, xs.ids), project(params, xs.table))


def handing_on(unrolls: Sequence[Callable[..., tuple[Carry, Any]]]) -> list[Callable[..., tuple[Carry, Any]]]:
    """Let the layers of a stack hand on lookups to those that take them.

    Args:
        unrolls: of the layers, from the bottom up.

    Returns:
        The unrolls; one that gives lookups, below one that takes them, hands on the lookup where that saves products.

    Example:
        >>> embed = GivesLookup(lambda table, carry, ids: (carry, take_rows(table, ids)), Lookup)
        >>> scale = TakesLookup(lambda w, carry, xs: (carry, of_rows(lambda w, x: w * x, w, xs)))
        >>> below, above = handing_on([embed, scale])
        >>> _, xs = below(jnp.array([[1.0], [2.0]]), (), jnp.array([0, 1, 1, 0]))
        >>> isinstance(xs, Lookup), above(10.0, (), xs)[1].ravel().tolist()
        (True, [10.0, 20.0, 20.0, 10.0])
    """
    above = [*unrolls[1:], None]
    return [
        partial(_handed_on, one) if isinstance(one, GivesLookup) and isinstance(next_one, TakesLookup) else one
        for one, next_one in zip(unrolls, above, strict=True)
    ]


def _handed_on(layer: GivesLookup, params: Params, carry: Carry, xs: Any) -> tuple[Carry, Any]:
    """The outputs as a lookup, unless there are marks to heed, or few symbols."""
    if isinstance(xs, Marked):
        return layer(params, carry, xs)
    lookup = layer.lookup(params, xs)
    return (carry, lookup) if lookup.ids.size >= _WORTH * len(lookup.table) else layer(params, carry, xs)
