"""Which states of a carry belong to which layer."""

from typing import Any

import jax

from jaxrnn.cell import Cell, step_of
from jaxrnn.trees import dependencies, split_carry
from jaxrnn.types import Carry, Params


def layers(cell: Cell, params: Params, carry: Carry, x: Any) -> dict[str, tuple[int, ...]]:
    """Find the layers of a cell: which of the carry's float leaves are the states of which.

    A layer is known by the name under which a cell notes its states, as `trace` shows them: that of "core/0/h" and
    "core/0/c" is "core/0". A state that is made of notes of one layer belongs to it, zoneout and marks or not; one that
    is made of no note, as in a cell of a hand-written step, belongs to the part of the carry in which it lies.

    Args:
        cell: any cell.
        params: its parameters.
        carry: its carry.
        x: the input of one step, `[*batch, ...]`; of all three only the shapes matter.

    Returns:
        For each layer, from the bottom up, the numbers of its states among the float leaves of the carry. A cell that
        is one layer and nothing else is called "cell".

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn.cells import gru, lstm
        >>> from jaxrnn.compose import stack, with_readout
        >>> model = with_readout(stack(lstm(3, 4), gru(4, 5)), 2)
        >>> layers(model, model.init(jax.random.key(0)), model.initial_carry(2), jnp.ones((2, 3)))
        {'cell/0': (0, 1), 'cell/1': (2,)}
    """

    def step(given, note):
        params, carry, x = given
        return step_of(cell.recurrence, params, carry, x, note=note)

    def noted(given):
        notes: dict[str, Any] = {}

        def note(name, value):
            notes[name] = value
            return value

        step(given, note)
        return notes

    def states(given, notes):
        """The new states, made of notes that are given: so a state depends on what it is directly made of alone."""
        return jax.tree.leaves(split_carry(step(given, lambda name, value: notes[name])[0])[0])

    found: dict[str, list[int]] = {}
    given = params, carry, x
    notes = jax.eval_shape(noted, given)
    for number, (path, _) in enumerate(jax.tree.leaves_with_path(split_carry(carry)[0])):
        _, used = dependencies(lambda both, number=number: states(*both)[number], (given, notes))
        names = {name.rpartition("/")[0] for name, is_used in used.items() if is_used}
        place = f"carry{jax.tree_util.keystr(path[:-1])}"
        found.setdefault((names.pop() or "cell") if len(names) == 1 else place, []).append(number)
    return {name: tuple(numbers) for name, numbers in found.items()}
