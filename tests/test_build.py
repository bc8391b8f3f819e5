"""The tables from names to factories: every row builds something that works."""

from functools import partial
from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import table
from agreement import assert_close
from jaxrnn.averaging import Averaged
from jaxrnn.build import (
    CELLS,
    ESTIMATORS,
    INITIALIZERS,
    NAMES,
    PRECISIONS,
    build_estimator,
    build_model,
    build_optimizer,
    check_names,
)
from jaxrnn.cells.elman import elman
from jaxrnn.cells.gru import gru
from jaxrnn.compose import Noise, mixed_precision
from jaxrnn.config import Config, Data, Gradient, Model, Optimizer, Regularizer, Training
from jaxrnn.consistency import check
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.gradients.base import CarryState
from jaxrnn.gradients.uoro import RankOne
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.settings import KEYS, flatten
from jaxrnn.training import init, update
from jaxrnn.trees import is_float, is_key
from jaxrnn.types import Penalized

V, K, B = 5, 4, 2
IDS = jnp.arange(K * B).reshape(K, B) % V


def small(**changed):
    return Model(**({"hidden_size": 4, "embedding_size": 3} | changed))


def shapes(cell):
    """The shapes of parameters and logits; nothing is compiled."""

    def run(key):
        params = cell.init(key)
        return params, cell.unroll(params, cell.initial_carry((B,)), IDS)[1]

    params, ys = jax.eval_shape(run, jax.random.key(0))
    assert ys.shape == (K, B, V)
    return jax.tree.map(lambda leaf: leaf.shape, params)


def some_params(cell):
    """Parameters that no random draw is compiled for."""
    params = jax.eval_shape(cell.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.linspace(-1, 1, leaf.size).reshape(leaf.shape), params)


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_makes_a_language_model(name):
    for initializer in INITIALIZERS:
        settings = {"identity": "w_hh" in signature(CELLS[name]).parameters, "chrono": name == "lstm"}
        if settings.get(initializer, True):
            assert shapes(build_model(small(cell=name, initializer=initializer), V))["core"]["w_ih"][0] == 3


def test_an_initializer_for_nothing_is_refused():
    with pytest.raises(InputError, match="model.initializer = 'identity': model.cell = 'elstm' has no w_hh"):
        build_model(small(cell="elstm", initializer="identity"), V)


def test_every_initializer_starts_at_values_of_its_own():
    def start(key):
        return [CELLS["lstm"](3, 4, **make(small(longest_memory=9.0))).init(key) for make in INITIALIZERS.values()]

    starts = dict(zip(INITIALIZERS, jax.jit(start)(jax.random.key(0)), strict=True))
    assert len({str(jax.tree.leaves(params)) for params in starts.values()}) == len(INITIALIZERS)
    first = {name: params["w_hh"][:, :4] for name, params in starts.items()}
    assert jnp.all(first["identity"] == jnp.eye(4))
    assert_close(first["orthogonal"] @ first["orthogonal"].T, jnp.eye(4))
    i, f, g, o = jnp.split(starts["chrono"]["b_ih"], 4)
    assert jnp.all(i == -f) and jnp.all((0 < f) & (f < jnp.log(8.0))) and not jnp.any(g) and not jnp.any(o)
    assert jnp.all(starts["orthogonal"]["b_ih"] == jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), 4))


@pytest.mark.parametrize("name", CELLS)
def test_a_layer_has_one_bias_or_two(name):
    """One that has one anyway, such as elstm, says so."""
    two = shapes(build_model(small(cell=name), V))["core"]
    if "b_hh" not in signature(CELLS[name]).parameters:
        with pytest.raises(InputError, match=f"model.recurrent_bias: model.cell = '{name}' has no b_hh anyway"):
            build_model(small(cell=name, recurrent_bias=False), V)
        return
    one = shapes(build_model(small(cell=name, recurrent_bias=False), V))["core"]
    assert two.keys() - one.keys() == {"b_hh"} and one.items() <= two.items()


def test_the_forget_bias_is_that_of_the_configuration():
    for name, gate, default in (("lstm", 1, 1.0), ("elstm", 0, 0.0)):
        for asked, meant in ((None, default), (2.5, 2.5), (0.0, 0.0)):
            bias = build_model(small(cell=name, forget_bias=asked), V).init(jax.random.key(0))["core"]["b_ih"]
            assert bias.tolist() == [meant if n // 4 == gate else 0.0 for n in range(bias.size)]
    with pytest.raises(InputError, match="model.forget_bias: model.cell = 'gru' has no bias of a forget gate"):
        build_model(small(cell="gru", forget_bias=1.0), V)


VARIANTS = {
    "gru_reset_before": (gru(3, 4, reset_after=False), gru(3, 4)),
    "elman_relu": (elman(3, 4, activation=jax.nn.relu), elman(3, 4)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_named_variants_are_what_their_names_say(name):
    meant, plain = VARIANTS[name]
    params = some_params(meant)
    carry, x = jnp.linspace(-1, 1, 4), jnp.linspace(1, -1, 3)
    ours, theirs, others = (cell.step(params, carry, x)[1] for cell in (CELLS[name](3, 4), meant, plain))
    assert jnp.all(ours == theirs)
    assert not jnp.allclose(ours, others)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_rule_trains_a_language_model(name):
    """One chunk again and again, the carry handed on: the loss falls, and no update is skipped."""
    cell = build_model(small(cell="elstm" if name == "snap1" else "elman", initializer="uniform"), V)
    section = Gradient(rule=name, horizon=2, segment_length=2, longest=2 * K, measure_every=1)
    estimator, adam = build_estimator(section, cell), build_optimizer(Optimizer(rate=0.05, warmup=0), steps=40)
    chunk = Chunk(IDS, (IDS + 1) % V, jnp.ones((K, B)))
    state = init(estimator, adam, jax.random.key(0), some_params(cell), cell.initial_carry((B,)), chunk)
    chunks = jax.tree.map(lambda a: a[None], chunk)

    @jax.jit
    def train(state):
        return jax.lax.scan(lambda state, _: update(estimator, adam, state, chunks), state, length=40)

    state, metrics = train(state)
    assert int(state.step) == 40 and int(state.skipped) == 0
    assert float(metrics.loss[-1]) < 0.5 * float(metrics.loss[0])
    if name == "adaptive":
        assert int(state.estimator.windows) == 39


@pytest.mark.parametrize(
    ("name", "settings", "exact"),
    [
        ("truncated", {"horizon": 2}, False),
        ("checkpointed", {"segment_length": 2}, True),
        ("randomized", {"segment_length": 2, "cut_rate": 0.0}, True),  # never cut
    ],
)
def test_an_estimator_gets_its_settings(name, settings, exact):
    cell = build_model(small(cell="elman", initializer="uniform"), V)

    @jax.jit
    def gradients(params):
        key, carry = jax.random.key(0), cell.initial_carry((B,))
        chunk = Chunk(IDS, (IDS + 1) % V, jnp.ones((K, B)))
        estimators = (bptt(cell, softmax_cross_entropy), build_estimator(Gradient(rule=name, **settings), cell))
        return [one.estimate(params, one.init(key, params, carry, chunk), chunk)[0] for one in estimators]

    whole, estimate = gradients(some_params(cell))
    assert estimate.loss == pytest.approx(float(whole.loss), rel=1e-12)
    far = max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (whole, estimate)), strict=True))
    assert (far < 1e-12) == exact


def test_the_precision_is_that_of_the_estimator():
    cell = build_model(small(cell="elman", initializer="uniform"), V)
    params, chunk = some_params(cell), Chunk(IDS, (IDS + 1) % V, jnp.ones((K, B)))

    @jax.jit
    def losses(params):
        made = [build_estimator(Gradient(), cell, precision=precision) for precision in PRECISIONS]
        made.append(bptt(mixed_precision(cell), softmax_cross_entropy))
        return [one.estimate(params, one.init(None, params, cell.initial_carry((B,)), chunk), chunk) for one in made]

    fine, coarse, meant = losses(params)
    assert_close(coarse, meant)
    assert 0 < abs(fine[0].loss - coarse[0].loss) < 0.01 * fine[0].loss


@pytest.mark.parametrize("rule", ["rtrl", "snap1", "uoro"])
def test_rules_that_go_forward_have_one_precision(rule):
    cell = build_model(small(cell="elstm", initializer="uniform"), V)
    with pytest.raises(InputError, match=f"training.precision = 'bfloat16': gradient.rule = '{rule}' goes"):
        build_estimator(Gradient(rule=rule), cell, precision="bfloat16")


def test_a_vocabulary_in_blocks_changes_no_estimate():
    whole, blocks = (build_model(small(vocabulary_block=block), V) for block in (None, 2))
    params, chunk = some_params(whole), Chunk(IDS, (IDS + 1) % V, jnp.ones((K, B)))

    @jax.jit
    def estimates(params):
        made = build_estimator(Gradient(), whole), build_estimator(Gradient(), blocks, tells=True)
        return [one.estimate(params, one.init(None, params, whole.initial_carry((B,)), chunk), chunk) for one in made]

    assert_close(*estimates(params))


def test_a_budget_takes_the_place_of_a_segment_length():
    cell = build_model(small(cell="elman"), V)
    estimator = build_estimator(Gradient(rule="checkpointed", memory="10B"), cell)
    with pytest.raises(InputError, match="memory"):
        state = CarryState(cell.initial_carry((B,)))
        jax.eval_shape(estimator.estimate, some_params(cell), state, Chunk(IDS, IDS, jnp.ones((K, B))))


def test_layers_widths_and_tying_are_those_of_the_configuration():
    params = shapes(build_model(small(num_layers=3, hidden_size=6, dropout=0.5), V))
    assert params["embedding"]["w"] == (V, 3)
    assert [core["w_ih"] for core in params["core"].values() if core] == [(3, 24), (6, 24), (6, 24)]
    assert "w" not in shapes(build_model(small(embedding_size=4, tie=True), V))["readout"]
    unequal = small(num_layers=3, hidden_size=6, last_size=3, tie=True, initializer="uniform")
    params = shapes(build_model(unequal, V, Regularizer(temporal_penalty=1.0)))
    assert [core["w_ih"] for core in params["core"].values()] == [(3, 24), (6, 24), (6, 12)]
    for wrong in (small(last_size=3), small(num_layers=2, last_size=4, tie=True)):
        with pytest.raises(InputError, match="model.last_size = "):
            check(Config(model=wrong))


def test_dropout_is_drawn_around_each_layer_in_training_only():
    cell = build_model(small(cell="elman", initializer="uniform", num_layers=2, dropout=0.5), V)
    carry = jax.eval_shape(partial(cell.initial_carry, (B,)), jax.random.key(0))
    assert sum(leaf.dtype == jnp.int32 for leaf in jax.tree.leaves(carry)) == 3  # counts: below, between and above

    @jax.jit
    def logits(params, key):
        return [cell.unroll(params, cell.initial_carry((B,), noise), IDS)[1] for noise in (key, None)]

    noisy, silent = logits(some_params(cell), jax.random.key(0))
    assert not jnp.allclose(noisy, silent)


# What each adds to the carry of two layers in training: random keys, and numbers beside those of the cells.
ADDED = {
    "dropout_embedding": (1, 0),
    "dropout_input": (1, 0),
    "dropout_hidden": (1, 0),
    "dropout_output": (1, 0),
    "weight_drop": (2, 0),
    "zoneout": (2, 0),
    "zoneout_content": (2, 0),
    "activation_penalty": (0, 0),
    "temporal_penalty": (0, 1),
}


@pytest.mark.parametrize("name", ADDED)
def test_a_regularizer_is_there_in_training_and_gone_in_evaluation(name):
    def carries(regularizer):
        cell = build_model(small(num_layers=2), V, regularizer)
        start = partial(jax.eval_shape, partial(cell.initial_carry, (B,)))
        return cell, *map(jax.tree.leaves, (start(jax.random.key(0)), start()))

    (_, plain, _), (cell, noisy, quiet) = carries(Regularizer()), carries(Regularizer(**{name: 0.3}))
    keys, floats = (sum(test(leaf) for leaf in noisy) for test in (is_key, is_float))
    assert (keys, floats - len(plain)) == ADDED[name] and quiet == plain

    def outputs(key, noise):
        return cell.unroll(cell.init(key), cell.initial_carry((B,), noise), IDS)[1]

    key = jax.random.key(0)
    assert isinstance(jax.eval_shape(outputs, key, key), Penalized) == ("penalty" in name)
    assert not isinstance(jax.eval_shape(outputs, key, None), Penalized)


def test_all_regularizers_at_once_learn_and_are_off_in_evaluation():
    """But for zoneout, which takes its expectation."""
    zoned = Regularizer(zoneout=0.1, zoneout_content=0.1)
    plain, cell = (build_model(small(), V, each) for each in (zoned, Regularizer(**dict.fromkeys(ADDED, 0.1))))
    estimator, adam = build_estimator(Gradient(), cell), build_optimizer(Optimizer(rate=0.05, warmup=0), steps=150)
    chunks = jax.tree.map(lambda a: a[None], Chunk(IDS, (IDS + 1) % V, jnp.ones((K, B))))

    @jax.jit
    def train(params):
        carry = cell.initial_carry((B,), jax.random.key(1))
        state = init(estimator, adam, jax.random.key(2), params, carry, jax.tree.map(lambda a: a[0], chunks))
        state, metrics = jax.lax.scan(lambda state, _: update(estimator, adam, state, chunks), state, length=150)
        logits = [model.unroll(params, model.initial_carry((B,)), IDS)[1] for model in (cell, plain)]
        return metrics, logits

    metrics, (ours, theirs) = train(some_params(cell))
    assert float(metrics.loss[-5:].mean()) < 0.7 * float(metrics.loss[:5].mean()) and not jnp.any(metrics.skipped)
    assert jnp.all(ours == theirs)


def test_what_a_cell_has_not_got_cannot_be_regularized():
    with pytest.raises(InputError, match="regularizer.weight_drop: model.cell = 'elstm' has no w_hh"):
        build_model(small(cell="elstm"), V, Regularizer(weight_drop=0.5))
    with pytest.raises(InputError, match="regularizer.zoneout_content: model.cell = 'gru' has one state"):
        build_model(small(cell="gru"), V, Regularizer(zoneout_content=0.5))


def test_a_setting_of_some_cells_names_them_all():
    def of(name):
        return CELLS[name](3, 4, *([2] if name == "projection_lstm" else []))

    biased = [name for name in CELLS if "forget_bias" in signature(CELLS[name]).parameters]
    two_states = [name for name in CELLS if len(jax.tree.leaves(of(name).initial_carry(()))) == 2]
    for key, names in {"model.forget_bias": biased, "regularizer.zoneout_content": two_states}.items():
        assert sorted(KEYS[key].read_by[1]) == sorted(names), key


def test_a_projection_has_a_size_of_its_own():
    for asked, size in ((None, 2), (3, 3)):
        params = shapes(build_model(small(cell="projection_lstm", projection_size=asked, num_layers=2), V))
        assert [core["w_ih"][0] for core in params["core"].values()] == [3, size]
        assert params["readout"]["w"] == (size, V)
        tied = small(cell="projection_lstm", projection_size=asked, embedding_size=size, tie=True)
        check(Config(model=tied))
        assert "w" not in shapes(build_model(tied, V))["readout"]


def test_the_optimizer_follows_the_configuration():
    section = Optimizer(rate=0.5, schedule="cosine", warmup=0, final=0.1, clip_norm=1.0, options={"b2": 0.9})
    made = build_optimizer(section, steps=10)
    assert [round(float(made.rate(step)), 4) for step in (0, 5, 10)] == [0.5, 0.275, 0.05]
    assert_close(made.clip(jnp.array([3.0, 4.0]), jnp.array(5.0))[0], jnp.array([0.6, 0.8]))
    with pytest.raises(InputError, match="no 'b3'; did you mean 'b"):
        build_optimizer(Optimizer(options={"b3": 0.9}), steps=10)
    with pytest.raises(
        InputError, match="optimizer.options: 'weight_decay' has a key .*; give it as optimizer.weight_decay"
    ):
        build_optimizer(Optimizer(name="adamw", options={"weight_decay": 0.1}), steps=10)
    with pytest.raises(InputError, match="give it as optimizer.average_after"):
        build_optimizer(Optimizer(options={"average": True}), steps=10)


def test_a_budget_that_is_none_is_refused_by_its_key():
    with pytest.raises(InputError, match=r"gradient.memory is 'lots'; expected bytes.*MiB"):
        build_estimator(Gradient(rule="checkpointed", memory="lots"), elman(2, 3))


@pytest.mark.parametrize("section", [Optimizer(average_after=3), Optimizer(average_last=0.2), Optimizer(name="asgd")])
def test_an_average_is_kept_where_the_section_asks_for_one(section):
    params = {"w": jnp.ones(2)}
    assert isinstance(build_optimizer(section, steps=10).transformation.init(params), Averaged)
    assert not isinstance(build_optimizer(Optimizer(), steps=10).transformation.init(params), Averaged)


@pytest.mark.parametrize("key", NAMES)
def test_an_unknown_name_is_refused_by_its_key(key):
    section, _, field = key.partition(".")
    sections = {"data": Data, "model": Model, "gradient": Gradient, "optimizer": Optimizer, "training": Training}
    config = Config(**{section: sections[section](**{field: "xyz"})})
    with pytest.raises(InputError, match=f"^{key}: no 'xyz'.*expected one of: "):
        check_names(config)


def test_the_laws_are_tested_for_every_name():
    for names, rows in ((CELLS, table.CELLS), (ESTIMATORS, table.ESTIMATORS)):
        assert [name for name in names if not any(row.startswith(name) for row in rows)] == []


def test_the_defaults_are_in_the_tables():
    check_names(Config())
    assert set(NAMES) <= set(flatten(Config()))


def noisy_start(regularizer):
    """The carry of two layers before the first step, with a key; nothing is compiled."""
    carry = build_model(small(num_layers=2), V, regularizer).initial_carry
    return jax.eval_shape(partial(carry, (B,)), jax.random.key(0))


@pytest.mark.parametrize(("name", "place"), [("input", [0, 1, 0, 0]), ("hidden", [0, 1, 0]), ("output", [0, 0, 1, 0])])
def test_dropout_is_where_its_name_says(name, place):
    parts = noisy_start(Regularizer(**{f"dropout_{name}": 0.3}))
    assert [any(map(is_key, jax.tree.leaves(part))) for part in parts] == place


def test_changes_are_penalized_before_dropout_and_sizes_after_it():
    """As AWD-LSTM has it."""
    regularizer = Regularizer(temporal_penalty=1.0, dropout_output=0.3, activation_penalty=1.0)
    temporal, dropped, activation = noisy_start(regularizer)[-2]
    assert temporal.previous is not None and isinstance(dropped, Noise) and activation.previous is None


def test_zoneout_is_on_the_state_that_its_name_says():
    """In evaluation, from zeros: a state is half of what it would be."""
    seen, params = {}, some_params(build_model(small(), V))
    for name in ("plain", "zoneout", "zoneout_content"):
        cell = build_model(small(), V, Regularizer(**({} if name == "plain" else {name: 0.5})))
        seen[name] = jax.tree.leaves(cell.step(params, cell.initial_carry((1,)), jnp.zeros(1, jnp.int32))[0])
    for name, factors in {"zoneout": (0.5, 1), "zoneout_content": (1, 0.5)}.items():
        assert_close(seen[name], [factor * state for factor, state in zip(factors, seen["plain"], strict=True)])


def test_the_uniform_start_goes_by_the_units():
    model = build_model(small(hidden_size=9, embedding_size=4, initializer="uniform"), V)
    assert 0.3 < float(jnp.abs(model.init(jax.random.key(0))["core"]["w_ih"]).max()) < 1 / 3


@pytest.mark.parametrize("name", CELLS)
def test_a_name_builds_the_cell_of_that_name(name):
    own = name.removesuffix("_reset_before").removesuffix("_relu")
    with pytest.raises(InputError, match=f"^{own}: "):
        CELLS[name](0, 4, *([2] if name == "projection_lstm" else []))


def test_uoro_is_uoro():
    cell = build_model(small(cell="elman"), V)
    estimator, chunk = build_estimator(Gradient(rule="uoro"), cell), Chunk(IDS, IDS, jnp.ones((K, B)))

    def start(key):
        return estimator.init(key, cell.init(key), cell.initial_carry((B,)), chunk)

    assert isinstance(jax.eval_shape(start, jax.random.key(0)).influence, RankOne)
