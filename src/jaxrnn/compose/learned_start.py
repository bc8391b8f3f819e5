"""A learned start: the state that a sequence starts from is a parameter like any other."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, Recurrence
from jaxrnn.choices import require
from jaxrnn.fused import derive
from jaxrnn.initializers import Initializer
from jaxrnn.marks import restart_rows
from jaxrnn.sums import widened
from jaxrnn.trees import split_carry, threefry


def learned_start(cell: Cell, *, init: Initializer = initializers.zeros) -> Cell:
    """Let a cell start from a state that is learned, in the place of its own initial carry.

    Equals the loop, row by row, with a carry `(first, inner)` where first is 1 to begin with::

        for t in range(T):
            inner = start if first > 0 else inner
            inner, ys[t] = step(params["cell"], inner, xs[t])
            first = 0

    The start is put in at a row's first step, not before the loop, so that estimators see that the loss depends on it.
    Its gradient is the sum over the rows that started; others add exactly 0. A row that starts anew (`Marked.reset`,
    `documents`) starts from it, too, and padding starts nothing. As with all that lies before a chunk, what comes later
    gives it credit only by rules that reach back so far.

    In a stack it goes around each recurrent layer rather than around the whole, so that each is unrolled by itself; and
    it goes around `zoneout`, which would take `first` for a state.

    Args:
        cell: a cell made of a recurrence, such as `lstm(...)`.
        init: initializer of the start, called for each state with the shape that it has in one row, such as `[H]`.

    Returns:
        A cell with params `{"cell": ..., "start": like the floats in the carry of one row}`, and with carry
        `(first [*batch, 1], the cell's carry)`, whose noise goes on across a start. It raises an InputError for params
        whose start is missing or has other shapes. `snap1` does not take it: its states are of two sizes.

    Raises:
        InputError: for a cell without a state, and for one that has other states with noise than without.

    Cost:
        A `where` for each state and step. `unroll` keeps `[T, *batch, H]` more for each state that a product reads, and
        is a loop also for a cell that has none, such as `min_gru`.

    References:
        M. L. Forcada, R. C. Carrasco, "Learning the Initial State of a Second-Order Recurrent Neural Network during
        Regular-Language Inference", Neural Computation 7(5), 1995.

    Example:
        >>> from jaxrnn.stepwise import from_step
        >>> halving = from_step(lambda key: {}, lambda batch_shape, key=None: jnp.zeros((*batch_shape, 1)),
        ...                     lambda params, h, x: (h / 2 + x,) * 2)
        >>> cell = learned_start(halving)
        >>> params, carry, xs = {"cell": {}, "start": jnp.array([8.0])}, cell.initial_carry(1), jnp.zeros((3, 1, 1))
        >>> cell.unroll(params, carry, xs)[1].ravel().tolist()
        [4.0, 2.0, 1.0]
        >>> jax.grad(lambda params: cell.unroll(params, carry, xs)[1].sum())(params)["start"].tolist()
        [0.875]
    """
    one_row, noisy = (
        split_carry(jax.eval_shape(partial(cell.initial_carry, (), key)))[0] for key in (None, threefry(0))
    )
    states, structure = jax.tree.flatten(one_row)
    number, shapes = len(jax.tree.leaves(noisy)), [state.shape for state in states]
    alike = "as many as without noise; put learned_start around each layer by itself"
    require(states, "learned_start: the number of the cell's states", 0, "1 or more, for without one nothing starts")
    require(number == len(states), "learned_start: the number of the cell's states with noise", number, alike)

    def all_params(key):
        key_cell, key_start = jax.random.split(key)
        keys = jax.random.split(key_start, len(states))
        start = [init(k, state.shape, state.dtype) for k, state in zip(keys, states, strict=True)]
        return {"cell": cell.init(key_cell), "start": structure.unflatten(start)}

    def initial_carry(batch_shape, key=None):
        first = jnp.ones((*batch_shape, 1), states[0].dtype)  # a float: a reset makes it 1 again, padding holds it
        return first, cell.initial_carry(batch_shape, key)

    def project(params, x):
        start = params.get("start") if isinstance(params, Mapping) else None
        found = [jnp.shape(leaf) for leaf in jax.tree.leaves(start)]
        require(found == shapes, "learned_start: the form of params['start']", found, f"{shapes}, as init makes it")
        return cell.recurrence.project(params["cell"], x)

    def recur(params, carry, z, dot, note):
        first, inner = carry
        rows = first.shape[:-1]
        start = widened(params["start"])  # its gradient is a sum over the rows
        start = jax.tree.map(lambda state: jnp.broadcast_to(state, (*rows, *state.shape)), start)
        inner = restart_rows(first[..., 0] > 0, inner, start)
        inner, y = cell.recurrence.recur(params["cell"], inner, z, dot, note)
        return (jnp.zeros_like(first), inner), y

    recurrence = Recurrence(project, recur)
    sizes = {"input_size": cell.input_size, "output_size": cell.output_size}
    return derive(all_params, initial_carry, recurrence, **sizes)
