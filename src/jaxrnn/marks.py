"""Marks on a recurrence: rows that start anew, and steps that are padding."""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxrnn.cell import Recurrence
from jaxrnn.choices import require
from jaxrnn.errors import expect
from jaxrnn.shapes import choose
from jaxrnn.trees import expect_rows, is_float, join, split_carry
from jaxrnn.types import Array, Carry, Marked, Told


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

    Example:
        >>> sums = Recurrence(lambda params, x: x, lambda params, h, x, dot, note: (h + x, h + x))
        >>> marked = heed_marks(sums, lambda batch_shape, key=None: jnp.zeros(batch_shape))
        >>> x = Marked(jnp.ones(3), reset=jnp.array([False, True, False]), keep=jnp.array([True, True, False]))
        >>> h, y = marked.recur({}, jnp.full(3, 5.0), marked.project({}, x), None, None)
        >>> h.tolist(), y.tolist()
        ([6.0, 1.0, 5.0], [6.0, 1.0, 0.0])
    """

    def project(params, x):
        return _marked_too(x, recurrence.project(params, blank(x)))

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
    floats, others = split_carry(carry)
    leaves, structure = jax.tree.flatten(floats)  # leaf by leaf: where one of the two has no noise, trees differ
    start = jax.tree.leaves(split_carry(fresh)[0])
    chosen = [choose(reset, b.astype(a.dtype), a) for a, b in zip(leaves, start, strict=True)]
    return join(structure.unflatten(chosen), others)


def unmarked(x: Any) -> Any:
    """Take the marks off an input, padding and all; see `blank`.

    Args:
        x: an input, plain or `Marked`.

    Returns:
        The plain input.

    Example:
        >>> unmarked(Marked(1, reset=2)), unmarked(1)
        (1, 1)
    """
    return x.x if isinstance(x, Marked) else x


def marked_as(x: Any, value: Any) -> Any:
    """Put another value into the place of an input, with the same marks.

    Args:
        x: an input, plain or `Marked`.
        value: what to put there.

    Returns:
        The value, `Marked` where x is.

    Example:
        >>> marked_as(Marked(1, reset=2), 3), marked_as(1, 3)
        (Marked(x=3, reset=2, keep=None), 3)
    """
    return x._replace(x=value) if isinstance(x, Marked) else value


def marks_of(x: Any) -> tuple[Array | None, Array | None]:
    """The marks of an input, none where it is plain.

    Args:
        x: an input, plain or `Marked`.

    Returns:
        `(reset, keep)`.

    Example:
        >>> marks_of(Marked(1, reset=2)), marks_of(1)
        ((2, None), (None, None))
    """
    return (x.reset, x.keep) if isinstance(x, Marked) else (None, None)


def begin_where(begins: Callable[[Any], Array], x: Any) -> Marked:
    """Mark inputs at which a row starts anew, beside those that are marked already.

    Args:
        begins: `(x [*batch, ...]) -> bool [*batch]`, and with time in front alike.
        x: an input, plain or `Marked`, told its target or not. Padding begins nothing.

    Returns:
        The input with its marks.

    Raises:
        InputError: where `begins` gives no array.

    Example:
        >>> begin_where(lambda ids: ids == 0, jnp.array([0, 1, 0])).reset.tolist()
        [True, False, True]
    """
    plain = unmarked(x)
    here = begins(plain.x if isinstance(plain, Told) else plain)
    require(hasattr(here, "dtype"), "documents: begins(x)", here, "an array of booleans, [*batch]")
    return _marked_too(x, Marked(plain, here))


def blank(x: Any) -> Any:
    """The input with zeros where it is padding, so that whatever stands there, NaN included, reaches no gradient.

    Args:
        x: an input `[*batch, ...]`, plain or `Marked`.

    Returns:
        `[*batch, ...]`, plain; integer inputs (ids) are returned as they are, for they carry no gradient.

    Raises:
        AssertionError: (from chex) for marks that are not boolean, or whose axes are not the first ones of x.

    Example:
        >>> blank(Marked(jnp.array([1.0, jnp.nan]), keep=jnp.array([True, False]))).tolist()
        [1.0, 0.0]
    """
    check_marks(x)
    _, keep = marks_of(x)
    if keep is None:
        return unmarked(x)
    return jax.tree.map(lambda leaf: choose(keep, leaf, jnp.zeros_like(leaf)) if is_float(leaf) else leaf, unmarked(x))


def silence(x: Any, y: Any) -> Any:
    """The output with zeros where the input is padding.

    Args:
        x: the input, plain or `Marked`.
        y: `[*batch, O]`.

    Returns:
        `[*batch, O]`.
    """
    _, keep = marks_of(x)
    if keep is None:
        return y
    return jax.tree.map(lambda leaf: choose(keep, leaf, jnp.zeros_like(leaf)), y)


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


def check_marks(x: Any) -> None:
    """Refuse marks that would fit by broadcasting or clamping only, by name.

    Args:
        x: an input, plain or `Marked`.

    Raises:
        InputError: for a mark that is no array.
        AssertionError: (from chex) for marks that are not boolean, or whose axes are not the first ones of x.
    """
    for name, mark in zip(("reset", "keep"), marks_of(x), strict=True):
        if mark is not None:
            require(hasattr(mark, "dtype"), f"Marked: {name}", mark, "an array of booleans, [*batch] or [T, *batch]")
            expect(f"Marked: {name} must be boolean", chex.assert_type, mark, bool)
            for leaf in jax.tree.leaves(unmarked(x)):
                rows = leaf.shape[: mark.ndim]
                message = f"Marked: {name} must have the shape [*batch] or [T, *batch] of x, {rows}"
                expect(message, chex.assert_shape, mark, rows)


def _marked_too(x: Any, value: Any) -> Any:
    """A value with the marks of an input; the resets that it brings itself are added, but in padding."""
    if not isinstance(value, Marked):
        return marked_as(x, value)
    assert value.reset is not None  # nothing else is marked on the way
    reset, keep = marks_of(x)
    own = value.reset if keep is None else value.reset & keep
    return Marked(value.x, own if reset is None else reset | own, keep)


def _check_rows(marked: Marked, carry: Carry, initial_carry: Callable[..., Carry]) -> None:
    """Refuse marks of a step for other rows than the carry has: `[B]` for many steps would pass as `[T]` if T is B."""
    for name, mark in zip(("reset", "keep"), marks_of(marked), strict=True):
        if mark is not None:
            mend = "give [*batch] to step, [T, *batch] to unroll"
            message = f"Marked: {name} is {list(mark.shape)} at a step, but the carry has other rows; {mend}"
            expect_rows(message, carry, initial_carry, mark.shape)
