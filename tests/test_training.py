"""The train step against plain Python loops, and against everything that must not disturb it."""

import math
from functools import cache, partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.cells.elman import elman
from jaxrnn.compose import dropout, stack, temporal_penalty, with_penalties, with_readout
from jaxrnn.errors import InputError
from jaxrnn.gradients import CarryState, Chunk, Estimate, GradientEstimator, adaptive_bptt, bptt, truncated_bptt
from jaxrnn.losses import squared_error
from jaxrnn.optimizers import optimizer
from jaxrnn.schedules import schedule
from jaxrnn.training import init, make_train_step, restart, scale_rate, stack_chunks
from jaxrnn.types import Marked

K, B, SIZE = 4, 3, 2
CELL = with_readout(elman(SIZE, 5), SIZE)
PARAMS = CELL.init(jax.random.key(0))
BPTT = bptt(CELL, squared_error)
MOMENTUM = optimizer("momentum", 0.05, clip_norm=2.0)
train_step_of = cache(make_train_step)  # the same program for as many tests as possible


def chunks_of(number, seed=0, steps=K):
    """Some chunks that follow one another, with weights that differ."""
    draw = np.random.default_rng(seed).normal
    return [
        Chunk(draw(size=(steps, B, SIZE)), draw(size=(steps, B, SIZE)), np.abs(draw(size=(steps, B))))
        for _ in range(number)
    ]


def start(estimator=BPTT, made_by=MOMENTUM, cell=CELL, key=None):
    return init(estimator, made_by, jax.random.key(1), PARAMS, cell.initial_carry((B,), key), chunks_of(1)[0])


def run(chunks, updates=1, accumulation=1, estimator=BPTT, made_by=MOMENTUM, state=None):
    """Train on all chunks; the metrics of all updates joined."""
    train_step = train_step_of(estimator, made_by)
    state = start(estimator, made_by) if state is None else state
    seen, each = [], updates * accumulation
    for first in range(0, len(chunks), each):
        stacked = stack_chunks(chunks[first : first + each], updates=updates, accumulation=accumulation)
        state, metrics = train_step(state, stacked)
        seen.append(metrics)
    return state, jax.tree.map(lambda *leaves: np.concatenate(leaves), *seen)


def assert_same(a, b):
    """Equal bit for bit: structure, dtypes and values."""
    chex.assert_trees_all_equal(*(jax.tree.map(bits, tree) for tree in (a, b)), strict=True)


def bits(leaf):
    keys = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if keys else leaf).view(np.uint8) if leaf.ndim else np.asarray(leaf)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13), a, b)


# --- The definition: a plain loop over steps, chunks and updates.


def plain_loss(params, carry, chunk):
    """Sum of the weighted losses, one step at a time."""
    total = 0.0
    for x, target, weight in zip(*chunk, strict=True):
        carry, y = CELL.step(params, carry, x)
        total = total + jnp.sum(weight * jnp.sum((y - target) ** 2, axis=-1))
    return total, carry


plain_forward = jax.jit(plain_loss)
plain_gradient = jax.jit(jax.value_and_grad(plain_loss, has_aux=True))


def plain_training(chunks, accumulation, rate=0.05, momentum=0.9, bound=2.0):
    """Momentum with clipping, by hand: an update after every `accumulation` chunks."""
    gradient = plain_gradient
    params, carry = PARAMS, CELL.initial_carry((B,))
    velocity = jax.tree.map(np.zeros_like, params)
    rows = []
    for first in range(0, len(chunks), accumulation):
        loss, weight, grads = 0.0, 0.0, jax.tree.map(np.zeros_like, params)
        for chunk in chunks[first : first + accumulation]:
            (part, carry), more = gradient(params, carry, chunk)
            loss, weight = loss + float(part), weight + chunk.weight.sum()
            grads = jax.tree.map(np.add, grads, more)
        grads = jax.tree.map(lambda g, weight=weight: g / weight, grads)
        norm = math.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
        shrink = min(1.0, bound / norm)
        velocity = jax.tree.map(lambda v, g, shrink=shrink: momentum * v + shrink * g, velocity, grads)
        params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
        rows.append((loss, weight, norm, norm > bound))
    return params, carry, rows


@pytest.mark.parametrize("updates, accumulation", [(1, 1), (3, 1), (3, 2)])
def test_training_equals_the_plain_loop(updates, accumulation):
    """With accumulation 1 an update follows every chunk, so that each chunk sees newer weights; with 2, shared ones."""
    chunks = chunks_of(6 * accumulation)
    state, metrics = run(chunks, updates, accumulation)
    params, carry, rows = plain_training(chunks, accumulation)
    assert_close(state.params, params)
    assert_close(state.estimator.carry, carry)
    seen = list(zip(metrics.loss, metrics.weight, metrics.gradient_norm, metrics.clipped, strict=True))
    np.testing.assert_allclose(seen, rows, rtol=1e-12)
    assert {row[3] for row in rows} == {True, False}  # both cases of clipping were met
    assert metrics.step.tolist() == [1, 2, 3, 4, 5, 6] and int(state.step) == 6


def test_one_update_for_a_sequence_is_one_setting_away():
    """A horizon shorter than the chunk and an accumulation of short chunks are the same thing."""
    short = chunks_of(6)
    long = [
        Chunk(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))
        for a, b in zip(short[::2], short[1::2], strict=True)
    ]
    by_horizon, _ = run(long, updates=3, estimator=truncated_bptt(CELL, squared_error, horizon=K))
    by_accumulation, _ = run(short, updates=3, accumulation=2)
    assert_close(by_horizon.params, by_accumulation.params)
    after_each, _ = run(short)
    difference = jax.tree.map(lambda a, b: np.abs(a - b).max(), after_each.params, by_horizon.params)
    assert max(jax.tree.leaves(difference)) > 1e-3  # and an update after every chunk is another


def test_the_rate_goes_with_the_weight_where_chunks_differ_in_length():
    """Then plain descent follows the sums, as if they were divided by the full weight and not by their own."""
    sgd, full_weight = optimizer("sgd", 0.05), 10.0
    chunks = chunks_of(2)
    train_step = make_train_step(BPTT, sgd, full_weight=full_weight)
    state, metrics = train_step(start(made_by=sgd), stack_chunks(chunks, updates=2))
    params, carry = PARAMS, CELL.initial_carry((B,))
    for chunk in chunks:
        (_, carry), grads = plain_gradient(params, carry, chunk)
        params = jax.tree.map(lambda p, g: p - 0.05 * g / full_weight, params, grads)
    assert_close(state.params, params)
    np.testing.assert_allclose(metrics.rate, [0.05 * chunk.weight.sum() / full_weight for chunk in chunks], rtol=1e-12)


def test_several_updates_in_a_dispatch_are_the_same_updates():
    chunks = chunks_of(6)
    (one, seen_one), (three, seen_three) = run(chunks, updates=1), run(chunks, updates=3)
    assert_close(one.params, three.params)
    assert_close(seen_one._asdict(), seen_three._asdict())


def test_metrics_report_the_update():
    rate = optimizer("adam", schedule("linear", 0.1, steps=4), weight_decay=0.1)
    chunks = chunks_of(3)
    state, metrics = run(chunks, updates=3, made_by=rate)
    np.testing.assert_allclose(metrics.rate, [0.1, 0.075, 0.05], rtol=1e-12)
    length = math.sqrt(sum(np.sum(np.square(p)) for p in jax.tree.leaves(state.params)))
    np.testing.assert_allclose(metrics.parameter_norm[-1], length, rtol=1e-12)
    before, _ = run(chunks[:2], updates=3, made_by=rate)
    moved = jax.tree.map(np.subtract, state.params, before.params)
    length = math.sqrt(sum(np.sum(np.square(p)) for p in jax.tree.leaves(moved)))
    np.testing.assert_allclose(metrics.update_norm[-1], length, rtol=1e-12)
    assert not metrics.skipped.any() and not metrics.clipped.any()


# --- Padding.


def test_an_update_of_weight_zero_changes_the_carry_alone():
    chunks = chunks_of(2)
    before, _ = run(chunks[:1])
    kept = jax.tree.map(np.asarray, before)
    blank = chunks[1]._replace(weight=np.zeros((K, B)))
    after, metrics = run([blank], state=before)
    assert_same(after._replace(estimator=None), kept._replace(estimator=None))
    assert_close(after.estimator.carry, plain_forward(kept.params, kept.estimator.carry, blank)[1])
    assert np.any(jax.tree.leaves(after.estimator.carry)[0] != jax.tree.leaves(kept.estimator.carry)[0])
    assert (metrics.weight, metrics.loss, metrics.update_norm, metrics.gradient_norm) == (0, 0, 0, 0)
    assert not metrics.skipped.any()


def test_padding_a_dispatch_or_an_accumulation_changes_nothing():
    chunks = chunks_of(5)
    state, metrics = run(chunks)
    padded, padded_metrics = run(chunks, updates=3)
    assert_close(padded._replace(estimator=None), state._replace(estimator=None))
    assert padded_metrics.step.tolist() == [1, 2, 3, 4, 5, 5]
    np.testing.assert_allclose(padded_metrics.loss, [*metrics.loss, 0], rtol=1e-12)
    pairs, _ = run(chunks, updates=3, accumulation=2)
    assert_close(pairs.params, plain_training(chunks, 2)[0])  # the last update has one chunk


def test_a_count_leaves_out_the_last_updates_altogether():
    chunks = chunks_of(5)
    train_step, state = train_step_of(BPTT, MOMENTUM), start()
    for group, count in [(chunks[:2], 2), (chunks[2:5], 3), (chunks[:1], 0)]:
        state, metrics = train_step(state, stack_chunks(group, updates=3), np.int32(count))
    whole, _ = run(chunks)
    assert_close(state._replace(estimator=None), whole._replace(estimator=None))
    assert_close(state.estimator, whole.estimator)


# --- What is not finite.


class Poisoned(NamedTuple):
    """Inputs with an order to go wrong: where (0 nowhere, 1 loss, 2 gradient, 3 carry), and with what value."""

    x: np.ndarray
    where: np.ndarray
    value: np.ndarray


def obey(params, state, chunk):
    """BPTT that puts the value of the chunk's first step into one entry of what it returns, where it is told to."""
    x, where, value = chunk.inputs
    where, value = where[0, 0], value[0, 0]
    estimate, state = BPTT.estimate(params, state, chunk._replace(inputs=x))

    def strike(place, tree):
        leaves, structure = jax.tree.flatten(tree)
        struck = jnp.where(where == place, leaves[-1].at[(0,) * leaves[-1].ndim].set(value), leaves[-1])
        return jax.tree.unflatten(structure, [*leaves[:-1], struck])

    estimate = estimate._replace(loss=strike(1, estimate.loss), grads=strike(2, estimate.grads))
    return estimate, CarryState(strike(3, state.carry))


OBEDIENT = GradientEstimator(BPTT.init, obey)
ADAM = optimizer("adam", 0.05, clip_norm=1.0)


def poison(chunk, where=0, value=0.0):
    places = np.full((K, B), where), np.full((K, B), value)
    return chunk._replace(inputs=Poisoned(chunk.inputs, *places))


FAULTS = [(where, value) for where in (1, 2, 3) for value in (math.nan, math.inf, -math.inf)]
FAULTS.append((2, 1e200))  # finite, but its square is not: Adam's second moment would stay infinite for ever


@pytest.mark.parametrize("where, value", FAULTS)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_an_update_that_is_not_finite_is_skipped(where, value, accumulation):
    train = partial(run, accumulation=accumulation, estimator=OBEDIENT, made_by=ADAM)
    chunks = [poison(chunk) for chunk in chunks_of(4 * accumulation)]
    good, bad, rest = chunks[:accumulation], chunks[accumulation : 2 * accumulation], chunks[2 * accumulation :]
    bad[-1] = poison(bad[-1]._replace(inputs=bad[-1].inputs.x), where, value)
    state, _ = train(good)
    kept = jax.tree.map(np.asarray, state)
    state, metrics = train(bad, state=state)

    untouched = ("step", "params", "optimizer", "rate_scale")
    assert_same([getattr(state, name) for name in untouched], [getattr(kept, name) for name in untouched])
    assert int(state.skipped) == int(state.skipped_in_a_row) == 1
    assert (metrics.skipped, metrics.skipped_in_a_row, metrics.update_norm, metrics.step) == (True, 1, 0, 1)
    assert not metrics.clipped.any()
    if where == 3:
        assert_same(state.estimator, kept.estimator)  # the last finite carry is the one before
    else:
        carry = kept.estimator.carry
        for chunk in bad:
            _, carry = plain_forward(kept.params, carry, chunk._replace(inputs=chunk.inputs.x))
        assert_close(state.estimator.carry, carry)  # the last finite carry is the new one

    state, metrics = train(rest, state=state)
    assert int(state.step) == 3 and int(state.skipped) == 1 and int(state.skipped_in_a_row) == 0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


def test_no_number_of_bad_updates_makes_one_acceptable():
    state = start(OBEDIENT, ADAM)
    kept = jax.tree.map(np.asarray, state)
    bad = [poison(chunk, 2, math.nan) for chunk in chunks_of(20)]
    blank = poison(chunks_of(1)[0]._replace(weight=np.zeros((K, B))))
    state, metrics = run([*bad, blank, *bad], estimator=OBEDIENT, made_by=ADAM, state=state)
    assert_same([state.step, state.params, state.optimizer], [kept.step, kept.params, kept.optimizer])
    # Padding in between neither adds to the run of skipped updates nor ends it.
    assert metrics.skipped_in_a_row.tolist() == [*range(1, 21), *range(20, 41)]
    assert int(state.skipped) == 40


def test_a_real_overflow_is_skipped():
    """Without injection: errors whose square overflows, and a rate at which the new parameters do."""
    chunks = chunks_of(2)
    _, metrics = run([chunks[0], chunks[1]._replace(targets=chunks[1].targets * 1e200)])
    assert metrics.skipped.tolist() == [False, True]
    large = [chunk._replace(targets=chunk.targets * 1e3) for chunk in chunks]
    state, metrics = run(large, made_by=optimizer("sgd", 1e308))
    assert np.isfinite(metrics.loss).all() and np.isfinite(metrics.gradient_norm).all()
    assert metrics.skipped.all() and int(state.step) == 0
    assert_same(state.params, start().params)


@pytest.mark.parametrize(
    ("name", "total", "value", "skipped"), [("adam", 1e-10, 1e150, [1, 1]), ("adagrad", 1.0, 1.2e154, [0, 1])]
)
def test_a_second_moment_that_overflows_is_a_reason_to_skip(name, total, value, skipped):
    """The square of the sum is finite; that of the mean over a small weight is not, nor are two of them together."""
    chunks = [chunk._replace(weight=total * chunk.weight / chunk.weight.sum()) for chunk in chunks_of(2)]
    made_by = optimizer(name, 0.05)
    state, metrics = run([poison(chunk, 2, value) for chunk in chunks], estimator=OBEDIENT, made_by=made_by)
    assert np.all(np.isfinite(metrics.gradient_norm)) and np.all(np.isfinite(metrics.loss))
    assert metrics.skipped.tolist() == skipped and int(state.step) == 2 - sum(skipped)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


def test_a_second_moment_that_float16_cannot_hold_is_a_reason_to_skip(default_settings):
    half = np.float16
    cell = elman(3, 4, dtype=half)
    rule, adam = bptt(cell, squared_error), optimizer("adam", 0.1)
    chunk = Chunk(np.zeros((2, 1, 3), half), np.full((2, 1, 4), 300, half), np.ones((2, 1), np.float32))
    state = init(rule, adam, jax.random.key(0), cell.init(jax.random.key(1)), cell.initial_carry(1), chunk)
    state, metrics = make_train_step(rule, adam)(state, stack_chunks([chunk]))
    assert np.isfinite(metrics.gradient_norm[0]) and metrics.skipped[0]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state.optimizer))


def test_parameters_that_float16_cannot_hold_are_a_reason_to_skip(default_settings):
    """60,000 + 10,000: of those neither overflows, nor does the length of the step."""

    def estimate(params, state, chunk):
        return Estimate(jnp.ones(()), jnp.ones(()), jax.tree.map(lambda p: jnp.full_like(p, -10_000), params)), state

    rule, sgd = GradientEstimator(BPTT.init, estimate), optimizer("sgd", 1.0)
    chunk = Chunk(np.zeros((2, 1, 3)), np.zeros((2, 1, 4)), np.ones((2, 1)))
    params = {"b": jnp.full(3, 60_000, jnp.float16)}
    state = init(rule, sgd, jax.random.key(0), params, jnp.zeros((1, 4)), chunk)
    state, metrics = make_train_step(rule, sgd)(state, stack_chunks([chunk]))
    assert np.isfinite(metrics.gradient_norm[0]) and metrics.skipped[0]
    assert state.params["b"].tolist() == [60_000] * 3


@pytest.mark.parametrize(
    "rule", [partial(truncated_bptt, horizon=2 * K), partial(adaptive_bptt, longest=2 * K, every=1)]
)
def test_what_stands_in_padding_is_no_reason_to_skip(rule):
    """Rules that replay keep the inputs of past chunks in their state, and a state that is not finite is."""
    rule = rule(CELL, squared_error)
    keep = np.arange(K)[:, None] < np.array([K, 2, 0])

    def trained(filler):
        chunks = [
            chunk._replace(inputs=Marked(np.where(keep[..., None], chunk.inputs, filler), keep=keep))
            for chunk in chunks_of(4)
        ]
        state = init(rule, MOMENTUM, jax.random.key(1), PARAMS, CELL.initial_carry((B,)), chunks[0])
        return run(chunks, estimator=rule, state=state)[0]

    filled, clean = trained(np.nan), trained(0.0)
    assert int(filled.step) == 4 and int(filled.skipped) == 0
    assert_same(filled.params, clean.params)


# --- Donation, compilation, transfers.


def test_the_state_is_donated_and_shares_memory_with_nothing():
    zeros = jnp.zeros((B, 2))
    cell = stack(elman(SIZE, 2), with_readout(elman(2, 2), SIZE))
    params, chunk = cell.init(jax.random.key(2)), chunks_of(1)[0]
    params["0"]["b_hh"] = params["0"]["b_ih"]  # twice the same array, as are the two carries
    carry = jax.tree.map(lambda leaf: zeros, cell.initial_carry((B,)))
    estimator = bptt(cell, squared_error)
    state = init(estimator, MOMENTUM, jax.random.key(3), params, carry, chunk)
    after, _ = make_train_step(estimator, MOMENTUM)(state, stack_chunks([chunk]))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.optimizer, state.estimator)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((params, carry)))
    assert int(after.step) == 1
    np.testing.assert_array_equal(zeros, 0.0)


def test_one_trace_and_one_program_whatever_happens_in_between():
    traced_once = GradientEstimator(BPTT.init, chex.assert_max_traces(n=1)(BPTT.estimate))
    rate = optimizer("adam", schedule("cosine", 0.1, steps=10, warmup=3), clip_norm=1.0)
    chunks = chunks_of(5)
    state, train_step = start(traced_once, rate), make_train_step(traced_once, rate)
    for chunk in [chunks[0], chunks[1]._replace(weight=chunks[1].weight * math.nan), chunks[2]]:
        state, _ = train_step(state, stack_chunks([chunk]))
    state = restart(traced_once, state, jax.random.key(4), CELL.initial_carry((B,)), chunks[0])
    state, _ = train_step(state, stack_chunks([chunks[3]]))
    state = scale_rate(state, 0.5)
    state, _ = train_step(state, stack_chunks([chunks[4]]))
    assert train_step._cache_size() == 1 and int(state.step) == 4 and int(state.skipped) == 1


def test_a_fresh_carry_without_the_noise_of_the_first_is_refused():
    cell = stack(elman(SIZE, SIZE), temporal_penalty(SIZE, 0.1))
    rule, chunk = bptt(cell, with_penalties(squared_error)), chunks_of(1)[0]
    carry = cell.initial_carry(B, jax.random.key(0))
    state = init(rule, MOMENTUM, jax.random.key(1), cell.init(jax.random.key(2)), carry, chunk)
    with pytest.raises(InputError, match="restart: carry is .* made with a key as the first one was"):
        restart(rule, state, jax.random.key(3), cell.initial_carry(B), chunk)


def test_parts_of_no_chunk_are_refused():
    with pytest.raises(InputError, match="stack_chunks: accumulation is 0; it must be a whole number, 1 or more"):
        stack_chunks(chunks_of(1), accumulation=0)


def test_nothing_but_the_chunk_crosses_to_the_device():
    train_step, state = train_step_of(BPTT, MOMENTUM), start()
    chunks = jax.device_put([stack_chunks([chunk]) for chunk in chunks_of(3)])
    state, _ = train_step(state, chunks[0])
    with jax.transfer_guard("disallow"):
        for chunk in chunks[1:]:
            state, metrics = train_step(state, chunk)
    assert int(metrics.step[0]) == 3


@pytest.mark.parametrize("narrow", [jnp.float32, jnp.bfloat16])
def test_narrow_floats_stay_narrow(narrow):
    params, carry, chunk = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, narrow), (PARAMS, CELL.initial_carry((B,)), chunks_of(1)[0])
    )
    state = init(BPTT, MOMENTUM, jax.random.key(5), params, carry, chunk)
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    after, _ = jax.eval_shape(train_step_of(BPTT, MOMENTUM), state, stack_chunks([chunk]))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == shapes


def test_a_gradient_whose_square_float16_cannot_hold_is_no_reason_to_skip(default_settings):
    """Summed over 640 targets its entries are of the order of 10^4, and that dtype ends at 65,504."""
    half = np.float16
    cell = elman(3, 4, dtype=half)
    rule, sgd = bptt(cell, squared_error), optimizer("sgd", 0.1)
    chunk = Chunk(np.zeros((20, 32, 3), half), np.ones((20, 32, 4), half), np.ones((20, 32), np.float32))
    state = init(rule, sgd, jax.random.key(0), cell.init(jax.random.key(1)), cell.initial_carry(32), chunk)
    before = np.array(state.params["b_ih"])
    state, metrics = make_train_step(rule, sgd)(state, stack_chunks([chunk]))
    assert not metrics.skipped[0] and 65504 > 640 * metrics.gradient_norm[0] > 256
    assert not np.array_equal(state.params["b_ih"], before)


def test_training_works_without_float64():
    with jax.enable_x64(False):
        params = jax.tree.map(lambda p: np.asarray(p, np.float32), PARAMS)
        rate = optimizer("adamw", schedule("cosine", 0.1, steps=10, warmup=3), clip_norm=1.0)
        chunk = Chunk(*(leaf.astype(np.float32) for leaf in chunks_of(1)[0]))
        state = init(BPTT, rate, jax.random.key(6), params, CELL.initial_carry((B,)), chunk)
        state, metrics = make_train_step(BPTT, rate)(state, stack_chunks([chunk] * 6, updates=3, accumulation=2))
        assert metrics.loss.dtype == np.float32 and metrics.loss[2] < metrics.loss[0]


# --- Epochs, the rate, and arguments that do not fit.


def test_restart_renews_floats_and_lets_the_noise_go_on():
    cell = stack(dropout(0.5), CELL)
    estimator, key = bptt(cell, squared_error), jax.random.key(7)
    params, chunks = cell.init(key), chunks_of(2)
    state = init(estimator, MOMENTUM, key, params, cell.initial_carry((B,), key), chunks[0])
    train_step = make_train_step(estimator, MOMENTUM)
    state, _ = train_step(state, stack_chunks(chunks, updates=2))
    before = jax.tree.map(jnp.copy, state)
    fresh = cell.initial_carry((B,), key)
    after = restart(estimator, state, key, fresh, chunks[0])
    assert_same(after._replace(estimator=None), before._replace(estimator=None))
    leaves = [jax.tree.leaves(tree) for tree in (after.estimator.carry, before.estimator.carry, fresh)]
    kinds = set()
    for now, earlier, initial in zip(*leaves, strict=True):
        is_float = jnp.issubdtype(now.dtype, jnp.floating)
        kinds.add(is_float)
        assert_same(now, initial if is_float else earlier)
        assert np.any(earlier != initial)  # so that the two can be told apart
    assert kinds == {True, False}
    train_step(after, stack_chunks(chunks, updates=2))  # donated, so nothing may be shared
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(fresh))


def test_a_lower_rate_leaves_the_moments():
    state, _ = run(chunks_of(2))
    kept = jax.tree.map(np.asarray, state)
    lowered = scale_rate(scale_rate(state, 0.5), 0.5)
    assert_same(lowered._replace(rate_scale=None), kept._replace(rate_scale=None))
    _, metrics = run(chunks_of(1), state=lowered)
    np.testing.assert_allclose(metrics.rate, [0.05 / 4], rtol=1e-15)


def test_arguments_that_do_not_fit_are_named():
    chunk = chunks_of(1)[0]
    train_step = make_train_step(BPTT, MOMENTUM)
    with pytest.raises(AssertionError, match=r"chunks.weight must be \[U, A, K, B\]"):
        train_step(start(), chunk)
    stacked = stack_chunks([chunk])
    with pytest.raises(AssertionError, match=r"must lead with the same \[U, A, K, B\]"):
        train_step(start(), stacked._replace(targets=stacked.targets[:, :, :-1]))
    for number in (0, 5):
        with pytest.raises(InputError, match=rf"stack_chunks: len\(chunks\) is {number}"):
            stack_chunks([chunk] * number, updates=2, accumulation=2)


def test_an_estimate_is_divided_once():
    """The gradient is a sum over a sum of weights: twice the weights are the same update."""
    chunks = chunks_of(4)
    doubled = [chunk._replace(weight=2 * chunk.weight) for chunk in chunks]
    assert_close(run(chunks, 3, 2)[0].params, run(doubled, 3, 2)[0].params)


def test_chunks_that_cannot_be_stacked_are_refused_with_what_to_do():
    chunk, shorter = chunks_of(1)[0], chunks_of(1, steps=K - 1)[0]
    marked = chunk._replace(inputs=Marked(chunk.inputs, keep=np.ones((K, B), bool)))
    message = r"stack_chunks: a chunk is Chunk\(.*; it must be Chunk\(.*, as the first: pad with weight 0, mark all"
    for other in (shorter, marked):
        with pytest.raises(InputError, match=message):
            stack_chunks([chunk, other])
