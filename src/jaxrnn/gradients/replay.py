"""Credit from beyond the chunk: past chunks are kept by value, and run again to hand the credit further back."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrnn.cell import Cell
from jaxrnn.choices import require
from jaxrnn.errors import InputError
from jaxrnn.gradients.base import Chunk, Estimate, check_chunk
from jaxrnn.gradients.segments import ChunkLoss, with_credit
from jaxrnn.marks import blank, marked_as
from jaxrnn.sums import added, widened
from jaxrnn.types import Array, Carry, Params


class Past(NamedTuple):
    """The chunks before the present one, oldest first. As long as fewer than N have been seen, the first are empty.

    Attributes:
        starts: like the carry, with a leading axis N: what each of them started from, random keys and counters too.
        inputs: `[N, K, B, ...]`.
        seen: int32 `[]`, how many there were, at most N.
    """

    starts: Carry
    inputs: Any
    seen: Array


class ReplayState(NamedTuple):
    """The state of an estimator whose credit goes back beyond its chunk.

    Attributes:
        carry: the cell's carry after the last chunk.
        past: the chunks before it.
    """

    carry: Carry
    past: Past


def empty_past(carry: Carry, chunk: Chunk, number: int) -> Past:
    """Make room for chunks to come.

    Args:
        carry: a carry.
        chunk: one chunk `[K, B, ...]`; gives shapes only.
        number: N, at least 1.

    Returns:
        A past of which nothing has been seen.
    """
    starts = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (number, *leaf.shape)), carry)
    inputs = jax.tree.map(
        lambda leaf: jnp.zeros((number, *leaf.shape), jax.dtypes.canonicalize_dtype(leaf.dtype)), chunk.inputs
    )
    return Past(starts, inputs, jnp.zeros((), jnp.int32))


def remember(past: Past, carry: Carry, inputs: Any) -> Past:
    """Add a chunk to the past and forget the oldest. Padding is kept as zeros, for it may hold what no state may: NaN.

    Args:
        past: the chunks before it.
        carry: what it started from.
        inputs: `[K, B, ...]`.

    Returns:
        The past with it.
    """
    starts, inputs = jax.tree.map(
        lambda old, new: jnp.concatenate([old[1:], new[None]]),
        (past.starts, past.inputs),
        (carry, marked_as(inputs, blank(inputs))),
    )
    return Past(starts, inputs, jnp.minimum(past.seen + 1, _room(past)))


def estimate_with_replay(
    cell: Cell, run: ChunkLoss, params: Params, state: ReplayState, chunk: Chunk, replays: Any, steps_more: int = 0
) -> tuple[Estimate, ReplayState]:
    """Differentiate the loss of the new chunk through itself and through the chunks before it.

    Equals the loop::

        (loss, weight), carry, pull = vjp(run, params, carry, chunk)
        grads, credit = pull(1)                                  # credit: the cotangent of the carry
        for start, inputs in reversed(past[len(past) - replays :]):      # newest first
            carry, pull = vjp(cell.unroll, params, start, inputs)
            more, credit = pull(credit)
            grads = grads + more
        if steps_more:                                           # and the last steps of one more
            start, inputs = past[-replays - 1]
            start, inputs = cell.unroll(params, start, inputs[:-steps_more])[0], inputs[-steps_more:]
            ...                                                  # as above

    Each past chunk starts from the carry that it had when it was new, so the forward pass is untouched: it is that of
    `bptt`, even where the parameters have changed since.

    Args:
        cell: any cell.
        run: its `chunk_loss`.
        params: its parameters.
        state: the carry and the past.
        chunk: `[K, B, ...]`, of the same form and length as the past ones.
        replays: `[]`, how many past chunks credit goes back through; those not seen yet are left out.
        steps_more: of the chunk before those, how many steps at its end; less than K.

    Returns:
        `(estimate, state)`.

    Raises:
        InputError: for a chunk of another length, or of other shapes or dtypes.

    Cost:
        No derivatives of the estimate: JAX cannot go back through a loop of as many turns as there were chunks.
        Memory of one chunk's intermediates at a time, and of N chunks' inputs and carries. Time for each chunk of one
        forward and backward pass over itself and over every one replayed.
    """
    check_form(state.past, chunk)
    newest, carry, credit = with_credit(run, params, state.carry, chunk)

    def unroll(params, carry, inputs):
        nothing = jnp.zeros(())  # the losses of past chunks are not wanted again
        return cell.unroll(params, carry, inputs)[0], (nothing, nothing)

    def one_further(n, back, skip=0):
        grads, credit = back
        start, inputs = jax.tree.map(lambda a: a[_room(state.past) - 1 - n], (state.past.starts, state.past.inputs))
        if skip:
            start, _ = cell.unroll(params, start, jax.tree.map(lambda a: a[:skip], inputs))
            inputs = jax.tree.map(lambda a: a[skip:], inputs)
        more, _, credit = with_credit(unroll, params, start, inputs, credit)
        return added(grads, more.grads), credit

    back = widened(newest.grads), credit
    back = jax.lax.fori_loop(0, jnp.minimum(state.past.seen, replays), one_further, back)
    if steps_more:
        one_more = partial(one_further, replays, skip=chunk.weight.shape[0] - steps_more)
        back = jax.lax.cond(state.past.seen > replays, one_more, lambda back: back, back)
    grads = optax.tree.cast_like(back[0], newest.grads)
    past = remember(state.past, state.carry, chunk.inputs)
    return newest._replace(grads=grads), ReplayState(carry, past)


def check_form(past: Past, chunk: Chunk) -> None:
    """Refuse a chunk that is not of the form and length of those that are kept.

    Args:
        past: the chunks before it.
        chunk: `[K, B, ...]`.

    Raises:
        InputError: if it is longer or shorter, has marks where the others have not, or arrays of other shapes or
            dtypes: put beside theirs they would change the dtypes of the state.
    """
    check_chunk(chunk)
    kept, given = _of_one_step(past.inputs, 2), _of_one_step(chunk.inputs, 1)
    require(kept == given, "a step of chunk.inputs", given, f"{kept}, as in the chunk that the state was made for")
    before, now = jax.tree.leaves(past.inputs)[0].shape[1], chunk.weight.shape[0]
    if now != before:
        raise InputError(
            f"the chunk has {now} time steps; a horizon longer than the chunk replays past ones, which must all have "
            f"the {before} that the state was made for: pad with weight 0, or make a new state with init"
        )


def _of_one_step(inputs: Any, axes: int) -> Any:
    """Dtypes and shapes without their first axes, in words."""
    dtype = jax.dtypes.canonicalize_dtype
    return jax.tree.map(lambda leaf: f"{dtype(leaf.dtype)}{list(leaf.shape[axes:])}", inputs)


def _room(past: Past) -> int:
    """N, how many chunks there is room for."""
    return jax.tree.leaves(past.inputs)[0].shape[0]
