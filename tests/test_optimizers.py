"""Optimizers by name against optax's own factories, with rate, decay and clipping beside or inside."""

import inspect
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrnn.errors import InputError
from jaxrnn.optimizers import OPTIMIZERS, Optimizer, clipping, decays, descend, optimizer
from jaxrnn.schedules import schedule

PARAMS = {"w": np.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": np.array([0.5, -0.25, 2.0])}


def gradient(params, t):
    """Some gradient that differs from step to step."""
    return jax.tree.map(lambda p: jnp.sin(p * (t + 1)) + 0.3 * p, params)


def train(optimizer):
    """Make five updates, in one compiled loop."""

    def one(before, t):
        params, state = before
        grads = gradient(params, t.astype(float))
        norm = optax.tree.norm(grads)
        params, state, *_ = descend(optimizer, grads, norm, params, state, t, jnp.asarray(1.0))
        return (params, state), None

    def run(params):
        start = params, optimizer.transformation.init(params)
        return jax.lax.scan(one, start, jnp.arange(5, dtype=jnp.int32))[0][0]

    return jax.jit(run)(PARAMS)


def assert_trees_close(a, b, rtol=1e-12):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol), a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rate_outside_equals_rate_inside(name):
    inside = Optimizer(OPTIMIZERS[name](learning_rate=0.02))
    assert_trees_close(train(optimizer(name, 0.02, weight_decay=0.0)), train(inside))


def test_names_are_the_optimizers_they_say():
    by_hand = {
        "momentum": optax.sgd(0.1, momentum=0.9),
        "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
        "adamw": optax.adamw(0.1, weight_decay=0.01, mask=decays),
        "lion": optax.lion(0.1, weight_decay=0.0),
    }
    for name, theirs in by_hand.items():
        assert_trees_close(train(optimizer(name, 0.1)), train(Optimizer(theirs)))


def test_sgd_equals_its_equation():
    params = PARAMS
    for t in range(5):
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient(params, t))
    assert_trees_close(train(optimizer("sgd", 0.1)), params)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_update_keeps_every_dtype(name, dtype):
    params = jax.tree.map(lambda p: jnp.asarray(p, dtype), PARAMS)
    made = optimizer(name, 0.1, weight_decay=0.1, clip_norm=1.0)
    state = made.transformation.init(params)
    after = jax.eval_shape(
        partial(descend, made), params, jnp.asarray(1.0, dtype), params, state, jnp.int32(0), jnp.asarray(1.0)
    )
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (after.params, after.state))
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (params, state))


def test_a_scale_on_the_rate_is_another_rate_and_leaves_the_moments():
    made, params = optimizer("adam", 0.1), jax.tree.map(jnp.asarray, PARAMS)
    grads = gradient(params, 0)
    start = (grads, optax.tree.norm(grads), params, made.transformation.init(params), jnp.int32(0))
    whole, quarter = descend(made, *start, jnp.asarray(1.0)), descend(made, *start, jnp.asarray(0.25))
    jax.tree.map(np.testing.assert_array_equal, whole.state, quarter.state)
    np.testing.assert_allclose(float(quarter.rate), 0.025, rtol=1e-15)
    assert_trees_close(quarter.params, descend(optimizer("adam", 0.025), *start, jnp.asarray(1.0)).params)


def test_a_descent_reports_what_it_did():
    params, grads = {"w": jnp.array([[1.0, 1.0]])}, {"w": jnp.array([[3.0, 4.0]])}
    for bound, clipped, length in [(1.0, True, 0.1), (5.5, False, 0.5), (None, False, 0.5)]:
        made = optimizer("sgd", 0.1, clip_norm=bound)
        state = made.transformation.init(params)
        descent = descend(made, grads, jnp.asarray(5.0), params, state, jnp.int32(0), jnp.asarray(1.0))
        assert bool(descent.clipped) is clipped
        np.testing.assert_allclose(float(descent.update_norm), length, rtol=1e-12)
        assert float(descent.rate) == 0.1


def test_decay_is_decoupled_and_spares_biases():
    ours = optimizer("momentum", 0.1, weight_decay=0.5)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    state = ours.transformation.init(PARAMS)
    for _ in range(2):  # a decay inside the gradient would show in the momentum at the second update
        updates, state = ours.transformation.update(zeros, state, PARAMS)
        np.testing.assert_allclose(updates["w"], -0.5 * PARAMS["w"], rtol=1e-15)
        np.testing.assert_array_equal(updates["b"], 0.0)


def test_options_reach_the_factory_and_take_a_schedule():
    rate = schedule("cosine", 0.1, steps=5)
    ours = optimizer("adam", rate, b1=0.5, b2=0.9)
    assert ours.rate is rate
    assert_trees_close(train(ours), train(Optimizer(optax.adam(rate, b1=0.5, b2=0.9))))


def test_clipping_by_norm_keeps_the_direction_of_the_whole_tree():
    grads = {"w": jnp.array([[3.0, 0.0]]), "b": jnp.array([4.0])}
    shorter, clipped = clipping(norm=2.5)(grads, jnp.asarray(5.0))
    assert_trees_close(shorter, {"w": np.array([[1.5, 0.0]]), "b": np.array([2.0])})
    assert clipped
    for bound in (5.0, 5.1):
        untouched, clipped = clipping(norm=bound)(grads, jnp.asarray(5.0))
        jax.tree.map(np.testing.assert_array_equal, untouched, grads)  # bit for bit
        assert not clipped


def test_clipping_is_that_of_optax():
    grads = {"w": jax.random.normal(jax.random.key(0), (3, 4)), "b": jax.random.normal(jax.random.key(1), (4,))}
    theirs = optax.chain(optax.clip(0.5), optax.clip_by_global_norm(0.7))
    ours = clipping(value=0.5, norm=0.7)(grads, optax.tree.norm(grads))[0]
    assert_trees_close(ours, theirs.update(grads, theirs.init(grads))[0])


def test_clipping_by_value_comes_before_clipping_by_norm():
    grads = jnp.array([10.0, -1.0, 0.0])
    shorter, clipped = clipping(value=1.0, norm=1.0)(grads, optax.tree.norm(grads))
    np.testing.assert_allclose(shorter, np.array([1.0, -1.0, 0.0]) / math.sqrt(2), rtol=1e-12)
    assert clipped


@pytest.mark.parametrize(
    ("value", "norm", "changed"),
    [(10.0, None, False), (9.0, None, True), (9.0, 1.0, True), (9.0, 20.0, True), (11.0, 10.5, False)],
)
def test_clipping_tells_whether_it_changed_anything(value, norm, changed):
    grads = jnp.array([-10.0, 1.0, 0.0])
    used, clipped = clipping(value=value, norm=norm)(grads, optax.tree.norm(grads))
    assert bool(clipped) == changed == bool(jnp.any(used != grads))


@pytest.mark.parametrize("bound", [None, math.inf])
def test_no_limit_is_no_clipping(bound):
    grads = jnp.array([1e30, -1e30])
    used, clipped = clipping(norm=bound, value=bound)(grads, optax.tree.norm(grads))
    assert used is grads and not clipped


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="optimizer: no 'adan'; did you mean 'adam'"):
        optimizer("adan", 0.1)


def test_an_unknown_option_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="optimizer rmsprop: option: no 'decai'; did you mean 'decay'"):
        optimizer("rmsprop", 0.1, decai=0.5)


def test_an_option_need_not_be_a_number():
    optimizer("adam", 0.1, nesterov=True, mu_dtype="float32")


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_looking_ahead_without_momentum_is_refused(name):
    with pytest.raises(InputError, match=f"optimizer {name}: nesterov: there is no momentum"):
        optimizer(name, 0.1, nesterov=True)
    optimizer(name, 0.1, nesterov=True, momentum=0.9)
    optimizer("momentum", 0.1, nesterov=True)


@pytest.mark.parametrize("key", ["rate", "weight_decay", "clip_norm", "clip_value"])
@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_a_value_out_of_range_is_named(key, value):
    with pytest.raises(InputError, match=f"optimizer: {key} is"):
        optimizer("sgd", **{"rate": 0.1, key: value})


def test_every_factory_has_a_rate_of_its_own_to_be_set_to_one():
    assert all("learning_rate" in inspect.signature(factory).parameters for factory in OPTIMIZERS.values())


def test_names_of_optax_are_its_optimizers():
    plain = ("rmsprop", "adagrad", "adadelta", "adam", "nadam", "amsgrad", "adamax", "radam", "adabelief", "yogi")
    assert all(OPTIMIZERS[name] is getattr(optax, name) for name in plain)


@pytest.mark.parametrize(
    ("name", "option", "value", "expected"),
    [
        ("adam", "b2", 1.5, r"a number in \[0, 1\)"),
        ("adam", "b1", -0.1, r"a number in \[0, 1\)"),
        ("momentum", "momentum", 1.0, r"a number in \[0, 1\)"),
        ("rmsprop", "decay", math.nan, r"a number in \[0, 1\)"),
        ("adadelta", "rho", 2, r"a number in \[0, 1\)"),
        ("adam", "eps", math.nan, "a finite number"),
        ("radam", "threshold", math.inf, "a finite number"),
    ],
)
def test_an_option_with_which_training_would_diverge_is_named(name, option, value, expected):
    with pytest.raises(InputError, match=f"optimizer {name}: {option} is {value}; it must be {expected}"):
        optimizer(name, 0.1, **{option: value})
