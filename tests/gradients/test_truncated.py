"""Truncation keeps exactly the lags that it says, equals its definition, and leaves the forward pass alone."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, estimate_by_definition, random_like, random_params
from jaxrnn.cells import gru, lstm
from jaxrnn.compose import dropout, stack
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, accumulate, adaptive_bptt, bptt, truncated_bptt
from jaxrnn.gradients.budget import compiled_memory
from jaxrnn.losses import squared_error
from jaxrnn.stepwise import from_step
from jaxrnn.trees import join, renew_keys, split_carry
from jaxrnn.types import Marked

LENGTH, CHUNKS, ROWS = 3, 5, 2  # chunks of three steps, five of them
STEPS = LENGTH * CHUNKS


def in_chunks(sequence, length=LENGTH):
    """`[T, ...]` as chunks `[T / length, length, ...]`."""
    return jax.tree.map(lambda a: a.reshape(-1, length, *a.shape[1:]), sequence)


def fed(estimator, params, carry, chunks):
    """Every chunk's estimate, and every state: after each chunk, at parameters `[N, ...]` that may differ for each."""
    state = estimator.init(jax.random.key(0), params, carry, jax.tree.map(lambda a: a[0], chunks))

    def one(state, now):
        estimate, state = estimator.estimate(*now[:1], state, now[1])
        return state, (estimate, state.carry)

    same = jax.tree.map(lambda p: jnp.broadcast_to(p, (len(chunks.weight), *p.shape)), params)
    return lambda per_chunk=same: jax.jit(lambda: jax.lax.scan(one, state, (per_chunk, chunks))[1])()


# The scalar linear network, where the gradient is a sum over lags that can be written down.

LINEAR = from_step(
    init=lambda key: {"a": jnp.asarray(0.8), "b": jnp.asarray(1.0)},
    initial_carry=lambda batch_shape, key=None: jnp.zeros((*batch_shape, 1)),
    step=lambda params, h, x: (params["a"] * h + params["b"] * x,) * 2,
)


def slopes(outputs, targets):
    """A linear loss: the targets are its slopes."""
    return jnp.sum(outputs * targets, axis=-1)


@cache
def linear_stream():
    rng = np.random.default_rng(0)
    return Chunk(rng.random((STEPS, 1, 1)) + 0.1, rng.random((STEPS, 1, 1)) + 0.1, np.ones((STEPS, 1)))


@cache
def slope_of_b(horizon):
    """What truncated BPTT says of d loss / d b for each chunk."""
    estimator = truncated_bptt(LINEAR, slopes, horizon=horizon)
    params = LINEAR.init(None)
    return fed(estimator, params, LINEAR.initial_carry(1), in_chunks(linear_stream()))()[0].grads["b"]


@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 5, 6, 8, 9, 15, 16, 18])
def test_exactly_the_promised_lags_are_kept(horizon):
    """`d h_t / d b = sum_k a^k x_{t-k}`; at offset i of its chunk lags 0 to `horizon - K + i`, of its piece 0 to i."""
    xs, es, _ = (np.asarray(a).ravel() for a in linear_stream())
    expected = np.zeros(CHUNKS)
    for t in range(STEPS):
        chunk, offset = divmod(t, LENGTH)
        longest = offset % horizon if horizon < LENGTH else horizon - LENGTH + offset
        for lag in range(min(longest, t) + 1):
            expected[chunk] += es[t] * 0.8**lag * xs[t - lag]
    assert_close(slope_of_b(horizon), jnp.asarray(expected))


def test_the_error_falls_with_the_horizon_and_vanishes_at_the_whole_sequence():
    whole_sequence = in_chunks(linear_stream(), STEPS)
    full = fed(bptt(LINEAR, slopes), LINEAR.init(None), LINEAR.initial_carry(1), whole_sequence)()[0]
    whole = float(full.grads["b"][0])
    errors = [abs(float(slope_of_b(horizon).sum()) / whole - 1) for horizon in (1, 2, 3, 6, 9, 15)]
    assert all(longer < shorter for shorter, longer in zip(errors, errors[1:], strict=False))
    assert errors[0] > 0.5 and errors[-1] < 1e-13


# A deep noisy network with marks, against the definition.


@cache
def noisy_network():
    cell = stack(lstm(2, 3), dropout(0.4), gru(3, 4))
    params = random_params(0, cell)
    carry = random_like(1, cell.initial_carry(ROWS, jax.random.key(2)))
    rng = np.random.default_rng(3)
    marks = (rng.random((2, STEPS, ROWS)) < np.array([0.15, 0.8])[:, None, None]).astype(bool)
    stream = random_like(4, Chunk(np.zeros((STEPS, ROWS, 2)), np.zeros((STEPS, ROWS, 4)), np.zeros((STEPS, ROWS))))
    return cell, params, carry, stream._replace(inputs=Marked(stream.inputs, *marks))


def by_definition(cell, params, carry, stream, weight, cut_at):
    """One gradient over the whole stream from its very start, with `stop_gradient` before the step `cut_at`."""

    def objective(params):
        def body(carry, now):
            t, x, target = now
            floats, others = split_carry(carry)
            floats = jax.tree.map(lambda a: jnp.where(t == cut_at, jax.lax.stop_gradient(a), a), floats)
            others = jax.tree.map(lambda a, b: jnp.where(t % LENGTH == 0, b, a), others, renew_keys(others))
            carry, y = cell.step(params, join(floats, others), x)
            return carry, squared_error(y, target)

        each = jax.lax.scan(body, carry, (jnp.arange(STEPS), stream.inputs, stream.targets))[1]
        return jnp.sum(weight * each)

    return jax.value_and_grad(objective)(params)


@cache
def defined():
    """The definition, for each chunk and the step `[N]` where its credit ends; compiled once for all horizons."""
    cell, params, carry, stream = noisy_network()
    new = np.repeat(np.eye(CHUNKS), LENGTH, axis=1)[:, :, None] * np.asarray(stream.weight)[None]  # [N, T, B]
    one = lambda weight, cut_at: by_definition(cell, params, carry, stream, weight, cut_at)  # noqa: E731
    compiled = jax.jit(jax.vmap(one))
    return lambda cuts: compiled(new, cuts)


@pytest.mark.parametrize("horizon", [LENGTH, LENGTH + 1, 2 * LENGTH - 1, 2 * LENGTH, 3 * LENGTH - 2, 3 * LENGTH])
def test_replay_is_the_definition_with_resets_padding_and_dropout(horizon):
    cell, params, carry, stream = noisy_network()
    estimates, _ = fed(truncated_bptt(cell, squared_error, horizon=horizon), params, carry, in_chunks(stream))()
    assert_close((estimates.loss, estimates.grads), defined()(np.arange(1, CHUNKS + 1) * LENGTH - horizon))


def test_the_forward_pass_is_that_of_bptt_while_parameters_change():
    cell, params, carry, stream = noisy_network()
    drifting = jax.tree.map(lambda p: p * np.linspace(1, 2, CHUNKS).reshape(-1, *[1] * p.ndim), params)
    plain, replayed = (
        fed(estimator, params, carry, in_chunks(stream))(drifting)
        for estimator in (bptt(cell, squared_error), truncated_bptt(cell, squared_error, horizon=2 * LENGTH))
    )
    assert_close(replayed[0][:2], plain[0][:2])
    assert_close(replayed[1], plain[1])


def test_past_chunks_run_under_the_new_parameters_each_from_the_carry_that_it_had():
    """Two chunks back, at parameters that have moved: by value a chunk begins where it began, credit comes through."""
    cell, params, carry, stream = noisy_network()
    chunks, last, back = in_chunks(stream), 4, 2
    drifting = jax.tree.map(lambda p: p * np.linspace(1, 2, CHUNKS).reshape(-1, *[1] * p.ndim), params)
    estimates, _ = fed(truncated_bptt(cell, squared_error, horizon=(back + 1) * LENGTH), params, carry, chunks)(
        drifting
    )
    _, ends = fed(bptt(cell, squared_error), params, carry, chunks)(drifting)

    def at(tree, number):
        return jax.tree.map(lambda leaf: leaf[number], tree)

    def loss(params):
        before = None
        for number in range(last - back, last + 1):
            floats, others = split_carry(renew_keys(at(ends, number - 1)))
            if before is not None:  # the value that was kept, the derivative of the chunk before
                floats = jax.tree.map(lambda kept, end: kept + end - jax.lax.stop_gradient(end), floats, before)
            end, ys = cell.unroll(params, join(floats, others), at(chunks.inputs, number))
            before = split_carry(end)[0]
        return jnp.sum(at(chunks.weight, last) * squared_error(ys, at(chunks.targets, last)))

    assert_close(at(estimates.grads, last), jax.jit(jax.grad(loss))(at(drifting, last)))


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 5, 8, 11])  # 0, 1, k - 1, k, k + 1, 2k, and one k does not divide
def test_a_sequence_of_any_length_is_the_definition(steps):
    """`stop_gradient` on the carry before every k-th step, within one gradient over the whole sequence."""
    horizon, (cell, params, carry, stream) = 4, noisy_network()
    sequence = jax.tree.map(lambda a: a[:steps], stream)
    estimator = truncated_bptt(cell, squared_error, horizon=horizon)
    found, state = jax.jit(estimator.estimate)(params, estimator.init(None, params, carry, sequence), sequence)
    (loss, weight, grads), last = jax.jit(partial(estimate_by_definition, cell, squared_error))(
        params, carry, sequence, horizon, STEPS + 1
    )
    assert_close(tuple(found), (loss, weight, grads))
    assert_close(split_carry(state.carry)[0], split_carry(last)[0])


IN_PIECES = {
    "truncated": lambda cell: truncated_bptt(cell, squared_error, horizon=64),
    "truncated, with a rest": lambda cell: truncated_bptt(cell, squared_error, horizon=60),
    "accumulated": lambda cell: accumulate(bptt(cell, squared_error), 60),
    "full": lambda cell: bptt(cell, squared_error),
}


@pytest.mark.parametrize("rule", IN_PIECES)
def test_memory_is_flat_from_4_to_64_thousand_steps(rule):
    """Temporary bytes of the compiled program, to 5 %; nothing is run. Of full BPTT it is 16 times as much."""
    cell = lstm(2, 8)
    params, carry = jax.eval_shape(cell.init, jax.random.key(0)), cell.initial_carry(ROWS)

    def temporaries(steps):
        shapes = [jax.ShapeDtypeStruct((steps, ROWS, *more), float) for more in ((2,), (8,), ())]
        return compiled_memory(IN_PIECES[rule](cell), params, carry, Chunk(*shapes))

    growth = temporaries(64_000) / temporaries(4_000)
    assert growth > 15 if rule == "full" else growth <= 1.05


def test_credit_replayed_through_many_chunks_is_added_up_in_32_bits():
    """In bfloat16, 256 + 1 is 256."""
    cell = from_step(
        init=lambda key: {"b": jnp.zeros(1, jnp.bfloat16)},
        initial_carry=lambda batch_shape, key=None: jnp.zeros((*batch_shape, 1), jnp.bfloat16),
        step=lambda params, h, x: (h + params["b"][None],) * 2,
    )
    estimator, params = truncated_bptt(cell, slopes, horizon=1000), cell.init(None)
    one = jnp.ones((1, 1, 1), jnp.bfloat16)
    chunk = Chunk(one, one, jnp.ones((1, 1)))
    start = estimator.init(None, params, cell.initial_carry(1), chunk)
    step = lambda state, _: (estimator.estimate(params, state, chunk)[1], None)  # noqa: E731
    state, _ = jax.jit(lambda state: jax.lax.scan(step, state, None, 999))(start)
    assert jax.jit(estimator.estimate)(params, state, chunk)[0].grads["b"].tolist() == [1000]


def test_marks_that_come_later_are_refused():
    chunk = Chunk(*(np.zeros((LENGTH, 1, 1)),) * 2, np.zeros((LENGTH, 1)))
    estimator = truncated_bptt(LINEAR, slopes, horizon=2 * LENGTH)
    state = estimator.init(jax.random.key(0), {}, LINEAR.initial_carry(1), chunk)
    with pytest.raises(InputError, match="chunk.inputs is .*Marked.* as in the chunk that the state was made for"):
        estimator.estimate({}, state, chunk._replace(inputs=Marked(chunk.inputs, keep=np.ones((LENGTH, 1), bool))))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (np.zeros((LENGTH, 1, 1), np.float32), r"'float32\[1, 1\]'; it must be float64\[1, 1\]"),
        (np.zeros((LENGTH, 1, 2)), r"'float64\[1, 2\]'; it must be float64\[1, 1\]"),
    ],
)
@pytest.mark.parametrize(
    "rule", [partial(truncated_bptt, horizon=2 * LENGTH), partial(adaptive_bptt, longest=2 * LENGTH)]
)
def test_inputs_of_another_form_than_those_of_the_past_are_refused(rule, changed, expected):
    """Put beside each other, they would change the dtype of the state."""
    chunk = Chunk(*(np.zeros((LENGTH, 1, 1)),) * 2, np.zeros((LENGTH, 1)))
    estimator = rule(LINEAR, slopes)
    state = estimator.init(jax.random.key(0), {}, LINEAR.initial_carry(1), chunk)
    with pytest.raises(InputError, match=f"a step of chunk.inputs is {expected}, as in the chunk that the state"):
        estimator.estimate({}, state, chunk._replace(inputs=changed))


def test_a_chunk_of_another_length_than_the_past_is_refused():
    chunk = Chunk(*(np.zeros((LENGTH, 1, 1)),) * 2, np.zeros((LENGTH, 1)))
    estimator = truncated_bptt(LINEAR, slopes, horizon=2 * LENGTH)
    state = estimator.init(jax.random.key(0), {}, LINEAR.initial_carry(1), chunk)
    with pytest.raises(InputError, match="the chunk has 2 time steps"):
        estimator.estimate({}, state, jax.tree.map(lambda a: a[:2], chunk))
