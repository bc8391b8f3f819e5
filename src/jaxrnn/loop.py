"""The loop over time: `jax.lax.scan`, in the form of which the compiler of the backend makes the fastest program."""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxrnn.choices import require
from jaxrnn.errors import expect
from jaxrnn.types import Carry


def scan(
    body: Callable[[Carry, Any], tuple[Carry, Any]], carry: Carry, xs: Any, reverse: bool = False
) -> tuple[Carry, Any]:
    """Equals `jax.lax.scan(body, carry, xs, reverse=reverse)`; results that are one array are stacked once.

    Args:
        body: `(carry, x) -> (carry, y)`.
        carry: the carry to start from.
        xs: arrays `[T, ...]`.
        reverse: whether to begin at the end.

    Returns:
        `(carry, ys [T, ...])`.

    Raises:
        InputError: where there is no array to tell the number of steps.
        AssertionError: (from chex) where inputs are of different lengths.

    Cost:
        Of memory the stacks of results; on CPU less those that take the place of an input.

    Example:
        >>> def body(total, x):
        ...     return total + x, (total, total)
        >>> total, (before, same) = scan(body, jnp.array(0), jnp.arange(4))
        >>> int(total), before.tolist(), before is same
        (6, [0, 0, 1, 3], True)
    """
    inputs, like_xs = jax.tree.flatten(xs)
    enough = "1 or more, [T, ...]: they tell how many steps there are"
    require(len(inputs) > 0, "unroll: the number of arrays that project makes of the input", len(inputs), enough)
    expect("unroll: inputs xs [T, ...] of one length T", chex.assert_equal_shape_prefix, inputs, 1)
    like_ys, places = None, []

    def listed(carry, x):
        nonlocal like_ys, places
        carry, ys = body(carry, jax.tree.unflatten(like_xs, x))
        results, like_ys = jax.tree.flatten(ys)
        unique = list({id(result): result for result in results}.values())
        places = [next(i for i, one in enumerate(unique) if one is result) for result in results]
        return carry, unique

    on_cpu = jax.default_backend() == "cpu" and inputs[0].shape[0] > 0
    carry, stacks = (_scan_on_cpu if on_cpu else jax.lax.scan)(listed, carry, inputs, reverse=reverse)
    return carry, jax.tree.unflatten(like_ys, [stacks[place] for place in places])


def _scan_on_cpu(body, carry: Carry, inputs: Sequence[Any], reverse: bool) -> tuple[Carry, list[Any]]:
    """`jax.lax.scan` over a list of inputs, which are loaded one step ahead, and written over once they have been read.

    XLA on CPU would fuse the loading of `xs[t]` into the elementwise functions that use it, and compiles the fusion to
    scalar code, about five times slower. An input that comes out of the loop's carry it has to load for itself.

    A stack of results begins as one of zeros, which is memory and two passes over it. A result that is like an input
    takes the place of that input instead. Where the input is wanted after the loop, XLA copies it first.
    """
    last = inputs[0].shape[0] - 1
    first = _loaded(inputs, last if reverse else 0)
    taken = _places_taken(jax.eval_shape(body, carry, first)[1], first)

    def ahead(carry_and_x, t):
        carry, x, stacks = carry_and_x
        carry, results = body(carry, x)
        stacks, now = dict(stacks), list(inputs)
        for number, place in taken.items():
            update = jax.lax.dynamic_update_index_in_dim(stacks[number], results[number], t, 0)
            now[place] = stacks[number] = update
        x = _loaded(now, jnp.maximum(t - 1, 0) if reverse else jnp.minimum(t + 1, last))
        return (carry, x, stacks), [None if number in taken else result for number, result in enumerate(results)]

    start = carry, first, {number: inputs[place] for number, place in taken.items()}
    (carry, _, stacks), others = jax.lax.scan(ahead, start, jnp.arange(last + 1), reverse=reverse)
    return carry, [stacks.get(number, other) for number, other in enumerate(others)]


def _loaded(inputs: Sequence[Any], t: Any) -> list[Any]:
    """What a step reads."""
    return [jax.lax.dynamic_index_in_dim(x, t, keepdims=False) for x in inputs]


def _places_taken(results: Sequence[Any], inputs: Sequence[Any]) -> dict[int, int]:
    """Which result takes the place of which input: the first that is like it and is not yet taken."""
    taken: dict[int, int] = {}
    for number, result in enumerate(results):
        alike = [place for place, x in enumerate(inputs) if (x.shape, x.dtype) == (result.shape, result.dtype)]
        place = next((place for place in alike if place not in taken.values()), None)
        if place is not None:
            taken[number] = place
    return taken
