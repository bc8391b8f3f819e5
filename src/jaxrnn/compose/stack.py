"""Cells on top of one another."""

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, Recurrence, step_of
from jaxrnn.choices import require
from jaxrnn.compose.bidirectional import Bidirectional
from jaxrnn.errors import InputError
from jaxrnn.lookup import TakesLookup, handing_on
from jaxrnn.marks import marked_as, unmarked
from jaxrnn.types import Array, Penalized


def stack(*cells: Cell, names: Sequence[str] | None = None) -> Cell:
    """Put cells on top of one another: the output of each is the input of the next.

    `step` goes up through the cells, `unroll` layer by layer over the whole stretch of time, so that each layer's fast
    path is used::

        for cell in cells:
            carry[cell], xs = cell.unroll(params[cell], carry[cell], xs)

    Marks (`Marked`) are handed to every cell; penalties (`Penalized`) are taken off the output of each, and come with
    that of the topmost, added up.

    Args:
        *cells: from the bottom up, at least one.
        names: what their parameters are called; by default "0", "1", ...

    Returns:
        A cell with params `{name: params of that cell}` and as carry the tuple of the cells' carries. Its notes are
        those of the cells, as `"name/note"`.

    Raises:
        InputError: if there is no cell, if something is none, or if one's output size is not the next one's input size.

    Example:
        >>> from jaxrnn.cells.lstm import lstm
        >>> two = stack(lstm(3, 4), lstm(4, 5))
        >>> two.step(two.init(jax.random.key(0)), two.initial_carry(2), jax.numpy.ones((2, 3)))[1].shape
        (2, 5)
    """
    names = tuple(names) if names is not None else tuple(str(i) for i in range(len(cells)))
    _check_fit(cells, names)
    layers = tuple(zip(names, cells, strict=True))

    def init(key):
        keys = jax.random.split(key, len(cells))
        return {name: cell.init(k) for (name, cell), k in zip(layers, keys, strict=True)}

    def initial_carry(batch_shape, key=None):
        keys = [None] * len(cells) if key is None else jax.random.split(key, len(cells))
        return tuple(cell.initial_carry(batch_shape, k) for cell, k in zip(cells, keys, strict=True))

    def through(methods, params, carry, x):
        """Each layer's input is the output of the one below, with the marks of x."""
        _check_parts(names, params, carry)
        new, penalties = [], []
        y = unmarked(x)
        for name, method, layer_carry in zip(names, methods, carry, strict=True):
            layer_carry, y = method(params[name], layer_carry, marked_as(x, y))
            new.append(layer_carry)
            y = _set_aside(y, penalties)
        return tuple(new), _with_sum(y, penalties)

    def recur(params, carry, x, dot, note):
        steps = [partial(step_of, cell.recurrence, dot=dot, note=_prefixed(note, name)) for name, cell in layers]
        return through(steps, params, carry, x)

    recurrence = Recurrence(lambda params, x: x, recur)
    step = partial(through, [cell.step for cell in cells])
    unroll = partial(through, handing_on([cell.unroll for cell in cells]))
    unroll = TakesLookup(unroll) if isinstance(cells[0].unroll, TakesLookup) else unroll
    return Cell(init, initial_carry, step, unroll, recurrence, cells[0].input_size, _output_size(cells))


def _check_parts(names: Sequence[str], params: Any, carry: Any) -> None:
    """Refuse parameters or a carry that do not have a part for each cell."""
    if not (isinstance(params, Mapping) and all(name in params for name in names)):
        found = f"has the keys {list(params)}" if isinstance(params, Mapping) else f"is a {type(params).__name__}"
        raise InputError(f"stack: params {found}; expected {list(names)}, as init gives them")
    if not (isinstance(carry, tuple) and len(carry) == len(names)):
        expected = f"a tuple of {len(names)}, as initial_carry gives it"
        raise InputError(f"stack: carry is a {type(carry).__name__} that does not fit; expected {expected}")


def _set_aside(y: Any, penalties: list[Array]) -> Any:
    """The output without its penalty, which joins the others."""
    if not isinstance(y, Penalized):
        return y
    penalties.append(y.penalty)
    return y.y


def _with_sum(y: Any, penalties: list[Array]) -> Any:
    """The output with the sum of the penalties, where there are any."""
    return Penalized(y, reduce(jnp.add, penalties)) if penalties else y


def _prefixed(note, name):
    """A `note` that puts a layer's name before the quantity's."""
    return lambda quantity, value: note(f"{name}/{quantity}", value)


def _output_size(cells: Sequence[Cell]) -> int | None:
    """The size of the topmost output that has a fixed size."""
    return next((cell.output_size for cell in reversed(cells) if cell.output_size is not None), None)


def _check_fit(cells: Sequence[Cell], names: Sequence[str]) -> None:
    """Refuse an empty stack, names that do not match, and cells that do not fit on one another."""
    for cell in cells:
        if isinstance(cell, Bidirectional):
            what = "it has no causal step; apply it by itself, and give its outputs to the stack"
            raise InputError(f"stack: a bidirectional layer is no cell: {what}")
        what = "a cell; give them one by one, as in stack(low, high)"
        require(isinstance(cell, Cell), "stack: an argument", type(cell), what)
    if not cells or len(names) != len(cells) or len(set(names)) != len(names):
        raise InputError(f"stack: {len(cells)} cells and names {list(names)}; give at least one cell and a name each")
    size, below = None, None
    for name, cell in zip(names, cells, strict=True):
        if None not in (size, cell.input_size) and size != cell.input_size:
            raise InputError(
                f"stack: cell {name!r} expects inputs of size {cell.input_size}, but cell {below!r} below it "
                f"gives outputs of size {size}; make the two sizes equal"
            )
        if cell.output_size is not None:
            size, below = cell.output_size, name
