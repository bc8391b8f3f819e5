"""The first record: a recurrent cell as pure functions, and the law that ties `unroll` to `step`."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax

from jaxrnn.choices import is_whole, require
from jaxrnn.products import matmul
from jaxrnn.types import Array, Carry, Params, Step


class Recurrence(NamedTuple):
    """A cell's equations, written once.

    Attributes:
        project: `(params, x) -> z`, all that does not depend on the carry. It takes `[*batch, I]` and `[T, *batch, I]`
            alike, so that a whole chunk is projected by one product, and each input by itself, so that the rows of an
            embedding can be projected before they are looked up (`jaxrnn.lookup`).
        recur: `(params, carry, z, dot, note) -> (carry, y)`, the rest. Every product with a weight goes through
            `dot(a, w)`, or `dot(a, w, plus)` for `plus + a @ w`, where `w` is computed from `params` alone; every named
            quantity (state, gate, candidate) through `note(name, value)`, which returns the value. Both are called in
            `recur` itself, not inside a function that it gives to `jit`, `vmap`, `checkpoint`, `cond` or `scan`: what
            they are given is recorded, and must mean something outside.

    Example:
        >>> def recur(params, h, z, dot, note):
        ...     h = note("h", dot(h, params["w_hh"], z))
        ...     return h, h
        >>> linear = Recurrence(lambda params, x: x, recur)
        >>> linear.recur({"w_hh": 2}, 3, 1, lambda a, w, plus: plus + a * w, unnoted)
        (7, 7)
    """

    project: Callable[[Params, Any], Any]
    recur: Callable[..., tuple[Carry, Any]]


class Cell(NamedTuple):
    """A recurrent cell, or anything that behaves like one: a stack, a readout, a whole language model.

    Law: `unroll(params, carry, xs)` equals `jax.lax.scan(partial(step, params), carry, xs)` in values and gradients,
    that is, the loop::

        for t in range(T):
            carry, ys[t] = step(params, carry, xs[t])

    Attributes:
        init: `(key) -> params`, a dict of named arrays (nested by combinators).
        initial_carry: `(batch_shape, key=None) -> carry`. Without a key the deterministic cell (evaluation), with a key
            the noisy one (training): noise travels in the carry.
        step: `(params, carry, x [*batch, I]) -> (carry, y [*batch, O])`.
        unroll: `(params, carry, xs [T, *batch, I]) -> (carry, ys [T, *batch, O])`.
        recurrence: the equations from which `step` and `unroll` were derived.
        input_size: I, or None where the input has no such axis (integer ids) or any size will do.
        output_size: O, or None where it is that of the input.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn.cells import lstm
        >>> cell = lstm(3, 4)
        >>> carry, ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape, cell.input_size, cell.output_size
        ((5, 2, 4), 3, 4)
    """

    init: Callable[[Array], Params]
    initial_carry: Callable[..., Carry]
    step: Step
    unroll: Step
    recurrence: Recurrence
    input_size: int | None = None
    output_size: int | None = None


def check_cell(name: str, cell: Any) -> None:
    """Refuse what is no cell, such as a factory that has not been called.

    Args:
        name: the argument.
        cell: what was given.

    Raises:
        InputError: naming it.

    Example:
        >>> check_cell("with_readout: cell", 3)
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: with_readout: cell is <class 'int'>; it must be a cell, such as lstm(3, 4)
    """
    require(isinstance(cell, Cell), name, type(cell), "a cell, such as lstm(3, 4)")


def product(a: Array, w: Array, plus: Array | None = None) -> Array:
    """The plain `dot` of a recurrence, and of all layers: `a @ w`, as one product of two matrices.

    With more than two axes, XLA on CPU takes a slow path for the gradient of `w`, about five times slower. Operands are
    rounded where `jaxrnn.compose.mixed_precision` says so.

    Args:
        a: `[..., I]`.
        w: `[I, O]`.
        plus: `[..., O]`, what is added to the product; None for nothing.

    Returns:
        `[..., O]`.

    Example:
        >>> import jax.numpy as jnp
        >>> product(jnp.ones((5, 2, 3)), jnp.ones((3, 4))).shape
        (5, 2, 4)
    """
    rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
    result = matmul(rows, w).reshape(*a.shape[:-1], w.shape[-1])
    return result if plus is None else plus + result


def unnoted(name: str, value: Any) -> Any:
    """The plain `note` of a recurrence: forget the name, return the value.

    Args:
        name: the quantity's name.
        value: the quantity.

    Returns:
        The value itself.
    """
    del name
    return value


def step_of(
    recurrence: Recurrence,
    params: Params,
    carry: Carry,
    x: Any,
    dot: Callable[..., Array] = product,
    note: Callable[[str, Any], Any] = unnoted,
) -> tuple[Carry, Any]:
    """Make one step of a recurrence from the input itself: `recur` wants what `project` has made of it, marks and all.

    Args:
        recurrence: the equations.
        params: the parameters.
        carry: the carry.
        x: `[*batch, I]`.
        dot: multiplies with a weight.
        note: is told every named quantity.

    Returns:
        `(carry, y)`.

    Example:
        >>> step_of(Recurrence(lambda w, x: w * x, lambda w, h, z, dot, note: (h + z, h)), 2, 1, 3)
        (7, 1)
    """
    return recurrence.recur(params, carry, recurrence.project(params, x), dot, note)


def scan_unroll(step: Step) -> Callable[..., tuple[Carry, Any]]:
    """Turn a `step` into the `unroll` that defines the law: `jax.lax.scan(partial(step, params), carry, xs)`.

    Args:
        step: `(params, carry, x) -> (carry, y)`.

    Returns:
        `unroll(params, carry, xs [T, ...]) -> (carry, ys [T, ...])`.

    Cost:
        Differentiated by JAX as any scan: every intermediate of every step is kept, and the gradients of all weights
        are accumulated step by step. A cell derived from a recurrence (`jaxrnn.fused.derive`) avoids both.

    Example:
        >>> import jax.numpy as jnp
        >>> running_sum = scan_unroll(lambda params, carry, x: (carry + x, carry + x))
        >>> running_sum({}, jnp.zeros(1), jnp.ones((3, 1)))[1].ravel().tolist()
        [1.0, 2.0, 3.0]
    """

    def unroll(params, carry, xs):
        return jax.lax.scan(partial(step, params), carry, xs)

    return unroll


def opaque(step: Step) -> Recurrence:
    """Make the recurrence of a step that shows nothing of itself: no products, no quantities, no work before the loop.

    Args:
        step: `(params, carry, x) -> (carry, y)`.

    Returns:
        The recurrence.

    Example:
        >>> opaque(lambda params, carry, x: (carry + x, carry)).recur({}, 1, 2, product, unnoted)
        (3, 1)
    """

    def recur(params, carry, z, dot, note):
        del dot, note
        return step(params, carry, z)

    return Recurrence(lambda params, x: x, recur)


def as_shape(batch_shape: int | tuple[int, ...]) -> tuple[int, ...]:
    """Read a batch shape given as a number or a tuple.

    Args:
        batch_shape: B, or `*batch`.

    Returns:
        The tuple.

    Raises:
        InputError: for anything else.

    Example:
        >>> as_shape(4), as_shape(())
        ((4,), ())
    """
    shape = tuple(batch_shape) if isinstance(batch_shape, Sequence) else (batch_shape,)
    good = all(is_whole(size, least=0) for size in shape)
    require(good, "initial_carry: batch_shape", batch_shape, "a whole number, or a tuple of such")
    return shape
