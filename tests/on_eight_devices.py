"""Data parallelism against one device, in float64. Run by test_parallel.py in a process with eight devices."""

import re
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from agreement import assert_close, random_like, random_params
from jaxrnn import snapshots, training
from jaxrnn.cells import elman, lstm
from jaxrnn.compose import dropout, language_model, mixed_precision, stack, weight_drop
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.evaluation import make_evaluate
from jaxrnn.gradients import (
    Chunk,
    GradientEstimator,
    accumulate,
    bptt,
    checkpointed_bptt,
    geometric,
    given,
    randomized_bptt,
    told,
    truncated_bptt,
)
from jaxrnn.gradients.base import CarryState
from jaxrnn.gradients.budget import compiled_memory
from jaxrnn.losses import softmax_cross_entropy, squared_error
from jaxrnn.mesh import data_mesh, gathered, in_turn, on_one_device, place, put_rows
from jaxrnn.optimizers import optimizer
from jaxrnn.parallel import data_parallel, row_shardings, row_specs
from jaxrnn.running import experiment
from jaxrnn.running.experiment import build_learner
from jaxrnn.running.scorer import make_score, text_in_rows
from jaxrnn.settings import resolve
from jaxrnn.stepwise import from_step
from jaxrnn.training import make_train_step, stack_chunks
from jaxrnn.trees import is_key
from jaxrnn.types import Marked
from table import CELLS, ESTIMATORS, goes_with, make_chunk

INPUT, HIDDEN, ROWS, STEPS = 3, 4, 4, 5


def test_there_are_eight_devices():
    assert jax.device_count() == 8


def test_a_program_of_several_cores_ends_before_the_next_begins(monkeypatch):
    waited, program = [], jax.jit(lambda rows: rows.sum())
    monkeypatch.setattr(jax, "block_until_ready", lambda result: waited.append(result) or result)
    result = in_turn(program, data_mesh(2))(np.ones((2, 3)))
    assert len(waited) == 1 and waited[0] is result
    assert in_turn(program, data_mesh(1)) is program and in_turn(program, None) is program
    assert in_turn(jax.jit(lambda a, b: a - b), data_mesh(2))(np.ones(2), b=np.ones(2)).tolist() == [0, 0]


# One estimate --------------------------------------------------------------------------------------------------------


def assert_split_alike(estimator: GradientEstimator, params, carry, chunks, devices=2):
    """Estimates of successive chunks, and the states between them, are those of one device."""
    one, several = (jax.jit(e.estimate) for e in (estimator, data_parallel(estimator, data_mesh(devices))))
    alone = shared = estimator.init(jax.random.key(8), params, carry, chunks[0])
    for chunk in chunks:
        expected, alone = one(params, alone, chunk)
        found, shared = several(params, shared, chunk)
        assert_close((found, gathered(shared)), (expected, alone))


def marked(chunk: Chunk, seed: int) -> Chunk:
    rng = np.random.default_rng(seed)
    reset, keep = (rng.random(chunk.weight.shape) < share for share in (0.2, 0.7))
    return chunk._replace(inputs=Marked(chunk.inputs, reset, keep))


def noisy_case():
    """Noise and marks."""
    cell = stack(dropout(0.4), elman(INPUT, HIDDEN))
    row = CELLS["elman_tanh"]
    chunks = [marked(make_chunk(row, cell, seed, STEPS, ROWS, INPUT), seed) for seed in range(2)]
    carry = random_like(1, cell.initial_carry(ROWS, jax.random.key(3)))
    return cell, random_params(2, cell), carry, chunks


def estimators():
    """Those of the table that do something of their own."""
    alike, elsewhere = {"checkpointed_bptt_nested", "accumulate_bptt"}, {"adaptive_bptt", "snap1"}
    for name in sorted(ESTIMATORS.keys() - alike - elsewhere):
        yield pytest.param(ESTIMATORS[name].build, id=name)


@pytest.mark.parametrize("build", list(estimators()))
def test_every_estimator_is_split_alike(build):
    cell, params, carry, chunks = noisy_case()
    assert_split_alike(build(cell, squared_error, 2), params, carry, chunks)


def test_segments_that_fit_a_budget_are_split_alike():
    """Half of what full BPTT of a device's rows takes, so that something is computed again."""
    cell, steps, rows = elman(INPUT, HIDDEN), 64, ROWS // 2
    chunk = random_like(1, Chunk(*(np.zeros((steps, ROWS, *size)) for size in ((INPUT,), (HIDDEN,), ()))))
    params, own = random_params(2, cell), jax.tree.map(lambda a: a[:, :rows], chunk)
    everything = compiled_memory(bptt(cell, squared_error), params, cell.initial_carry(rows), own)
    estimator = checkpointed_bptt(cell, squared_error, memory=everything // 2)
    assert_close(
        jax.jit(data_parallel(estimator, data_mesh(2)).estimate)(params, CarryState(cell.initial_carry(ROWS)), chunk),
        jax.jit(bptt(cell, squared_error).estimate)(params, CarryState(cell.initial_carry(ROWS)), chunk),
    )


@pytest.mark.parametrize(
    "name", ["gru_reset_after", "projection_lstm", "stack_with_dropout", "language_model_regularized"]
)
def test_cells_are_split_alike(name):
    """Those whose carries have each their own form; see below for all."""
    row = CELLS[name]
    cell = row.build(INPUT, HIDDEN)
    carry = random_like(2, cell.initial_carry(ROWS, jax.random.key(3) if row.noisy else None))
    chunk = make_chunk(row, cell, 4, 3, ROWS, INPUT)
    assert_split_alike(bptt(cell, row.task.loss), random_params(1, cell), carry, [chunk], devices=4)


@pytest.mark.parametrize("name", CELLS)
def test_the_rows_of_every_state_are_found(name):
    """For each estimator the axis with B rows, whatever B is, and the same one for every B.

    Noise may have leaves without such an axis, so that cells with noise go with all; the others as in test_laws.py.
    """
    row = CELLS[name]
    cell = row.build(INPUT, HIDDEN)
    params = jax.eval_shape(cell.init, jax.random.key(0))
    noise = jax.random.key(3) if row.noisy else None

    def state(build, rows):
        carry = jax.eval_shape(partial(cell.initial_carry, rows, noise))
        chunk = make_chunk(row, cell, 4, STEPS, rows, INPUT)
        return jax.eval_shape(build(cell, row.task.loss, 2).init, jax.random.key(8), params, carry, chunk)

    tested = {estimator for estimator in ESTIMATORS if row.noisy or goes_with(name, estimator)}
    for estimator in tested - {"snap1", "adaptive_bptt"}:
        shapes = {rows: state(ESTIMATORS[estimator].build, rows) for rows in (14, 7, 22, 11)}
        specs = row_specs(shapes[14], shapes[7])
        assert specs == row_specs(shapes[22], shapes[11])
        for spec, leaf in zip(jax.tree.leaves(specs), jax.tree.leaves(shapes[14]), strict=True):
            assert (14 in leaf.shape) == bool(len(spec)) and (not len(spec) or leaf.shape[len(spec) - 1] == 14)


def test_a_shorter_chunk_is_split_alike():
    """Than the horizon: from such a one truncation would begin with another state."""
    cell = elman(INPUT, HIDDEN)
    shapes = [[np.zeros((steps, ROWS, *size)) for size in ((INPUT,), (HIDDEN,), ())] for steps in (10, 3, 7)]
    chunks = [Chunk(*random_like(number, arrays)) for number, arrays in enumerate(shapes)]
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(ROWS))
    assert_split_alike(truncated_bptt(cell, squared_error, horizon=5), params, carry, chunks)


def test_mixed_precision_is_split_alike():
    cell = mixed_precision(stack(dropout(0.4), lstm(INPUT, HIDDEN)))
    shapes = np.zeros((STEPS, ROWS, INPUT)), np.zeros((STEPS, ROWS, HIDDEN)), np.zeros((STEPS, ROWS))
    chunks = [Chunk(*random_like(number, shapes)) for number in range(2)]
    carry = random_like(2, cell.initial_carry(ROWS, jax.random.key(3)))
    assert_split_alike(bptt(cell, squared_error), random_params(1, cell), carry, chunks)


def test_snap1_is_split_alike():
    row = CELLS["elstm"]
    cell = row.build(INPUT, HIDDEN)
    chunk = make_chunk(row, cell, 4, 3, ROWS, INPUT)
    build = ESTIMATORS["snap1"].build
    assert_split_alike(build(cell, squared_error, 2), random_params(1, cell), cell.initial_carry(ROWS), [chunk])


@pytest.mark.parametrize(
    ("changed", "devices"),
    [
        ({}, 4),
        ({"data.batch_size": 6}, 6),
        ({"parallel.devices": 2}, 2),
        ({"model.hidden_size": 600, "data.chunk_length": 2}, 1),  # does not pay
        ({"model.hidden_size": 600, "data.chunk_length": 2, "parallel.devices": 2}, 2),  # unless asked for
        ({"gradient.rule": "adaptive", "gradient.longest": 8}, 1),  # cannot be split
    ],
)
def test_as_many_devices_are_taken_as_divide_the_rows_and_pay(changed, devices):
    small = {"data.batch_size": 4, "data.chunk_length": 4, "model.hidden_size": 3, "model.embedding_size": 3}
    config = resolve(overrides={name: str(value) for name, value in (small | changed).items()})
    symbols = Vocabulary("character", tuple("abcdefg"))
    assert experiment._mesh(config, build_learner(config, symbols)).size == devices


def test_a_budget_is_that_of_each_device():
    """One that a part of the rows fits and all of them do not."""
    cell, params, carry, chunks = noisy_case()
    state = CarryState(carry)

    def refusal(memory, mesh):
        estimator = checkpointed_bptt(cell, squared_error, memory=memory)
        estimator = estimator if mesh is None else data_parallel(estimator, mesh)
        estimator.init(None, params, carry, chunks[0])
        try:
            jax.eval_shape(estimator.estimate, params, state, chunks[0])
        except InputError as error:
            return int(str(error).split()[-3])
        return None

    enough = refusal("1B", data_mesh(2))
    assert refusal(enough, data_mesh(2)) is None and refusal(enough, None) > enough


def test_noise_that_all_rows_share_is_drawn_alike():
    """One key without a row axis, as a mask on weights would have."""

    def initial_carry(shape, key=None):
        return jnp.zeros((*shape, HIDDEN)), key, jnp.zeros((), jnp.int32)

    def step(params, carry, x):
        h, key, count = carry
        mask = jax.random.bernoulli(jax.random.fold_in(key, count + 1), 0.5, params["w_hh"].shape)
        h = jnp.tanh(x @ params["w_ih"] + h @ (params["w_hh"] * mask.astype(h.dtype)))
        return (h, key, count + 1), h

    cell = from_step(elman(INPUT, HIDDEN).init, initial_carry, step, input_size=INPUT, output_size=HIDDEN)
    chunks = [make_chunk(CELLS["elman_tanh"], cell, seed, STEPS, ROWS, INPUT) for seed in range(2)]
    carry = cell.initial_carry(ROWS, jax.random.key(3))
    assert_split_alike(bptt(cell, squared_error), random_params(1, cell), carry, chunks)


def test_an_estimator_that_mixes_rows_is_refused_by_name():
    cell, params, carry, chunks = noisy_case()
    estimator = ESTIMATORS["adaptive_bptt"].build(cell, squared_error, 2)
    state = estimator.init(jax.random.key(8), params, carry, chunks[0])
    with pytest.raises(InputError, match=r"AdaptiveState keeps .*\(credit.log_norms, .*\bhorizon\b.*use one device"):
        jax.eval_shape(data_parallel(estimator, data_mesh(2)).estimate, params, state, chunks[0])


def test_rows_are_told_apart_whatever_keys_are_by_default():
    cell, params, carry, chunks = noisy_case()
    estimator = randomized_bptt(cell, squared_error, segment_length=2, truncation=geometric(0.5))
    state = estimator.init(jax.random.key(8), params, carry, chunks[0])
    with jax.default_prng_impl("rbg"):
        jax.eval_shape(data_parallel(estimator, data_mesh(2)).estimate, params, state, chunks[0])


def test_an_estimator_of_which_it_cannot_be_told_is_refused_by_name():
    """Such as one of a kernel that `vmap` does not know, with a key that all rows share."""
    cell = weight_drop(elman(INPUT, HIDDEN), 0.5)
    chunk = make_chunk(CELLS["elman_tanh"], cell, 1, STEPS, ROWS, INPUT)
    estimator = bptt(cell, squared_error)
    params, carry = random_params(1, cell), cell.initial_carry(ROWS, jax.random.key(3))

    def estimate(params, state, chunk):
        if hasattr(chunk.inputs, "aval") and chunk.inputs.shape[1] < ROWS:
            raise NotImplementedError("Batching rule for 'kernel' not implemented")
        return estimator.estimate(params, state, chunk)

    split = data_parallel(estimator._replace(estimate=estimate), data_mesh(2))
    with pytest.raises(InputError, match="cannot be told whether rows stay apart .*'kernel'.*use one device"):
        jax.eval_shape(split.estimate, params, CarryState(carry), chunk)


def test_rows_that_do_not_fit_are_refused():
    cell, params, carry, chunks = noisy_case()
    estimator = bptt(cell, squared_error)
    state = estimator.init(jax.random.key(8), params, carry, chunks[0])
    with pytest.raises(InputError, match="rows of the batch is 4; it must be a multiple of the 3 devices"):
        data_parallel(estimator, data_mesh(3)).estimate(params, state, chunks[0])
    with pytest.raises(InputError, match="put_rows: the number of rows is 3; it must be a multiple of 2"):
        put_rows(data_mesh(2), np.ones((2, 3)), axis=1)


def test_each_device_has_rows_of_its_own():
    rows = np.arange(24).reshape(2, 6, 2)
    mesh = data_mesh(3)
    found = put_rows(mesh, rows, axis=1)
    np.testing.assert_array_equal(found, rows)
    for shard in found.addressable_shards:
        own = 2 * list(mesh.devices).index(shard.device)
        np.testing.assert_array_equal(shard.data, rows[:, own : own + 2])


# Training ------------------------------------------------------------------------------------------------------------

UPDATES, BATCH, LENGTH, VOCABULARY = 50, 8, 4, 7
CORE, NOISE = stack(lstm(5, 6), dropout(0.3), elman(6, 6)), dropout(0.2)
MODEL = language_model(CORE, VOCABULARY, below=NOISE, above=NOISE, vocabulary_sample=5)
BPTT, MOMENTUM = told(bptt(MODEL, given)), optimizer("momentum", 0.2, clip_norm=1.0)


class Trained(NamedTuple):
    """What came of a training."""

    state: training.TrainState
    losses: np.ndarray


@cache
def chunks():
    """Two for each update, with marks and weights."""
    row = CELLS["language_model"]
    made = [make_chunk(row, MODEL, seed, LENGTH, BATCH, 0) for seed in range(2 * UPDATES)]
    return [marked(chunk, seed) for seed, chunk in enumerate(made)]


def first_state(rows):
    """The state before the first update; everything random in it is the same for any number of devices."""
    carry = MODEL.initial_carry(rows, jax.random.key(1))
    chunk = jax.tree.map(lambda leaf: leaf[:, :rows], chunks()[0])
    return training.init(BPTT, MOMENTUM, jax.random.key(2), MODEL.init(jax.random.key(0)), carry, chunk)


def layout(devices):
    """The mesh, and where the state lies on it."""
    mesh = data_mesh(devices)
    shapes = (jax.eval_shape(partial(first_state, rows)) for rows in (BATCH, BATCH // devices))
    shardings = row_shardings(mesh, *shapes) if devices > 1 else NamedSharding(mesh, jax.P())
    return mesh, shardings


@cache
def train_step_on(devices):
    return make_train_step(BPTT, MOMENTUM, mesh=data_mesh(devices))


def train(devices, state=None, updates=range(UPDATES)):
    """Two chunks an update, five updates a dispatch."""
    mesh, shardings = layout(devices)
    state, losses = place(first_state(BATCH) if state is None else state, shardings), []
    for first in range(updates.start, updates.stop, 5):
        stacked = stack_chunks(chunks()[2 * first : 2 * first + 10], updates=5, accumulation=2)
        state, metrics = train_step_on(devices)(state, put_rows(mesh, stacked, axis=3))
        losses.append(metrics.loss)
    return Trained(state, np.concatenate(losses))


alone = cache(partial(train, 1))


def assert_trained_alike(found, expected):
    assert_close(found.losses, expected.losses[-len(found.losses) :])
    assert_close(jax.tree.map(np.asarray, on_one_device(found.state.params)), expected.state.params)
    assert_close(gathered(found.state), expected.state)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_training_is_that_of_one_device(devices):
    assert_trained_alike(train(devices), alone())


def test_the_training_is_of_something():
    """Parameters move, and masks are drawn: else the comparison would say nothing."""
    state = alone().state
    moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), state.params, first_state(BATCH).params)
    assert min(jax.tree.leaves(moved)) > 0.01
    assert any(map(is_key, jax.tree.leaves(state.estimator.carry)))


def on_mesh(params, devices):
    """Parameters as training has them: whole, on every device."""
    return jax.device_put(params, NamedSharding(data_mesh(devices), jax.P()))


@pytest.mark.parametrize("devices", [2, 4])
def test_a_score_is_that_of_one_device(devices):
    start = on_mesh(alone().state.params, devices), MODEL.initial_carry(BATCH)
    one, several = (
        make_evaluate(MODEL, softmax_cross_entropy, mesh=mesh)(*start, chunks()[:6])
        for mesh in (None, data_mesh(devices))
    )
    assert_close(np.array(several.score), np.array(one.score))
    assert several.protocol == one.protocol
    assert_close(gathered(several.carry), one.carry)


def counting(mixed):
    """A cell whose carry has a count that all rows share, of steps or of what is in the rows."""

    def step(params, carry, x):
        total, count = carry
        count = count + (jnp.sum(x) if mixed else 1.0)
        return (total + count * x, count), total + count * x

    return from_step(lambda key: {}, lambda shape, key=None: (jnp.zeros((*shape, 2)), jnp.zeros(())), step)


def test_an_evaluation_takes_what_all_rows_share():
    cell, rng = counting(mixed=False), np.random.default_rng(0)
    chunks = [Chunk(rng.random((3, ROWS, 2)), rng.random((3, ROWS, 2)), np.ones((3, ROWS))) for _ in range(2)]
    one, several = (
        make_evaluate(cell, squared_error, mesh=mesh)({}, cell.initial_carry(ROWS), chunks)
        for mesh in (None, data_mesh(2))
    )
    assert_close(np.array(several.score), np.array(one.score))
    assert_close(gathered(several.carry), one.carry)
    cell = counting(mixed=True)
    with pytest.raises(InputError, match=r"CarryState keeps something of all rows .*\(carry\.1\).*use one device"):
        make_evaluate(cell, squared_error, mesh=data_mesh(2))({}, cell.initial_carry(ROWS), chunks)


@pytest.mark.parametrize("streams", [8, 7])
def test_a_text_in_rows_is_scored_as_on_one_device(streams):
    """Also where its streams do not divide by the devices, which one of them then has."""
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 100)
    text = text_in_rows(ids, streams, LENGTH)
    params = alone().state.params
    one, several = make_score(MODEL)(params, text), make_score(MODEL, data_mesh(2))(on_mesh(params, 2), text)
    devices = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(several.carry)}
    assert devices == {2 if streams == 8 else 1}
    assert_close(np.array(several.score), np.array(one.score))
    assert several.protocol == one.protocol and one.score.weight == 99


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 1), (1, 8)])
def test_a_snapshot_goes_on_with_another_number_of_devices(before, after, tmp_path, unflushed):
    half = UPDATES // 2
    state = train(before, updates=range(half)).state
    folder = snapshots.save(tmp_path / f"step_{half}", gathered(state), {})
    loaded, _ = snapshots.load(folder, jax.eval_shape(partial(first_state, BATCH)))
    assert_close(loaded, gathered(state), tolerance=0)
    assert_trained_alike(train(after, loaded, range(half, UPDATES)), alone())


# Communication -------------------------------------------------------------------------------------------------------


def reductions(program: str) -> list[tuple[int, str]]:
    """What devices tell each other in a compiled program: within how many loops, and of which types."""
    blocks = dict(re.findall(r"^(?:ENTRY )?%(\S+) [^\n]*\{\n(.*?)^\}", program, re.MULTILINE | re.DOTALL))
    callers = {name: set() for name in blocks}
    for name, text in blocks.items():
        for line in text.splitlines():
            loop = " while(" in line
            for called in re.findall(r"(?:body|condition|to_apply|calls|_computation)=%([\w.-]+)", line):
                callers[called].add((name, loop))

    @cache
    def depth(name):
        return max((depth(caller) + loop for caller, loop in callers[name]), default=0)

    talk = re.compile(r" = (.*?) (?:all-\w+|reduce-scatter|collective-\w+)(?:-start)?\(")
    return [(depth(name), types) for name, text in blocks.items() for types in talk.findall(text)]


def compiled(estimator, devices=2, mesh=True):
    """The program of a train step with three updates of two chunks each."""
    mesh_, shardings = layout(devices)
    step = make_train_step(estimator, MOMENTUM, mesh=mesh_ if mesh else None)
    stacked = put_rows(mesh_, stack_chunks(chunks()[:6], updates=3, accumulation=2), axis=3)
    return step.lower(place(first_state(BATCH), shardings), stacked).compile().as_text()


def test_devices_add_up_once_an_update_and_never_within_time():
    """One all-reduce of the whole estimate, and one of "is the state finite"; both in the loop over updates alone."""
    found = reductions(compiled(BPTT))
    assert [depth for depth, _ in found] == [1, 1]
    sums = [what for _, what in found if "f64" in what]
    params = jax.tree.leaves(MODEL.init(jax.random.key(0)))
    assert len(sums) == 1 and len(re.findall(r"f64\[", sums[0])) == len(params) + 2  # and loss and weight
    assert [set(re.findall(r"(\w+)\[", what)) for _, what in found if "f64" not in what] == [{"pred"}]


def test_a_sum_within_the_loop_over_time_would_be_seen():
    inside = accumulate(data_parallel(BPTT, data_mesh(2)), LENGTH)
    found = reductions(compiled(inside, mesh=False))
    assert max(depth for depth, _ in found) == 2
