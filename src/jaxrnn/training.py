"""Training: everything that survives an update as one value, and the one compiled function that changes it.

::

    state = init(estimator, optimizer, key, params, carry, chunk)
    train_step = make_train_step(estimator, optimizer)
    for chunks in ...:                                      # [U, A, K, B, ...]: see `stack_chunks`
        state, metrics = train_step(state, chunks)          # nothing waits: metrics are arrays, to be read later
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxrnn.choices import is_number, is_whole, require
from jaxrnn.errors import expect
from jaxrnn.gradients.accumulate import accumulate
from jaxrnn.gradients.base import Chunk, Estimate, GradientEstimator, check_chunk
from jaxrnn.optimizers import Optimizer, check_optimizer, descend
from jaxrnn.parallel import data_parallel
from jaxrnn.sums import norm
from jaxrnn.trees import is_float, join, split_carry
from jaxrnn.types import Array, Carry, Params


class TrainState(NamedTuple):
    """Everything that survives an update; saving it, and where the data stand, is saving the run.

    Attributes:
        step: int32 `[]`, updates made.
        params: the parameters.
        optimizer: the state of the optimizer's transformation.
        estimator: the state of the gradient estimator, with the carry and its random keys.
        rate_scale: `[]`, a factor on the learning rate: see `scale_rate`.
        skipped: int32 `[]`, updates not made because something was not finite.
        skipped_in_a_row: int32 `[]`, those of them since the last update made.
    """

    step: Array
    params: Params
    optimizer: Any
    estimator: Any
    rate_scale: Array
    skipped: Array
    skipped_in_a_row: Array


class Metrics(NamedTuple):
    """What there is to report of U updates, each an array `[U]`.

    Attributes:
        step: updates made so far, this one included.
        loss: the sum of the losses.
        weight: the sum of their weights; `loss / weight` is the mean, where it is not 0.
        gradient_norm: length of the averaged gradient, before clipping.
        clipped: whether it was clipped.
        parameter_norm: length of the parameters after the update.
        update_norm: length of the step that they took; 0 where no update was made.
        rate: the learning rate, with its scale.
        skipped: whether the update was not made because something was not finite.
        skipped_in_a_row: how many were not, up to here: the one to stop at.
    """

    step: Array
    loss: Array
    weight: Array
    gradient_norm: Array
    clipped: Array
    parameter_norm: Array
    update_norm: Array
    rate: Array
    skipped: Array
    skipped_in_a_row: Array


def init(
    estimator: GradientEstimator, optimizer: Optimizer, key: Array, params: Params, carry: Carry, chunk: Chunk
) -> TrainState:
    """Make the state before the first update, in memory of its own: what is passed in stays valid.

    Args:
        estimator: how to differentiate through time.
        optimizer: how to descend.
        key: a random key for the estimator, used up.
        params: the parameters to start from.
        carry: the carry to start from.
        chunk: one chunk `[K, B, ...]`; gives shapes only.

    Returns:
        The state.

    Raises:
        InputError: for an optimizer that is no `Optimizer`, or a chunk that is not one of arrays `[K, B, ...]`.
    """
    check_optimizer("init", optimizer)
    check_chunk(chunk)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        optimizer=optimizer.transformation.init(params),
        estimator=estimator.init(key, params, carry, chunk),
        rate_scale=jnp.ones((), float),
        skipped=jnp.zeros((), jnp.int32),
        skipped_in_a_row=jnp.zeros((), jnp.int32),
    )
    return _own(state)


def make_train_step(
    estimator: GradientEstimator, optimizer: Optimizer, *, full_weight: float | None = None, mesh: Mesh | None = None
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Make the compiled function that trains: U updates in one call, each from A chunks.

    Equals the loop::

        for u in range(count):
            state, metrics[u] = update(estimator, optimizer, state, chunks[u])

    It is compiled once for each shape of `chunks`. The state is donated: its memory becomes that of the new one, and
    the old one must not be used again.

    Args:
        estimator: how to differentiate through time.
        optimizer: how to descend.
        full_weight: see `update`.
        mesh: see `update`.

    Returns:
        `train_step(state, chunks, count=U) -> (state, metrics)`, where every array of `chunks` leads with `[U, A]`.
        A count below U leaves out the last updates, whose metrics mean nothing: so a run ends anywhere.

    Raises:
        InputError: for an optimizer that is no `Optimizer`, or a full weight that is not above 0.
        AssertionError: (from chex, when called) if the arrays of `chunks` do not all lead with one `[U, A, K, B]`.

    Example:
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients.bptt import bptt
        >>> from jaxrnn.losses import squared_error
        >>> from jaxrnn.optimizers import optimizer
        >>> cell, sgd = elman(3, 4), optimizer("sgd", 0.1)
        >>> rule, chunk = bptt(cell, squared_error), Chunk(np.ones((5, 2, 3)), np.ones((5, 2, 4)), np.ones((5, 2)))
        >>> state = init(rule, sgd, jax.random.key(0), cell.init(jax.random.key(1)), cell.initial_carry(2), chunk)
        >>> state, metrics = make_train_step(rule, sgd)(state, stack_chunks([chunk] * 6, updates=3, accumulation=2))
        >>> int(state.step), metrics.weight.tolist(), bool(metrics.loss[2] < metrics.loss[0])
        (3, [20.0, 20.0, 20.0], True)
    """
    check_optimizer("make_train_step", optimizer)
    good = full_weight is None or (is_number(full_weight) and 0 < full_weight < np.inf)
    require(good, "make_train_step: full_weight", full_weight, "a number above 0, or None")

    def train_step(state: TrainState, chunks: Chunk, count: Any = None) -> tuple[TrainState, Metrics]:
        expect("train_step: chunks.weight must be [U, A, K, B], see stack_chunks", chex.assert_rank, chunks.weight, 4)
        message = "train_step: every array of chunks must lead with the same [U, A, K, B]"
        expect(message, chex.assert_equal_shape_prefix, jax.tree.leaves(chunks), 4)
        number = len(chunks.weight)

        def one(state: TrainState, at_u: tuple[Array, Chunk]) -> tuple[TrainState, Metrics]:
            u, chunks = at_u
            after, metrics = update(estimator, optimizer, state, chunks, full_weight=full_weight, mesh=mesh)
            return after if count is None else _select(u < jnp.asarray(count, int), after, state), metrics

        if number > 1:
            return jax.lax.scan(one, state, (jnp.arange(number), chunks))
        state, metrics = one(state, jax.tree.map(lambda leaf: leaf[0], (jnp.arange(1), chunks)))  # no loop, no copies
        return state, jax.tree.map(lambda metric: metric[None], metrics)

    return jax.jit(train_step, donate_argnums=0)


def update(
    estimator: GradientEstimator,
    optimizer: Optimizer,
    state: TrainState,
    chunks: Chunk,
    *,
    full_weight: float | None = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """Make one update from A chunks that follow one another, all seen with the same parameters.

    Equals::

        for a in range(A):
            estimate, estimator_state = estimator.estimate(params, estimator_state, chunks[a])
            total = total + estimate
        params = descend(total.grads / total.weight, params)

    but in two cases parameters, optimizer and step stay as they are, bit for bit. Where the total weight is not above 0
    nothing is learnt. Where the loss, the gradient, either new state or the new parameters are not finite, the update
    is skipped and counted (the gradient is looked at raw: clipping turns an infinite one into NaN and zeros). The
    estimator's state is always the last finite one. However many in a row are bad, none is made: stop by the metrics.

    Args:
        estimator: how to differentiate through time.
        optimizer: how to descend.
        state: what there is before.
        chunks: one chunk after the other, `[A, K, B, ...]`.
        full_weight: the total weight, above 0, at which the learning rate is the whole one, for chunks that differ in
            length: it is multiplied by `total.weight / full_weight`, so that every step counts as much. None: never.
        mesh: devices that share the rows of every chunk, see `jaxrnn.parallel`; None: it runs where the arrays are.

    Returns:
        The new state, and the metrics of this update, each `[]`.

    Cost:
        The memory of one chunk and, where A is above 1, of two gradients.
    """
    total, after = _total(estimator, state, chunks, mesh)
    counted = total.weight > 0
    # The mean is a factor that its users multiply the sums by, which are in memory anyway; it need never be.
    share = 1.0 / jnp.where(counted, total.weight, 1.0)
    grads = jax.tree.map(lambda g: share.astype(g.dtype) * g, total.grads)
    gradient_norm = share * norm(total.grads).astype(share.dtype)
    sound = _all_finite(after)
    finite = sound & jnp.isfinite(total.loss) & jnp.isfinite(gradient_norm)

    fullness = 1.0 if full_weight is None else (total.weight / full_weight).astype(state.rate_scale.dtype)
    rate_scale = fullness * state.rate_scale
    descent = descend(optimizer, grads, gradient_norm, state.params, state.optimizer, state.step, rate_scale)
    # A finite step leaves parameters finite, but in float16. A second moment may overflow, and later steps would be 0.
    halves = [p for p in jax.tree.leaves(descent.params) if p.dtype == jnp.float16]
    finite &= jnp.isfinite(descent.update_norm) & _all_finite((descent.state, halves))
    made = finite & counted

    in_a_row = jnp.where(finite, jnp.where(counted, 0, state.skipped_in_a_row), state.skipped_in_a_row + 1)
    state = state._replace(
        step=state.step + made.astype(jnp.int32),
        params=_select(made, descent.params, state.params),
        optimizer=_select(made, descent.state, state.optimizer),
        estimator=_select(sound, after, state.estimator),
        skipped=state.skipped + (~finite).astype(jnp.int32),
        skipped_in_a_row=in_a_row,
    )
    metrics = Metrics(
        step=state.step,
        loss=total.loss,
        weight=total.weight,
        gradient_norm=gradient_norm,
        clipped=descent.clipped & finite,
        parameter_norm=norm(state.params),
        update_norm=jnp.where(made, descent.update_norm, 0.0),
        rate=descent.rate,
        skipped=~finite,
        skipped_in_a_row=in_a_row,
    )
    return state, metrics


def restart(estimator: GradientEstimator, state: TrainState, key: Array, carry: Carry, chunk: Chunk) -> TrainState:
    """Start on the data anew, as at the beginning of an epoch, with the parameters and the optimizer as they are.

    The float leaves of the carry, and all else that the estimator remembers, start afresh; the random keys in the carry
    go on, so that no epoch repeats the noise of another.

    Args:
        estimator: how to differentiate through time.
        state: the state, not to be used again.
        key: a random key for the estimator, used up.
        carry: a fresh carry, made with a key where the first one was; only its float leaves are used.
        chunk: one chunk `[K, B, ...]`; gives shapes only.

    Returns:
        The state to go on with.
    """
    (floats, _), (before, others) = split_carry(carry), split_carry(state.estimator.carry)
    form, expected = jax.tree.structure(floats), jax.tree.structure(before)
    require(form == expected, "restart: carry", form, f"{expected}, made with a key as the first one was")
    return state._replace(estimator=_own(estimator.init(key, state.params, join(floats, others), chunk)))


def scale_rate(state: TrainState, factor: float) -> TrainState:
    """Multiply the learning rate of all updates to come; the moments of the optimizer stay as they are.

    Args:
        state: the state, not to be used again.
        factor: such as 1/4, where validation stalls (see `jaxrnn.schedules.stalled`).

    Returns:
        The state to go on with.
    """
    return state._replace(rate_scale=state.rate_scale * factor)


def stack_chunks(chunks: Sequence[Chunk], *, updates: int | None = None, accumulation: int = 1) -> Chunk:
    """Stack chunks that follow one another into what a train step takes: A chunks for each of U updates.

    Where there are fewer than U * A, as at the end of an epoch, the last one is repeated with weight 0. That changes
    nothing but the carry; give the train step a count where the carry goes on.

    Args:
        chunks: from 1 to U * A chunks of NumPy arrays `[K, B, ...]`.
        updates: U; None for as many as the chunks need.
        accumulation: A.

    Returns:
        A chunk of NumPy arrays `[U, A, K, B, ...]`.

    Raises:
        InputError: where there is no chunk, one too many, or one of another form; where U or A is no whole number.

    Example:
        >>> chunk = Chunk(np.zeros((5, 2), int), np.zeros((5, 2), int), np.ones((5, 2)))
        >>> stack_chunks([chunk] * 3, updates=2, accumulation=2).weight.sum(axis=(2, 3)).tolist()
        [[10.0, 10.0], [10.0, 0.0]]
    """
    require(not isinstance(chunks, Chunk), "stack_chunks: chunks", "a single Chunk", "several, such as [chunk]")
    require(is_whole(accumulation), "stack_chunks: accumulation", accumulation, "a whole number, 1 or more")
    updates = max(1, -(-len(chunks) // accumulation)) if updates is None else updates
    require(is_whole(updates), "stack_chunks: updates", updates, "a whole number, 1 or more")
    room = updates * accumulation
    require(1 <= len(chunks) <= room, "stack_chunks: len(chunks)", len(chunks), f"from 1 to U * A = {room}")
    first = jax.tree.map(np.shape, chunks[0])
    for form in (jax.tree.map(np.shape, chunk) for chunk in chunks):
        require(form == first, "stack_chunks: a chunk", form, f"{first}, as the first: pad with weight 0, mark all")
    padding = chunks[-1]._replace(weight=np.zeros_like(chunks[-1].weight))
    padded = [*chunks, *[padding] * (room - len(chunks))]
    return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(updates, accumulation, *leaves[0].shape), *padded)


def _total(estimator: GradientEstimator, state: TrainState, chunks: Chunk, mesh: Mesh | None) -> tuple[Estimate, Any]:
    """The sum of the estimates of the chunks `[A, K, B, ...]`; devices add up what they have once, after the last."""
    number, length, *_ = chunks.weight.shape
    joined = jax.tree.map(lambda leaf: leaf.reshape(number * length, *leaf.shape[2:]), chunks)
    whole = estimator if number == 1 else accumulate(estimator, length)
    whole = whole if mesh is None else data_parallel(whole, mesh)
    return whole.estimate(state.params, state.estimator, joined)


def _all_finite(tree: Any) -> Array:
    """Whether every float leaf is finite everywhere, bool `[]`."""
    checks = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree) if is_float(leaf)]
    return jnp.all(jnp.stack([jnp.array(True), *checks]))


def _select(take: Array, new: Any, old: Any) -> Any:
    """The new tree or the old one, bit for bit; keys and integers too."""
    return jax.tree.map(partial(jax.lax.select, take), new, old)


def _own(tree: Any) -> Any:
    """A copy whose leaves share memory with nothing, and with each other least of all: they are to be donated."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, dtype=jnp.result_type(leaf), copy=True), tree)
