"""What a caller in Python got wrong is refused by the name of the argument, not by an error from deep within JAX."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agreement import assert_close
from jaxrnn import cells, initializers
from jaxrnn.cells import elman, lstm
from jaxrnn.compose import (
    activation_penalty,
    bidirectional,
    dense,
    dropout,
    embedding,
    language_model,
    locked_dropout,
    stack,
    temporal_penalty,
    weight_drop,
    with_penalties,
    with_readout,
    zoneout,
)
from jaxrnn.data.chunks import make_streams
from jaxrnn.errors import InputError
from jaxrnn.gradients import (
    Chunk,
    accumulate,
    adaptive_bptt,
    bptt,
    checkpointed_bptt,
    gate,
    geometric,
    heavy_tailed,
    randomized_bptt,
    rtrl,
    snap1,
    truncated_bptt,
    uoro,
)
from jaxrnn.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from jaxrnn.marks import within_lengths
from jaxrnn.mesh import data_mesh
from jaxrnn.optimizers import optimizer
from jaxrnn.sampling import make_generate
from jaxrnn.stepwise import from_step
from jaxrnn.training import init, make_train_step, stack_chunks
from jaxrnn.types import Marked, Told

LAYER = elman(3, 4)
MODEL = language_model(LAYER, 5)
BOTH = bidirectional(LAYER, LAYER)
ZEROS = jax.tree.map(lambda a: np.zeros(a.shape), jax.eval_shape(LAYER.init, jax.random.key(0)))
BOTH_ZEROS = {"forward": ZEROS, "backward": ZEROS}
CHUNK = Chunk(np.ones((6, 2, 3)), np.zeros((6, 2, 4)), np.ones((6, 2)))
RBG = jax.random.key(0, impl="rbg")


# cudnn_lstm is an lstm with another `unroll`: it is the lstm that refuses, by its own name.
LAYERS = {name: getattr(cells, name) for name in cells.__all__ if not name.endswith("_step") and name != "cudnn_lstm"}
LAYERS["projection_lstm"] = partial(cells.projection_lstm, projection_size=4)


def bad(value):
    """A value in a message."""
    return f"is {value!r}; it must be"


SIZES = {
    "dense: input_size": lambda size: dense(size, 3),
    "dense: output_size": lambda size: with_readout(LAYER, size),
    "embedding: vocabulary_size": lambda size: language_model(LAYER, size),
    "embedding: embedding_size": lambda size: embedding(3, size),
    "accumulate: length": lambda length: accumulate(bptt(LAYER, squared_error), length),
    "truncated_bptt: horizon": lambda horizon: truncated_bptt(LAYER, squared_error, horizon=horizon),
    "checkpointed_bptt: segment_length": lambda n: checkpointed_bptt(LAYER, squared_error, segment_length=n),
    "randomized_bptt: segment_length": lambda n: randomized_bptt(
        LAYER, squared_error, segment_length=n, truncation=geometric(0.5)
    ),
    "adaptive_bptt: longest": lambda longest: adaptive_bptt(LAYER, squared_error, longest=longest),
    "adaptive_bptt: every": lambda every: adaptive_bptt(LAYER, squared_error, longest=9, every=every),
    "adaptive_bptt: windows": lambda windows: adaptive_bptt(LAYER, squared_error, longest=9, windows=windows),
}


SIZES |= {f"{name}: input_size": partial(make, hidden_size=4) for name, make in LAYERS.items()}
SIZES |= {f"{name}: hidden_size": partial(make, 3) for name, make in LAYERS.items()}
SIZES["projection_lstm: projection_size"] = lambda size: cells.projection_lstm(3, 4, size)


@pytest.mark.parametrize("value", [0, -1, 2.5, "3"])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_lengths_are_whole_numbers_of_at_least_one(name, value):
    with pytest.raises(InputError) as refused:
        SIZES[name](value)
    assert f"{name} {bad(value)} a whole number" in str(refused.value)


@pytest.mark.parametrize("name", LAYERS)
def test_a_cell_is_made_of_floats(name):
    with pytest.raises(InputError, match=f"{name}: dtype is <class 'int'>; it must be a float dtype"):
        LAYERS[name](3, 4, dtype=int)


def test_whole_numbers_of_numpy_will_do():
    for make in SIZES.values():
        make(np.int64(9))


RATES = {
    "dropout: rate": (dropout, [-0.1, 1.0, 2, float("nan"), "0.5", None]),
    "geometric: rate": (geometric, [-0.1, 1.0, float("nan"), "0.5", None]),
    "heavy_tailed: mean_length": (heavy_tailed, [1, float("nan"), "2"]),
    "heavy_tailed: exponent": (partial(heavy_tailed, 3.0), [2, "6", float("inf")]),
    "gate: clip_norm": (lambda norm: gate(jnp.ones((2, 3)), clip_norm=norm), [0, -1.0, float("nan"), "1"]),
    "make_train_step: full_weight": (
        lambda weight: make_train_step(bptt(LAYER, squared_error), optimizer("sgd", 0.1), full_weight=weight),
        [0.0, -5.0, float("nan"), float("inf"), "x"],
    ),
    "stack_chunks: updates": (lambda updates: stack_chunks([CHUNK], updates=updates), [0, 2.5, "1"]),
    "data_mesh: number": (data_mesh, [0, 1.0, "1", 1000]),
    "optimizer sgd: momentum": (lambda momentum: optimizer("sgd", 0.1, momentum=momentum), ["0.9", (0.9,)]),
    "optimizer adam: b1": (lambda b1: optimizer("adam", 0.1, b1=b1), ["0.9", None]),
    "truncated_bptt: horizon": (SIZES["truncated_bptt: horizon"], [None]),
    "adaptive_bptt: longest": (SIZES["adaptive_bptt: longest"], [2]),
    "adaptive_bptt: target": (lambda t: adaptive_bptt(LAYER, squared_error, longest=9, target=t), [0.0, "0.1"]),
    "uniform: hidden_size": (initializers.uniform, [0, -1, "3"]),
    "normal: standard_deviation": (initializers.normal, [-1.0, "3", float("inf")]),
    "chrono: longest": (initializers.chrono, [2, float("nan"), float("inf"), "9"]),
    "randomized_bptt: truncation": (
        lambda law: randomized_bptt(LAYER, squared_error, segment_length=2, truncation=law),
        [0.5, None],
    ),
    "raised: by (of a cell: forget_bias)": (lambda bias: lstm(3, 4, forget_bias=bias), ["1", None, [1.0]]),
    "elman: activation": (lambda activation: elman(3, 4, activation=activation), ["tanh"]),
    "initial_carry: batch_shape": (LAYER.initial_carry, [-1, 2.5, "2", (2, 2.5)]),
    "checkpointed_bptt: segment_length": (SIZES["checkpointed_bptt: segment_length"], [(), (4, 2.5), (4, 0)]),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, values) in RATES.items() for value in values])
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(InputError) as refused:
        RATES[name][0](value)
    assert f"{name} {bad(value)}" in str(refused.value)


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), 0, 0.5, "0B", "5 apples", True, [64]])
def test_a_budget_is_a_finite_amount(amount):
    with pytest.raises(InputError, match="^memory is"):
        checkpointed_bptt(LAYER, squared_error, memory=amount)


def test_a_stack_is_made_of_cells():
    for wrong in ([LAYER, LAYER], lstm):
        with pytest.raises(
            InputError, match=r"stack: an argument is <class '.*'>; it must be a cell; give them one by"
        ):
            stack(wrong)


GENERATED = [
    ({"temperature": -1}, "sampling: temperature"),
    ({"temperature": "1"}, "sampling: temperature"),
    ({"top_k": 0}, "sampling: top_k"),
    ({"top_k": 2.5}, "sampling: top_k"),
    ({"top_p": 0}, "sampling: top_p"),
    ({"top_p": "1"}, "sampling: top_p"),
    ({"samples": 2.5}, "sampling: samples"),
    ({"length": 2.5}, "sampling: length"),
    ({"length": -1}, "sampling: length"),
]


@pytest.mark.parametrize(("settings", "name"), GENERATED)
def test_what_makes_no_sense_of_sampling_is_refused(settings, name):
    (value,) = settings.values()
    with pytest.raises(InputError) as refused:
        make_generate(MODEL)({}, [1], **({"length": 2, "key": None} | settings))
    assert f"{name} {bad(value)}" in str(refused.value)


@pytest.mark.parametrize("bad_id", [5, -1])
def test_a_prompt_of_ids_that_do_not_exist_is_refused(bad_id):
    with pytest.raises(InputError, match=f"sampling: an id of the prompt is {bad_id}; it must be from 0 to 4"):
        make_generate(MODEL)({}, [4, bad_id], 2, None)


# Arrays of wrong shapes and dtypes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [[5, 2], (5, 2), np.array([5, 2], np.uint8)])
def test_lengths_may_be_a_list(lengths):
    xs = np.ones((5, 2, 3))
    assert BOTH.apply(BOTH_ZEROS, xs, lengths).shape == (5, 2, 8)
    assert within_lengths(lengths, 5).sum(axis=0).tolist() == [5, 2]


@pytest.mark.parametrize("lengths", [[5.0, 2.0], [5, 2, 1], 5, [[5], [2]], [True, False]])
def test_lengths_of_another_kind_are_refused(lengths):
    with pytest.raises(InputError, match=r"bidirectional: lengths is .*; expected int \[2\]"):
        BOTH.apply(BOTH_ZEROS, np.ones((5, 2, 3)), lengths)
    if np.shape(lengths) != (3,):
        with pytest.raises(AssertionError, match="within_lengths: lengths must be"):
            within_lengths(lengths, 5)


@pytest.mark.parametrize("xs", [Marked(np.ones((5, 2, 3))), np.ones(5)])
def test_inputs_without_rows_are_refused(xs):
    with pytest.raises(InputError, match=r"bidirectional: expected inputs \[T, B, I\]"):
        BOTH.apply(BOTH_ZEROS, xs)


ESTIMATORS = {
    "bptt": bptt,
    "accumulate": lambda cell, loss: accumulate(bptt(cell, loss), 2),
    "checkpointed": partial(checkpointed_bptt, segment_length=2),
    "checkpointed within a budget": partial(checkpointed_bptt, memory="1MB"),
    "truncated": partial(truncated_bptt, horizon=2),
    "truncated with replay": partial(truncated_bptt, horizon=12),
    "randomized": partial(randomized_bptt, segment_length=2, truncation=geometric(0.5)),
    "adaptive": partial(adaptive_bptt, longest=12),
    "rtrl": rtrl,
    "uoro": uoro,
}
CHUNK_OF_NONE = jax.tree.map(lambda leaf: leaf[:0], CHUNK)
CHUNKS = [
    ({"weight": np.ones(6)}, r"chunk.weight is 'float64\[6\]'; it must be an array \[K, B\]"),
    ({"weight": np.ones((5, 2))}, r"chunk.inputs .* of chunk.weight \[K, B\], \(5, 2\)"),
    ({"weight": None}, "chunk.weight is None"),
    ({"weight": [[1.0, 1.0]] * 6}, r"chunk.weight is \[\["),
    ({"inputs": np.ones((6, 3, 3))}, r"chunk.inputs \[K, B, ...\] must begin with the axes of chunk.weight"),
    ({"inputs": np.ones((5, 2, 3))}, r"chunk.inputs \[K, B, ...\] must begin"),
    ({"inputs": Marked(np.ones((6, 2, 3)), keep=np.ones((5, 2), bool))}, r"chunk.inputs \[K, B, ...\] must begin"),
    ({"inputs": [1.0] * 6}, r"chunk.inputs \[K, B, ...\] must begin"),
    ({"targets": np.ones((5, 2, 4))}, r"chunk.targets \[K, B, ...\] must begin"),
    ({"targets": np.ones((6, 1, 4))}, r"chunk.targets \[K, B, ...\] must begin"),
    ({"targets": np.ones((6, 2, 5))}, r"squared_error: targets must have the shape"),
    ({"targets": np.ones((6, 2))}, r"squared_error: targets must have the shape"),
]


@pytest.mark.parametrize(("parts", "message"), CHUNKS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_chunk_that_does_not_fit_is_refused_by_name(name, parts, message):
    estimator = ESTIMATORS[name](LAYER, squared_error)
    chunk, carry = CHUNK._replace(**parts), LAYER.initial_carry(2)
    with pytest.raises((InputError, AssertionError), match=message):
        state = jax.eval_shape(lambda: estimator.init(jax.random.key(0), ZEROS, carry, chunk))
        jax.eval_shape(lambda state: estimator.estimate(ZEROS, state, chunk), state)


@pytest.mark.parametrize(("parts", "message"), CHUNKS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_later_chunk_that_does_not_fit_is_refused_alike(name, parts, message):
    estimator = ESTIMATORS[name](LAYER, squared_error)
    state = estimator.init(jax.random.key(0), ZEROS, LAYER.initial_carry(2), CHUNK)
    with pytest.raises((InputError, AssertionError), match=message):
        jax.eval_shape(lambda state: estimator.estimate(ZEROS, state, CHUNK._replace(**parts)), state)


@pytest.mark.parametrize("name", [*ESTIMATORS, "snap1"])
def test_a_state_is_made_from_the_shapes_of_a_chunk(name):
    make, cell = (snap1, cells.elstm(3, 4)) if name == "snap1" else (ESTIMATORS[name], LAYER)
    params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), CHUNK)
    states = [make(cell, squared_error).init(jax.random.key(1), params, carry, chunk) for chunk in (shapes, CHUNK)]
    assert_close(*states)


@pytest.mark.parametrize("name", ["randomized", "uoro"])
@pytest.mark.parametrize(
    ("key", "found"), [(None, "<class 'NoneType'>"), (jax.random.PRNGKey(0), "uint32"), (RBG, r"key<rbg>")]
)
def test_rows_draw_each_from_a_key_of_its_own(name, key, found):
    """Keys of rbg draw for all rows from the first; an array of numbers is not known for a key."""
    estimator = ESTIMATORS[name](LAYER, squared_error)
    with pytest.raises(InputError, match=f"{name}.*: key is .*{found}.*; it must be a typed key of threefry"):
        estimator.init(key, ZEROS, LAYER.initial_carry(2), CHUNK)


@pytest.mark.parametrize("name", ["adaptive", "rtrl", "uoro"])
def test_a_chunk_without_steps_is_refused_by_name(name):
    """By those that take a first step; to the others it is a sum over nothing."""
    estimator, carry, empty = ESTIMATORS[name](LAYER, squared_error), LAYER.initial_carry(2), CHUNK_OF_NONE
    message = "chunk: the number of its steps is 0; it must be 1 or more"
    with pytest.raises(InputError, match=message):
        estimator.init(jax.random.key(0), ZEROS, carry, empty)
    if name != "adaptive":
        state = estimator.init(jax.random.key(0), ZEROS, carry, CHUNK)
        with pytest.raises(InputError, match=message):
            estimator.estimate(ZEROS, state, empty)


@pytest.mark.parametrize("loss", [lambda y, t: (y - t) ** 2, lambda y, t: jnp.sum((y - t) ** 2)])
def test_a_loss_gives_one_number_for_each_weight(loss):
    """A sum would be counted once for every step of every row."""
    estimator = bptt(LAYER, loss)
    with pytest.raises(AssertionError, match=r"the loss must give one number for each weight, \[K, B\]"):
        estimator.estimate(ZEROS, estimator.init(None, ZEROS, LAYER.initial_carry(2), CHUNK), CHUNK)


def test_weights_may_be_integers_or_booleans():
    for kind in (int, bool):
        chunk = CHUNK._replace(weight=np.ones((6, 2), kind))
        for make in ESTIMATORS.values():
            estimator = make(LAYER, squared_error)
            state = jax.eval_shape(
                lambda chunk=chunk, e=estimator: e.init(jax.random.key(0), ZEROS, LAYER.initial_carry(2), chunk)
            )
            result = jax.eval_shape(lambda state, chunk=chunk, e=estimator: e.estimate(ZEROS, state, chunk), state)
            assert result[0].loss.dtype == float


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "message"),
    [
        (softmax_cross_entropy, (5, 2, 4), np.zeros((5, 3), int), "targets must have the shape"),
        (softmax_cross_entropy, (5, 2, 4), np.zeros((5, 2)), "targets must be integers"),
        (sigmoid_cross_entropy, (5, 2, 4), np.zeros((5, 2)), "targets must have the shape"),
        (sigmoid_cross_entropy, (5, 2), np.zeros((5, 3)), "targets must have the shape"),
        (squared_error, (5, 2, 4), np.zeros((5, 2)), "targets must have the shape"),
        (squared_error, (5, 2, 4), np.zeros((5, 2, 3)), "targets must have the shape"),
    ],
)
def test_a_loss_names_targets_that_do_not_fit(loss, outputs, targets, message):
    with pytest.raises(AssertionError, match=f"{loss.__name__}: {message}"):
        loss(np.zeros(outputs), targets)


def test_ids_are_integers():
    with pytest.raises(AssertionError, match="embedding: the input must be integer ids"):
        embedding(5, 3).step({"w": np.zeros((5, 3))}, (), np.zeros(2))


@pytest.mark.parametrize("weight", [np.ones(3), np.ones((2, 3))])
def test_a_gate_weighs_rows(weight):
    with pytest.raises(AssertionError, match=r"gate: weight must be \[\] or \[B\]"):
        gate(jnp.ones((2, 3)), weight)


# What is given in the place of something else ------------------------------------------------------------------------

ONE_ROW = np.ones((2, 3))
STACK = stack(LAYER, elman(4, 5))
STACK_ZEROS = {"0": ZEROS, "1": jax.tree.map(np.zeros_like, ZEROS)}
LEAKY = from_step(
    lambda key: {}, lambda batch_shape, key=None: jnp.zeros((*batch_shape, 3)), lambda p, h, x: (h + x, h)
)
MISTAKEN = {
    "init: optimizer is a GradientTransformationExtraArgs; expected an Optimizer": lambda: init(
        bptt(LAYER, squared_error), optax.sgd(0.1), None, ZEROS, LAYER.initial_carry(2), CHUNK
    ),
    "make_train_step: optimizer is a Grad": lambda: make_train_step(bptt(LAYER, squared_error), optax.sgd(0.1)),
    "chunk.weight is None": lambda: truncated_bptt(LAYER, squared_error, horizon=12).init(
        None, ZEROS, LAYER.initial_carry(2), CHUNK._replace(weight=None)
    ),
    r"elman: the carry \(tree 0\) must be like initial_carry": lambda: LAYER.unroll(ZEROS, None, CHUNK.inputs),
    "stack: carry is a NoneType": lambda: STACK.unroll(STACK_ZEROS, None, CHUNK.inputs),
    r"stack: params has the keys \['b_": lambda: STACK.unroll(ZEROS, STACK.initial_carry(2), CHUNK.inputs),
    r"elman: params\['b_hh'\] is \[4\]; expected \[5\]": lambda: elman(3, 5).step(ZEROS, np.zeros((2, 5)), ONE_ROW),
    r"elman: params\['b_hh'\] is missing": lambda: LAYER.step({"0": ZEROS}, np.zeros((2, 4)), ONE_ROW),
    "stack: a bidirectional layer is no cell": lambda: stack(BOTH, LAYER),
    "with_readout: cell is": lambda: with_readout(BOTH, 2),
    "language_model: core is": lambda: language_model(cells.lstm, 5),
    "within_lengths: a length is 7; it must be from 0 to T = 6": lambda: BOTH.apply(BOTH_ZEROS, CHUNK.inputs, [7, 2]),
    "within_lengths: a length is -1; it must be": lambda: within_lengths([6, -1], 6),
    "batch_size 2.0, chunk_length 3": lambda: make_streams(np.arange(99), 2.0, 3, drop_tail=True),
    "optimizer: rate is '0.1'; it must be a number": lambda: optimizer("sgd", "0.1"),
    "optimizer: weight_decay is '0.1'; it must": lambda: optimizer("sgd", 0.1, weight_decay="0.1"),
    "optimizer: clip_norm is '1'; it must be a number": lambda: optimizer("sgd", 0.1, clip_norm="1"),
    r"Marked: reset is \[True, False\]; it must be an array": lambda: LAYER.step(
        ZEROS, np.zeros((2, 4)), Marked(ONE_ROW, reset=[True, False])
    ),
    "Marked: keep is": lambda: LAYER.unroll(ZEROS, np.zeros((2, 4)), Marked(CHUNK.inputs, keep=[[True, False]] * 6)),
    "language_model: vocabulary_block is 0": lambda: language_model(LAYER, 5, vocabulary_block=0),
    r"elman: the input x \[\*batch, I\] must end in an axis of size 3 \(": lambda: LAYER.step(
        ZEROS, np.zeros((2, 4)), np.ones((2, 5))
    ),
}


@pytest.mark.parametrize("message", MISTAKEN)
def test_what_is_given_in_the_place_of_something_else_is_named_first(message):
    with pytest.raises((InputError, AssertionError), match=f"^{message}") as refused:
        MISTAKEN[message]()
    assert "\n" not in str(refused.value)


def test_what_is_meant_is_understood():
    """A number of rows for a shape, as many updates as the chunks need, lengths that a compiled function is given."""
    assert LEAKY.initial_carry(4).shape == (4, 3)
    assert stack_chunks([CHUNK] * 3, accumulation=2).weight.shape == (2, 2, 6, 2)
    assert jax.jit(partial(within_lengths, steps=6))(np.array([5, 2])).sum() == 7


@pytest.mark.parametrize(
    ("cell", "params", "expected"),
    [
        (dense(3, 2), {"w": np.ones((3, 2)), "b": np.zeros(1)}, r"dense: params\['b'\] is \[1\]"),
        (dense(3, 2), {"b": np.zeros(2)}, r"dense: params\['w'\] is missing"),
        (embedding(10, 4), {"w": np.ones((5, 4))}, r"embedding: params\['w'\] is \[5, 4\]; expected \[10, 4\]"),
        (LAYER, None, r"elman: params\['b_hh'\] is missing"),
    ],
    ids=["a bias of one", "no matrix", "a table of fewer", "none"],
)
def test_parameters_of_another_cell(cell, params, expected):
    xs = np.ones((5, 3)) if cell.input_size == 3 else np.ones(5, int)
    with pytest.raises(InputError, match=expected):
        cell.step(params, cell.initial_carry(5), xs)


@pytest.mark.parametrize("told", [False, True])
def test_parameters_and_carries_of_another_model(told):
    sizes: Any = {"core": elman(4, 4), "vocabulary_size": 5, "vocabulary_block": 2, "vocabulary_sample": 5}
    tied, untied = (language_model(**sizes, tie=tie) for tie in (True, False))
    ids = np.ones((3, 2), int)
    xs = Told(ids, ids) if told else ids
    of_tied, of_untied = (model.init(jax.random.key(0)) for model in (tied, untied))
    carry = tied.initial_carry(2, jax.random.key(0))
    with pytest.raises(InputError, match=r"\['readout'\]\['w'\] is there, but the model is tied"):
        tied.unroll(of_untied, carry, xs)
    with pytest.raises(InputError, match=r"(dense|readout): params\['w'\] is missing"):
        untied.unroll(of_tied, carry, xs)
    larger = of_untied | {"readout": {"w": np.ones((4, 7)), "b": np.zeros(7)}}
    with pytest.raises(InputError, match=r"(dense|readout): params\['w'\] is \[4, 7\]"):
        untied.unroll(larger, carry, xs)
    if told:
        with pytest.raises(InputError, match="the readout's carry is .*; it must be a Noise"):
            untied.unroll(of_untied, (*carry[:-1], ()), xs)
    for model, params in ((tied, of_tied), (untied, of_untied)):
        with pytest.raises(InputError, match="stack: carry is a NoneType"):
            model.unroll(params, None, xs)
        with pytest.raises(InputError, match="stack: params has the keys"):
            model.unroll(params["core"], carry, xs)


@pytest.mark.parametrize("begins_at", [-1, 5, 1.5])
def test_a_document_begins_at_a_symbol(begins_at):
    with pytest.raises(InputError, match=f"language_model: begins_at is {begins_at}; it must be a symbol, from 0 to 4"):
        language_model(LAYER, 5, begins_at=begins_at)


@pytest.mark.parametrize("cell", [LAYER, cells.lstm(3, 4), cells.gru(3, 4)], ids=["elman", "lstm", "gru"])
@pytest.mark.parametrize("method", ["step", "unroll"])
def test_a_carry_of_another_dtype(cell, method):
    """It would change its dtype at the first step, which a loop cannot; a weakly typed one takes on any."""
    params, xs = cell.init(jax.random.key(0)), np.ones((2, 2, 3))
    xs, run = (xs, cell.unroll) if method == "unroll" else (xs[0], cell.step)
    narrow = jax.tree.map(lambda state: state.astype(jnp.float16), cell.initial_carry(2))
    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(InputError, match="the dtype of the carry is 'float16'; it must be float64"),
    ):
        run(params, narrow, xs)
    run(params, jax.tree.map(lambda state: jnp.full(state.shape, 0), cell.initial_carry(2)), xs)


def test_a_penalty_of_change_keeps_to_its_dtype():
    layer = temporal_penalty(4, 1.0)
    with pytest.raises(InputError, match="temporal_penalty: dtype is 'float64'; it must be bfloat16"):
        layer.unroll({}, layer.initial_carry(2, jax.random.key(0)), jnp.ones((5, 2, 4), jnp.bfloat16))


def test_numbers_of_numpy_change_no_dtype():
    """As rates and weights in a model of bfloat16, forwards and backwards."""
    half, low = np.float64(0.5), jnp.bfloat16
    above = stack(
        dropout(half),
        locked_dropout(half),
        activation_penalty(half),
        temporal_penalty(8, half, dtype=low),
    )
    core = weight_drop(zoneout(cells.gru(np.int64(8), 8, dtype=low), half), half)
    model = language_model(core, 50, above=above, word_dropout=half, tie=True, dtype=low)
    normal = language_model(core, 50, embedding_init=initializers.normal(half), dtype=low)
    chunk = Chunk(np.ones((3, 2), int), np.ones((3, 2), int), np.ones((3, 2), np.float32))

    def gradient(model, key):
        estimator = bptt(model, with_penalties(softmax_cross_entropy))
        params, carry = model.init(jax.random.key(0)), model.initial_carry(2, key)
        return estimator.estimate(params, estimator.init(None, params, carry, chunk), chunk)[0].grads

    for each in (model, normal):
        for key in (None, jax.random.key(1)):
            grads = jax.eval_shape(partial(gradient, each, key))
            assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(low)}
