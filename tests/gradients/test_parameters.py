"""Parameters of another kind than the carry's: of fewer bits, or Python's own numbers."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params
from jaxrnn.cells import elstm
from jaxrnn.compose import embedding, stack, with_readout
from jaxrnn.errors import InputError
from jaxrnn.gradients import (
    Chunk,
    accumulate,
    adaptive_bptt,
    bptt,
    checkpointed_bptt,
    geometric,
    randomized_bptt,
    rtrl,
    snap1,
    truncated_bptt,
    uoro,
)
from jaxrnn.gradients.segments import chunk_loss, segmented
from jaxrnn.losses import squared_error
from jaxrnn.stepwise import from_step

STEPS, ROWS, INPUT, HIDDEN = 6, 2, 2, 3
CELL = with_readout(elstm(INPUT, HIDDEN), 2)
SIGNS = np.where(np.random.default_rng(5).random((STEPS, HIDDEN)) < 0.5, -1, 1)
ONLINE = {
    "rtrl": rtrl,
    "snap1": snap1,
    "uoro": partial(uoro, draw=lambda key, steps, size: jnp.asarray(SIGNS)[steps]),
}


def estimate(estimator, params, carry, chunk):
    state = estimator.init(jax.random.key(0), params, carry, chunk)
    return jax.jit(estimator.estimate)(params, state, chunk)


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize(("narrow", "wide"), [(jnp.bfloat16, np.float32), (np.float32, np.float64)])
def test_online_rules_take_parameters_of_fewer_bits_than_the_carry(name, narrow, wide):
    """Gradients have the parameters' dtypes, the state keeps its own, and only rounding tells them from wide ones."""
    shapes = [np.zeros((STEPS, ROWS, n), wide) for n in (INPUT, 2)]
    params = jax.tree.map(lambda p: p.astype(narrow), random_params(1, CELL))
    carry = jax.tree.map(lambda a: a.astype(wide), random_like(2, CELL.initial_carry(ROWS)))
    chunk = random_like(3, Chunk(*shapes, np.zeros((STEPS, ROWS), wide)))
    estimator = ONLINE[name](CELL, squared_error)
    with jax.numpy_dtype_promotion("standard"):
        start = estimator.init(jax.random.key(0), params, carry, chunk)
        found, state = jax.jit(estimator.estimate)(params, start, chunk)
        exact, _ = estimate(estimator, jax.tree.map(lambda p: p.astype(wide), params), carry, chunk)
    assert jax.tree.map(jax.typeof, state) == jax.tree.map(jax.typeof, start)
    for g, e in zip(*map(jax.tree.leaves, (found.grads, exact.grads)), strict=True):
        assert g.dtype == narrow and np.any(e != 0)
        np.testing.assert_allclose(g.astype(wide), e, rtol=0, atol=4 * float(jnp.finfo(narrow).eps) * np.abs(e).max())


LEAKY = from_step(
    init=lambda key: {"a": 0.5},
    initial_carry=lambda batch_shape, key=None: jnp.zeros((*batch_shape, HIDDEN)),
    step=lambda params, h, x: (params["a"] * h + x,) * 2,
)
RULES = {
    "bptt": bptt,
    "checkpointed": partial(checkpointed_bptt, segment_length=2),
    "within a budget": partial(checkpointed_bptt, memory="1MB"),
    "truncated": partial(truncated_bptt, horizon=STEPS),
    "replayed": partial(truncated_bptt, horizon=2 * STEPS),
    "randomized": partial(randomized_bptt, segment_length=2, truncation=geometric(0.0)),
    "adaptive": partial(adaptive_bptt, longest=2 * STEPS),
    "accumulated": lambda cell, loss: accumulate(bptt(cell, loss), STEPS),
    "rtrl": rtrl,
    "uoro": uoro,
}


@cache
def leaky():
    """A chunk, and what its estimate is exactly, where the parameter is an array."""
    chunk = random_like(1, Chunk(*(np.zeros((STEPS, ROWS, HIDDEN)),) * 2, np.zeros((STEPS, ROWS))))
    return chunk, estimate(bptt(LEAKY, squared_error), {"a": jnp.asarray(0.5)}, LEAKY.initial_carry(ROWS), chunk)[0]


@pytest.mark.parametrize("compiled", [False, True], ids=["as it is", "compiled"])
@pytest.mark.parametrize("rule", RULES)
def test_a_parameter_may_be_a_number_of_python(rule, compiled):
    chunk, exact = leaky()
    estimator, params = RULES[rule](LEAKY, squared_error), LEAKY.init(jax.random.key(0))
    state = estimator.init(jax.random.key(0), params, LEAKY.initial_carry(ROWS), chunk)
    found, _ = (jax.jit(estimator.estimate) if compiled else estimator.estimate)(params, state, chunk)
    assert_close(found.loss, exact.loss)
    assert found.grads["a"].shape == () and (rule == "uoro" or abs(found.grads["a"] / exact.grads["a"] - 1) < 1e-12)


def test_a_loss_in_segments_takes_a_number_of_python_where_nothing_is_differentiated():
    chunk = random_like(1, Chunk(*(np.zeros((STEPS, ROWS, HIDDEN)),) * 2, np.zeros((STEPS, ROWS))))
    run = chunk_loss(LEAKY, squared_error)
    whole, cut = (each({"a": 0.5}, LEAKY.initial_carry(ROWS), chunk) for each in (run, segmented(run, 2)))
    assert_close(cut, whole)


def test_snap1_refuses_to_follow_nothing():
    """A table whose numbers feed all units; where no parameter reaches the carry, there is nothing to refuse."""
    chunk = Chunk(np.zeros((STEPS, ROWS), int), np.zeros((STEPS, ROWS, HIDDEN)), np.ones((STEPS, ROWS)))
    spread = lambda params, h, x: (0.5 * h + jnp.sum(x, axis=-1, keepdims=True),) * 2  # noqa: E731
    fixed = from_step(lambda key: {}, LEAKY.initial_carry, spread, output_size=HIDDEN)
    cell = stack(embedding(5, HIDDEN), fixed)
    with pytest.raises(InputError, match="snap1: every parameter that reaches the carry feeds many units.*rtrl"):
        snap1(cell, squared_error).init(None, random_params(0, cell), cell.initial_carry(ROWS), chunk)
    cell, xs = with_readout(fixed, 2), np.ones((STEPS, ROWS, HIDDEN))
    chunk, params = Chunk(xs, xs[..., :2], chunk.weight), random_params(0, cell)
    found, exact = (
        estimate(make(cell, squared_error), params, cell.initial_carry(ROWS), chunk)[0] for make in (snap1, bptt)
    )
    assert_close(found, exact)


def test_parameters_that_are_no_floats_are_refused():
    chunk = random_like(3, Chunk(*(np.zeros((STEPS, ROWS, HIDDEN)) for _ in range(2)), np.zeros((STEPS, ROWS))))
    rule, carry = bptt(LEAKY, squared_error), LEAKY.initial_carry((ROWS,))
    with pytest.raises(InputError, match=r"a parameter's dtype is 'int\d+'; it must be one of floats"):
        rule.estimate({"a": 1}, rule.init(None, {"a": 1}, carry, chunk), chunk)
