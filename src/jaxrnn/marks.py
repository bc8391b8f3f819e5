"""Marks on a recurrence: rows that start anew, and steps that are padding."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxrnn.cell import Recurrence
from jaxrnn.choices import require
from jaxrnn.errors import expect
from jaxrnn.shapes import choose
from jaxrnn.trees import is_float, join, split_carry
from jaxrnn.types import Array, Carry, Marked


def heed_marks(recurrence: Recurrence, initial_carry: Callable[..., Carry]) -> Recurrence:
    """Teach a recurrence to take `Marked` inputs beside plain ones.

    For a marked step, row by row::

        carry = initial_carry if reset else carry
        new, y = recur(carry, x if keep else 0)
        carry, y = (new, y) if keep else (carry, 0)

    All choices are `where`s on the float leaves: the gradient across a reset is exactly 0 even where it had exploded,
    and padding may hold anything, NaN included.

    Args:
        recurrence: the equations without marks.
        initial_carry: `(batch_shape, key=None) -> carry`, where a reset row starts.

    Returns:
        A recurrence that gives the same results as the old one for plain inputs.
    """

    def project(params, x):
        if not isinstance(x, Marked):
            return recurrence.project(params, x)
        return x._replace(x=recurrence.project(params, blank(x)))

    def recur(params, carry, z, dot, note):
        if not isinstance(z, Marked):
            return recurrence.recur(params, carry, z, dot, note)
        _check_rows(z, carry, initial_carry)
        if z.reset is not None:
            carry = restart_rows(z.reset, carry, initial_carry(z.reset.shape))
        new, y = recurrence.recur(params, carry, z.x, dot, note)
        keep = z.keep
        if keep is None:
            return new, y
        (floats, _), (new_floats, others) = split_carry(carry), split_carry(new)
        floats = jax.tree.map(lambda a, b: choose(keep, a, b), new_floats, floats)
        return join(floats, others), silence(z, y)

    return Recurrence(project, recur)


def restart_rows(reset: Any, carry: Carry, fresh: Carry) -> Carry:
    """Replace the float leaves of the marked rows by those of a fresh carry.

    Args:
        reset: bool `[*batch]`.
        carry: float leaves `[*batch, ...]`; all others stay.
        fresh: a carry with the same float leaves; its other leaves are not looked at.

    Returns:
        The carry, row by row fresh or as it was.

    Example:
        >>> restart_rows(jnp.array([True, False]), jnp.ones((2, 1)), jnp.zeros((2, 1))).ravel().tolist()
        [0.0, 1.0]
    """
    (floats, others), (start, _) = split_carry(carry), split_carry(fresh)
    return join(jax.tree.map(lambda a, b: choose(reset, b, a), floats, start), others)


def begin_where(begins: Callable[[Any], Array], x: Any) -> Marked:
    """Mark inputs at which a row starts anew, beside those that are marked already.

    Args:
        begins: `(x [*batch, ...]) -> bool [*batch]`, and with time in front alike.
        x: an input, plain or `Marked`. Padding begins nothing.

    Returns:
        The input with its marks.

    Example:
        >>> begin_where(lambda ids: ids == 0, jnp.array([0, 1, 0])).reset.tolist()
        [True, False, True]
    """
    plain, reset, keep = x if isinstance(x, Marked) else (x, None, None)
    here = begins(plain) if keep is None else begins(plain) & keep
    return Marked(plain, here if reset is None else reset | here, keep)


def blank(marked: Marked) -> Any:
    """The input with zeros where it is padding, so that whatever stands there, NaN included, reaches no gradient.

    Args:
        marked: x `[*batch, ...]` with keep `[*batch]` or None.

    Returns:
        `[*batch, ...]`; integer inputs (ids) are returned as they are, for they carry no gradient.

    Raises:
        AssertionError: (from chex) for marks that are not boolean, or whose axes are not the first ones of x.
    """
    _check_marks(marked)
    keep = marked.keep
    if keep is None:
        return marked.x
    return jax.tree.map(lambda x: choose(keep, x, jnp.zeros_like(x)) if is_float(x) else x, marked.x)


def silence(marked: Marked, y: Any) -> Any:
    """The output with zeros where the input is padding.

    Args:
        marked: the input of the step, with keep `[*batch]` or None.
        y: `[*batch, O]`.

    Returns:
        `[*batch, O]`.
    """
    keep = marked.keep
    if keep is None:
        return y
    return jax.tree.map(lambda leaf: choose(keep, leaf, jnp.zeros_like(leaf)), y)


def open_marks(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Take the marks off an input of a layer that looks at each step by itself.

    Args:
        x: an input, plain or `Marked`.

    Returns:
        The plain input, and a function of the output that makes it zero where the input is padding.

    Example:
        >>> x, finish = open_marks(Marked(jnp.ones((2, 1)), keep=jnp.array([True, False])))
        >>> finish(x + 1).tolist()
        [[2.0], [0.0]]
    """
    return (blank(x), partial(silence, x)) if isinstance(x, Marked) else (x, lambda y: y)


def within_lengths(lengths: Array | Sequence[int], steps: int) -> Array:
    """Turn lengths into the mark of padding.

    Args:
        lengths: integer `[B]`, each in `[0, T]`; an array or a list.
        steps: T.

    Returns:
        bool `[T, B]`, true within each row's length.

    Raises:
        InputError: for lengths below 0 or above T, where they are known outside a compiled function.
        AssertionError: (from chex) for lengths that are not integers `[B]`.

    Example:
        >>> within_lengths([2, 0], 3).astype(int).tolist()
        [[1, 0], [1, 0], [0, 0]]
    """
    lengths = jnp.asarray(lengths)
    expect("within_lengths: lengths must be [B]", chex.assert_rank, lengths, 1)
    expect("within_lengths: lengths must be integers", chex.assert_type, lengths, int)
    if lengths.size and not isinstance(lengths, Tracer):
        least, most = int(lengths.min()), int(lengths.max())
        good = 0 <= least and most <= steps
        require(good, "within_lengths: a length", least if least < 0 else most, f"from 0 to T = {steps}")
    return jnp.arange(steps)[:, None] < lengths.astype(int)[None, :]


def _check_marks(marked: Marked) -> None:
    """Refuse marks that would fit by broadcasting or clamping only, by name."""
    for name, mark in (("reset", marked.reset), ("keep", marked.keep)):
        if mark is not None:
            require(hasattr(mark, "dtype"), f"Marked: {name}", mark, "an array of booleans, [*batch] or [T, *batch]")
            expect(f"Marked: {name} must be boolean", chex.assert_type, mark, bool)
            for x in jax.tree.leaves(marked.x):
                message = f"Marked: {name} must have the shape [*batch] or [T, *batch] of x, {x.shape[: mark.ndim]}"
                expect(message, chex.assert_shape, mark, x.shape[: mark.ndim])


def _check_rows(marked: Marked, carry: Carry, initial_carry: Callable[..., Carry]) -> None:
    """Refuse marks of a step for other rows than the carry has: `[B]` for many steps would pass as `[T]` if T is B."""
    for name, mark in (("reset", marked.reset), ("keep", marked.keep)):
        if mark is not None:
            fresh = jax.eval_shape(partial(initial_carry, mark.shape))
            mend = "give [*batch] to step, [T, *batch] to unroll"
            message = f"Marked: {name} is {list(mark.shape)} at a step, but the carry has other rows; {mend}"
            expect(message, chex.assert_trees_all_equal_shapes, split_carry(carry)[0], split_carry(fresh)[0])
