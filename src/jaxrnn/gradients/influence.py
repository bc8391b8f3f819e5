"""What the online rules share: a chunk step by step, and beside it the influence of the parameters on the carry."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxrnn.cell import Cell
from jaxrnn.choices import require
from jaxrnn.gradients.accumulate import accumulate
from jaxrnn.gradients.base import Chunk, GradientEstimator
from jaxrnn.gradients.segments import renewing, step_loss, with_credit
from jaxrnn.trees import add_where_present, dependencies, join, partition, split_carry
from jaxrnn.types import Array, Carry, Loss, Params


class OnlineState(NamedTuple):
    """The state of an online rule.

    Attributes:
        carry: the cell's carry after the last step.
        influence: what the rule keeps of `dcarry/dparams`, the derivative through all steps so far; row by row.
    """

    carry: Any
    influence: Any


class OnlineRule(NamedTuple):
    """How the influence is kept: three functions that `forward_mode` puts together.

    A tree of parameters here has None in the place of those that the rule does not follow.

    Attributes:
        start: `(key, params, carry, x) -> influence`, that of a carry which depends on no parameter yet.
        credit: `(d_carry, influence) -> grads`: the cotangent of the carry times the influence, summed over the rows.
        advance: `(params, carry, x, influence) -> influence`, that on the carry after the step.
    """

    start: Callable[..., Any]
    credit: Callable[..., Params]
    advance: Callable[..., Any]


def forward_mode(cell: Cell, loss: Loss, rule: OnlineRule) -> GradientEstimator:
    """Make the estimator that goes forward through time and never back.

    With `l_t` the loss of step t as a function of the parameters and of the carry before the step, it equals::

        for t in range(K):
            direct, d_carry = grad(l_t, (params, carry))
            grads += direct + d_carry @ influence                 # rule.credit
            influence = rule.advance(params, carry, x[t], influence)
            carry, _ = cell.step(params, carry, x[t])

    The influence goes from chunk to chunk with the carry, so nothing is cut at a chunk's end. Its parameters are those
    of the moment: after an update the influence is that of old parameters, and the gradient is no longer exact.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        rule: how the influence is kept.

    Returns:
        The estimator, with state `OnlineState`.
    """
    run = step_loss(cell, loss)

    def init(key, params, carry, chunk):
        _refuse_empty(chunk)
        x = jax.tree.map(lambda xs: jnp.zeros(xs.shape[1:], jax.dtypes.canonicalize_dtype(xs.dtype)), chunk.inputs)
        return OnlineState(carry, rule.start(key, params, carry, x))

    def estimate(params, state, moment):
        _refuse_empty(moment)
        direct, carry, d_carry = with_credit(run, params, state.carry, moment)
        through_carry = rule.credit(d_carry, state.influence)
        influence = state.influence
        if jax.tree.leaves(through_carry):  # else no parameter reaches the carry, as in a cell without memory
            influence = rule.advance(params, state.carry, _first(moment.inputs), influence)
        grads = add_where_present(direct.grads, through_carry)
        grads = optax.tree.cast_like(grads, direct.grads)  # the influence may be of more bits than the parameters
        return direct._replace(grads=grads), OnlineState(carry, influence)

    return renewing(accumulate(GradientEstimator(init, estimate), 1))


def influencing(cell: Cell, params: Params, carry: Carry, x: Any) -> Params:
    """Those parameters that the carry after a step depends on; those of a readout, for one, are not among them.

    Args:
        cell: any cell.
        params: its parameters.
        carry: its carry.
        x: `[B, ...]`, the input of one step.

    Returns:
        The parameters, with None in the place of the others.

    Example:
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.compose import with_readout
        >>> cell = with_readout(elman(3, 4), 2)
        >>> found = influencing(cell, cell.init(jax.random.key(0)), cell.initial_carry(5), jnp.ones((5, 3)))
        >>> sorted(found["cell"]), found["readout"]
        (['b_hh', 'b_ih', 'w_hh', 'w_ih'], {'b': None, 'w': None})
    """
    mask = dependencies(lambda params: split_carry(cell.step(params, carry, x)[0])[0], params)
    return partition(params, mask)[0]


def followed(params: Params, influence: Any) -> tuple[Params, Params]:
    """Split the parameters in those that have an influence and the others, as `jaxrnn.trees.partition` does.

    Args:
        params: a tree of arrays.
        influence: the same tree, with any arrays, or None for the others.

    Returns:
        Two trees.
    """
    return partition(params, jax.tree.map(lambda p, s: s is not None, params, influence))


def row_step(step: Callable, params: Params, others: Params, carry: Carry, x: Any) -> tuple[Array, Callable]:
    """The step of one row as a function of vectors, for its derivatives.

    Args:
        step: `(params, carry, x) -> (carry, y)`.
        params: the parameters that are followed, None for the others.
        others: the others.
        carry: one row's carry, float leaves `[H]`.
        x: one row's input.

    Returns:
        The state h `[n]`, all float leaves of the carry end to end, and the function `(params, h) -> h'`.
    """
    floats, noise = split_carry(carry)
    h, unravel = ravel_pytree(floats)

    def function(params, h):
        new, _ = step(join(params, others), join(unravel(h), noise), x)
        return ravel_pytree(split_carry(new)[0])[0]

    return h, function


def map_rows(function: Callable, carry: Carry, x: Any, influence: Any) -> Any:
    """Apply a function to each row; noise that all rows share (leaves without a row axis) each of them sees.

    Args:
        function: `(carry, x, influence) -> result`, of one row.
        carry: leaves `[B, ...]`, or `[]` for shared noise.
        x: leaves `[B, ...]`.
        influence: leaves `[B, ...]`.

    Returns:
        The results, `[B, ...]`.
    """
    axes = [jax.tree.map(lambda leaf: 0 if leaf.ndim else None, tree) for tree in (carry, x)]
    return jax.vmap(function, in_axes=(*axes, 0))(carry, x, influence)


def rows_of(x: Any) -> int:
    """Count the rows of a step's input.

    Args:
        x: leaves `[B, ...]`.

    Returns:
        B.
    """
    return jax.tree.leaves(x)[0].shape[0]


def _refuse_empty(chunk: Chunk) -> None:
    """Refuse a chunk without a step."""
    require(chunk.weight.shape[0] > 0, "chunk: the number of its steps", chunk.weight.shape[0], "1 or more")


def _first(xs: Any) -> Any:
    """The first time step."""
    return jax.tree.map(lambda leaf: leaf[0], xs)
