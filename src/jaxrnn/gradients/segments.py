"""The reverse-mode family: a chunk's loss as a scan over segments, with a hole between them and one within."""

from collections.abc import Callable
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxrnn.cell import Cell
from jaxrnn.choices import require
from jaxrnn.errors import expect
from jaxrnn.gradients.base import CarryState, Chunk, Estimate, GradientEstimator, check_chunk
from jaxrnn.shapes import credit_where
from jaxrnn.sums import added, sum_dtype, widened
from jaxrnn.trees import is_float, join, renew_keys, split_carry
from jaxrnn.types import Array, Carry, Loss, Params

# (params, carry, chunk) -> (carry, (loss, weight))
ChunkLoss = Callable[[Params, Carry, Chunk], tuple[Carry, tuple[Array, Array]]]


def chunk_loss(cell: Cell, loss: Loss) -> ChunkLoss:
    """Make the function that all reverse-mode rules differentiate: unroll, compare, weigh and sum.

    Equals the loop::

        for t in range(K):
            carry, y = cell.step(params, carry, chunk.inputs[t])
            total += sum(chunk.weight[t] * loss(y, chunk.targets[t]))      # where the weight is not 0

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.

    Returns:
        `(params, carry, chunk) -> (carry, (loss [], weight []))`, both sums, in float32 at least.

    Raises:
        InputError: (from the result) for weights that are no array `[K, B]`.
        AssertionError: (from chex, from the result) for inputs or targets that do not begin with the axes of the
            weights, and for a loss that does not give one number for each weight.

    Example:
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.losses import squared_error
        >>> run = chunk_loss(elman(3, 4), squared_error)
        >>> chunk = Chunk(jnp.zeros((5, 2, 3)), jnp.ones((5, 2, 4)), jnp.ones((5, 2)))
        >>> params = elman(3, 4).init(jax.random.key(0))
        >>> [float(total) for total in run(params, jnp.zeros((2, 4)), chunk)[1]]     # 40 squares of 1, 10 steps
        [40.0, 10.0]
    """

    def run(params, carry, chunk):
        check_chunk(chunk)
        carry, outputs = cell.unroll(params, carry, chunk.inputs)
        # What has weight 0 may be anything: its loss is kept out, and its cotangents, for 0 times infinity is NaN.
        counts = chunk.weight.astype(bool)
        outputs = jax.tree.map(partial(credit_where, counts), outputs)
        each = loss(outputs, chunk.targets)
        expect("the loss must give one number for each weight, [K, B]", chex.assert_shape, each, counts.shape)
        each = widened(each)
        weight = chunk.weight.astype(each.dtype)
        total = jnp.sum(jnp.where(counts, weight * each, jnp.zeros_like(each)))
        return carry, (total, jnp.sum(weight))

    return run


def step_loss(cell: Cell, loss: Loss) -> ChunkLoss:
    """Make `chunk_loss` of chunks of one time step, from the cell's `step`: for rules that go step by step.

    Args:
        cell: the cell.
        loss: see `chunk_loss`.

    Returns:
        `(params, carry, chunk [1, B, ...]) -> (carry, (loss, weight))`.
    """

    def unroll(params, carry, xs):
        carry, y = cell.step(params, carry, jax.tree.map(lambda leaf: leaf[0], xs))
        return carry, jax.tree.map(lambda leaf: leaf[None], y)

    return chunk_loss(cell._replace(unroll=unroll), loss)


def with_credit(
    run: ChunkLoss, params: Params, carry: Carry, chunk: Any, credit: Carry | None = None
) -> tuple[Estimate, Carry, Carry]:
    """Differentiate a chunk's loss with respect to the parameters, and to the carry that it began with.

    Args:
        run: the loss of the chunk.
        params: the parameters.
        carry: what the chunk starts from.
        chunk: `[K, B, ...]`.
        credit: the cotangent of the float leaves of the carry after the chunk; None for none.

    Returns:
        The estimate, the carry after the chunk, and the credit: the cotangent of the float leaves of the one before.

    Raises:
        InputError: for parameters that are no floats.

    Example:
        >>> run = lambda w, h, chunk: (w * h, (w * h, jnp.sum(chunk.weight)))
        >>> chunk = Chunk((), (), jnp.ones((1, 1)))
        >>> estimate, after, credit = with_credit(run, jnp.array(2.0), jnp.array(3.0), chunk)
        >>> float(estimate.loss), float(estimate.grads), float(credit)
        (6.0, 3.0, 2.0)
    """
    whole = [jnp.result_type(p) for p in jax.tree.leaves(params) if not is_float(p)]
    require(not whole, "a parameter's dtype", whole and whole[0].name, "one of floats, for it is to be differentiated")
    floats, others = split_carry(carry)

    def objective(params, floats):
        after, (loss, weight) = run(params, join(floats, others), chunk)
        return (loss, None if credit is None else split_carry(after)[0]), (weight, after)

    (loss, _), pull, (weight, after) = jax.vjp(objective, params, floats, has_aux=True)
    grads, before = pull((jnp.ones_like(loss), credit))
    return Estimate(loss, weight, grads), after, before


def segmented(
    run: ChunkLoss,
    length: int,
    *,
    between: Callable[[Carry, Array], Carry] = lambda carry, segment: carry,
    within: Callable[[ChunkLoss], ChunkLoss] = lambda run: run,
) -> ChunkLoss:
    """Cut a chunk into segments and run them one after another, summing their losses.

    Equals the loop::

        for s in range(ceil(K / length)):
            carry, (l, w) = within(run)(params, between(carry, s), segment[s])
            loss, weight = loss + l, weight + w

    Outputs and logits never leave their segment.

    Args:
        run: the loss of one segment.
        length: time steps in a segment; the last one may be shorter.
        between: `(carry, s []) -> carry`, what becomes of the carry (and of its cotangent, in the backward pass) where
            segment s starts. What it does to credit where s is 0 has no effect, for credit ends there. By default the
            identity.
        within: what a segment keeps for its backward pass: by default everything, with `jax.checkpoint` its inputs.

    Returns:
        A function with the same signature and, as long as `between` changes no value, the same result as `run`.

    Cost:
        With `jax.checkpoint`: memory for the carry at each boundary and the intermediates of one segment; the forward
        pass twice. The chunk itself is not copied, for a segment is read from it where it is computed.

    Example:
        >>> run = lambda params, carry, chunk: (carry + len(chunk.weight), (chunk.weight.sum(), chunk.weight.sum()))
        >>> chunk = Chunk((), (), jnp.ones((5, 1)))
        >>> carry, (loss, weight) = segmented(run, 2)({}, jnp.zeros((), int), chunk)
        >>> int(carry), float(loss)
        (5, 5.0)
    """

    def run_segments(params, carry, chunk):
        check_chunk(chunk)
        wide = widened(params)  # in which the gradients are added up

        def one(carry, s, steps):
            def segment(wide, carry, chunk):
                return run(optax.tree.cast_like(wide, params), carry, piece_of(chunk, s * length, steps))

            return within(segment)(wide, between(carry, s), chunk)

        return sum_over_pieces(one, carry, chunk.weight.shape[0], length)

    return run_segments


def piece_of(chunk: Chunk, start: Any, steps: int) -> Chunk:
    """Read a piece of a chunk.

    Args:
        chunk: arrays `[K, ...]` of one length (`check_chunk`): of a shorter one, the piece would be from elsewhere.
        start: `[]`, the first time step of the piece.
        steps: how many there are in it.

    Returns:
        The piece, arrays `[steps, ...]`.
    """
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, steps), chunk)


def sum_over_pieces(
    function: Callable[[Any, Any, int], tuple[Any, Any]], state: Any, steps: int, length: int
) -> tuple[Any, Any]:
    """Go through time piece by piece, hand on a state and add up what comes out.

    Equals the loop::

        for s in range(ceil(K / length)):
            state, part = function(state, s, min(length, K - s * length))
            total = total + part

    Args:
        function: `(state, s [], steps) -> (state, part)`, with parts of the same shapes for all pieces; see `piece_of`.
        state: the first state.
        steps: K.
        length: time steps in a piece; the last one may be shorter.

    Returns:
        `(state, total)`. Floats are added up in float32 at least, however narrow they are.

    Example:
        >>> count = lambda state, s, steps: (state + 1, jnp.asarray(steps))
        >>> pieces, total = sum_over_pieces(count, 0, steps=5, length=2)
        >>> int(pieces), int(total)
        (3, 5)
    """
    number, left = divmod(steps, length)
    shapes = jax.eval_shape(lambda state, s: function(state, s, min(length, steps)), state, jnp.asarray(0))[1]
    running = state, jax.tree.map(lambda a: jnp.zeros(a.shape, sum_dtype(a.dtype)), shapes)

    def add(running, s, steps):
        state, total = running
        state, part = function(state, s, steps)
        return state, added(total, part)

    if number:
        running = jax.lax.fori_loop(0, number, lambda s, running: add(running, s, length), running)
    state, total = add(running, jnp.asarray(number), left) if left else running
    return state, optax.tree.cast_like(total, shapes)


def reverse_mode(run: ChunkLoss) -> GradientEstimator:
    """Make the estimator that differentiates a chunk's loss backwards, and hands the carry on by value.

    Args:
        run: `(params, carry, chunk) -> (carry, (loss, weight))`.

    Returns:
        An estimator whose state is the carry. It draws no new noise; see `renewing`.

    Example:
        >>> estimator = reverse_mode(lambda w, h, chunk: (w * h, (w * h, jnp.sum(chunk.weight))))
        >>> w, chunk = jnp.array(2.0), Chunk((), (), jnp.ones((1, 1)))
        >>> estimate, state = estimator.estimate(w, estimator.init(None, w, jnp.array(3.0), chunk), chunk)
        >>> float(estimate.grads), float(state.carry)
        (3.0, 6.0)
    """

    def init(key, params, carry, chunk):
        del key, params, chunk
        return CarryState(carry)

    def estimate(params, state, chunk):
        result, carry, _ = with_credit(run, params, state.carry, chunk)
        return result, state._replace(carry=carry)

    return GradientEstimator(init, estimate)


def renewing(estimator: GradientEstimator) -> GradientEstimator:
    """Renew the random keys in the carry at the start of every chunk, so that constant masks last one chunk each.

    Args:
        estimator: any estimator.

    Returns:
        The estimator, equal to the old one for carries without keys.
    """

    def estimate(params, state, chunk):
        return estimator.estimate(params, state._replace(carry=renew_keys(state.carry)), chunk)

    return estimator._replace(estimate=estimate)
