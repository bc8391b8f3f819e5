"""Documents in one stream of inputs, told apart by the inputs themselves."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxrnn.cell import Cell, Recurrence
from jaxrnn.marks import begin_where
from jaxrnn.types import Array


def documents(cell: Cell, begins: Callable[[Any], Array]) -> Cell:
    """Let a cell start anew before every input that begins a document.

    Equals the loop, row by row::

        for t in range(T):
            carry = initial_carry if begins(xs[t]) else carry
            carry, ys[t] = step(params, carry, xs[t])

    So the first output of a document depends on the input that begins it, and on nothing before. No gradient crosses.
    It goes around `zoneout`, or directly within it: in a stack within, units would keep what they were across a
    beginning.

    Args:
        cell: any cell that takes marks.
        begins: `(x [*batch, ...]) -> bool [*batch]`, and with time in front alike.

    Returns:
        A cell with the same parameters and carry, for plain and for `Marked` inputs. Noise goes on across a beginning.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrnn.cells.gru import gru
        >>> from jaxrnn.compose import embedding, stack
        >>> cell = documents(stack(embedding(3, 4), gru(4, 5)), lambda ids: ids == 0)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(1)
        >>> _, ys = cell.unroll(params, carry, jnp.array([0, 1, 2, 0, 1, 2])[:, None])
        >>> bool((ys[:3] == ys[3:]).all())
        True
    """
    mark = partial(begin_where, begins)

    def marking(method):
        return lambda params, carry, x: method(params, carry, mark(x))

    recurrence = Recurrence(lambda params, x: cell.recurrence.project(params, mark(x)), cell.recurrence.recur)
    return cell._replace(step=marking(cell.step), unroll=marking(cell.unroll), recurrence=recurrence)
