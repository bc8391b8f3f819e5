"""What every unit of a model does over a text: each state, gate and candidate of each layer after every symbol."""

from collections.abc import Container, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cell import Cell, Recurrence
from jaxrnn.choices import require
from jaxrnn.fused import trace
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.trees import end_to_end, split_carry
from jaxrnn.types import Params

RUN_UP = 250
"""Symbols that each row reads before its first one that counts, so that its state is one of mid-text."""

_BLOCK = 250  # steps that are on the device at a time
_ROW, _MOST_ROWS = 3000, 64  # symbols in a row of text, at least; rows, at most
STATES = ("h", "c")
"""The quantities that a cell hands from step to step; they come first."""


class Quantity(NamedTuple):
    """What a layer's units have one of each.

    Attributes:
        layer: its number from 1, the lowest.
        name: such as "h", "c" or "f", as the cell notes it.
    """

    layer: int
    name: str


class States(NamedTuple):
    """What was seen while a model read N symbols that follow one another.

    Attributes:
        values: for each quantity `[N, H]` float32: after the symbol has been read.
        nats: `[N]`, what it cost to predict the symbol from all before it.
    """

    values: Mapping[Quantity, np.ndarray]
    nats: np.ndarray


class Block(NamedTuple):
    """What was seen at some places of a text.

    Attributes:
        at: `[n]` which symbols of the text they are.
        values: for each quantity `[n, H]` float32: after the symbol has been read.
        nats: `[n]`, what it cost to predict the symbol from all before it.
    """

    at: np.ndarray
    values: Mapping[Quantity, np.ndarray]
    nats: np.ndarray


def quantities(cell: Cell, params: Params) -> dict[str, tuple[Quantity, int]]:
    """Find out what a language model notes.

    Args:
        cell: symbols in and logits out.
        params: its parameters, or their shapes.

    Returns:
        For each name of a note, in the order of layers and the states first: the quantity, and how many units have it.

    Example:
        >>> from jaxrnn.cells import gru
        >>> from jaxrnn.compose import language_model
        >>> model = language_model(gru(3, 4), vocabulary_size=5)
        >>> list(quantities(model, jax.eval_shape(model.init, jax.random.key(0))).values())[0]
        (Quantity(layer=1, name='h'), 4)
    """
    carry, ids = jax.eval_shape(lambda: (cell.initial_carry((1,)), jnp.zeros((1, 1), jnp.int32)))
    notes = jax.eval_shape(lambda params, carry, ids: trace(cell, params, carry, ids).notes, params, carry, ids)
    widths = {note: seen.shape[-1] for note, seen in notes.items() if len(seen.shape) == 3}
    layers = sorted({note.rpartition("/")[0] for note in widths}, key=_by_number)

    def found(note: str) -> Quantity:
        layer, _, name = note.rpartition("/")
        return Quantity(layers.index(layer) + 1, name)

    def place(note: str) -> tuple:
        layer, name = found(note)
        return layer, STATES.index(name) if name in STATES else len(STATES), name

    return {note: (found(note), widths[note]) for note in sorted(widths, key=place)}


def rows_for(length: int) -> int:
    """Choose in how many rows a text is read: many are quick, but each reads a run-up that does not count.

    Args:
        length: of the text.

    Returns:
        B.
    """
    return int(np.clip(length // _ROW, 1, _MOST_ROWS))


def places(length: int, rows: int) -> int:
    """Count the symbols that `observe` gives for a text.

    Args:
        length: of the text.
        rows: B.

    Returns:
        N, a multiple of B; the first `RUN_UP` symbols and some of the last do not count.
    """
    return max(length - RUN_UP, 0) // rows // _BLOCK * _BLOCK * rows


def observe(
    cell: Cell, params: Params, ids: np.ndarray, *, rows: int = 8, names: Container[str] | None = None
) -> States:
    """Let a model read a text and keep all that its units did.

    The text is read in B rows side by side, from the initial carry each. A row begins `RUN_UP` symbols early, in what
    the row before it reads at its end: row b reads `ids[b S : b S + RUN_UP + S]` and counts from `b S + RUN_UP` on. So
    the rows together are one stretch of text, `ids[RUN_UP : RUN_UP + N]` with N = B S.

    Args:
        cell: symbols in and logits out.
        params: its parameters.
        ids: the text; see `places` for how much of it counts.
        rows: B.
        names: of the quantities to keep, such as `("h", "c")`; None for all.

    Returns:
        The states, N places long.

    Raises:
        InputError: the text is too short.

    Cost:
        Memory on the host: N times all units, 4 bytes each. On the device: what the units did in a block of 250 steps,
        and the logits of one step.
    """
    count = places(len(ids), rows)
    values: dict[Quantity, np.ndarray] = {}
    nats = np.empty(count, np.float32)
    for block in blocks(cell, params, ids, rows=rows, names=names):
        at = block.at - RUN_UP
        nats[at] = block.nats
        for quantity, seen in block.values.items():
            values.setdefault(quantity, np.empty((count, seen.shape[1]), np.float32))[at] = seen
    return States(values, nats)


def blocks(
    cell: Cell,
    params: Params,
    ids: np.ndarray,
    *,
    rows: int = 8,
    names: Container[str] | None = None,
    most: int | None = None,
) -> Iterator[Block]:
    """Let a model read a text as `observe` does, and hand on what its units did, piece by piece: nothing is kept.

    Args:
        cell: symbols in and logits out.
        params: its parameters.
        ids: the text.
        rows: B.
        names: of the quantities to hand on; None for all.
        most: about how many places are wanted: then each row is left where they are reached. None for all.

    Yields:
        What was seen, 250 steps of all rows at a time; the run-up is left out.

    Raises:
        InputError: the text is too short.
    """
    count = places(len(ids), rows)
    least = RUN_UP + rows * _BLOCK
    require(count > 0, "observe: the text's length", len(ids), f"at least {least} symbols for {rows} rows")
    length = count // rows
    steps = np.arange(RUN_UP + length + 1)[:, None] + np.arange(rows) * length  # and one more, as the last target
    streams = ids[np.minimum(steps, len(ids) - 1)].astype(np.int32)
    known = {
        note: quantity
        for note, (quantity, _) in quantities(cell, params).items()
        if names is None or quantity.name in names
    }

    carry, last = cell.initial_carry((rows,)), None
    for start in range(0, RUN_UP + min(length, -(-(most or count) // rows)), _BLOCK):
        span, later = slice(start, start + _BLOCK), slice(start + 1, start + _BLOCK + 1)
        carry, notes, losses = _read(cell, tuple(known), params, carry, streams[span], streams[later])
        losses = np.asarray(losses)  # what a next symbol costs: known one step before it is read
        if last is not None:  # the run-up is over
            values = {known[note]: np.asarray(notes[note]).reshape(_BLOCK * rows, -1) for note in known}
            yield Block(steps[span].ravel(), values, np.concatenate([last, losses[:-1]]).ravel())
        last = losses[-1:]


def carry_norms(cell: Cell, params: Params, ids: np.ndarray, *, rows: int = 8, every: int = 100) -> np.ndarray:
    """How large the carry is along a long text: whether it settles, or drifts.

    Args:
        cell: symbols in and logits out.
        params: its parameters.
        ids: the text, read in B rows side by side.
        rows: B.
        every: steps between two looks.

    Returns:
        `[looks, B]` the root of the mean square of all floats in a row's carry; the first after `every` steps.

    Cost:
        One forward pass; nothing is kept but the norms.
    """
    looks = len(ids) // rows // every
    streams = np.asarray(ids[: looks * every * rows], np.int32).reshape(rows, looks, every).transpose(1, 2, 0)

    def look(carry, ids):
        carry, _ = cell.unroll(params, carry, ids)
        return carry, jnp.sqrt(jnp.mean(end_to_end(split_carry(carry)[0], rows) ** 2, axis=1))

    return np.asarray(jax.jit(partial(jax.lax.scan, look))(cell.initial_carry((rows,)), streams)[1])


@partial(jax.jit, static_argnums=(0, 1))
def _read(cell: Cell, wanted: tuple[str, ...], params: Params, carry: Any, ids: Any, targets: Any) -> tuple:
    """A block of steps: the carry, the notes `[K, B, H]` in float32, and the cost of each next symbol `[K, B]`."""
    seen = trace(_priced(cell), params, carry, (ids, targets))
    notes = {note: seen.notes[note].astype(jnp.float32) for note in wanted}
    return seen.carry, notes, seen.outputs


def _priced(cell: Cell) -> Cell:
    """A cell that reads a symbol beside the next one and gives what that costs, so that no step's logits outlive it."""

    def project(params, x):
        ids, target = x
        return cell.recurrence.project(params, ids), target

    def recur(params, carry, z, dot, note):
        of_ids, target = z
        carry, logits = cell.recurrence.recur(params, carry, of_ids, dot, note)
        return carry, softmax_cross_entropy(logits, target)

    return cell._replace(recurrence=Recurrence(project, recur))


def _by_number(name: str) -> list:
    """What puts "core/10" behind "core/2"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split("/")]
