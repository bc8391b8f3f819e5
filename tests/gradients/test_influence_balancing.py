"""The sign of a truncated gradient, to the very step where it turns, and what training makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.data.influence_balancing import OPTIMUM, PUSH, TRANSITION, UNITS, balancing_cell, influence_balancing
from jaxrnn.gradients import bptt, checkpointed_bptt, heavy_tailed, randomized_bptt, truncated_bptt
from jaxrnn.losses import squared_error

CELL = balancing_cell()
THETA = 0.5
SLOPE_OF_LOSS = -6 * THETA - 1  # at the stationary state, where s_1 = -6 theta
TRUE_SIGN = np.sign(-6 * SLOPE_OF_LOSS)


def stationary(theta):
    """The state `[1, 23]` that the cell comes to rest in; its first unit is -6 theta."""
    return np.linalg.solve(np.eye(UNITS) - TRANSITION, theta * PUSH)[None]


def influence(steps):
    """`G(n) = sum_{j<n} (A^j u)_1` for n = 1 to steps: what n steps of credit say of d s_1 / d theta, in truth -6."""
    moved, pushes = PUSH, []
    for _ in range(steps):
        pushes.append(moved[0])
        moved = TRANSITION @ moved
    return np.cumsum(pushes)


def last_gradient(estimator, chunk_steps, calls):
    """Of theta, after some calls at frozen parameters, everything stationary from the start."""
    chunk, params = influence_balancing(1, steps=chunk_steps), {"theta": jnp.asarray(THETA)}
    state = estimator.init(jax.random.key(0), params, jnp.asarray(stationary(THETA)), chunk)

    def call(state, _):
        estimate, state = estimator.estimate(params, state, chunk)
        return state, estimate.grads["theta"]

    return float(jax.jit(lambda state: jax.lax.scan(call, state, length=calls)[1][-1])(state))


@pytest.mark.parametrize(("horizon", "right"), [(40, False), (41, True)])
def test_a_sliding_window_is_wrong_up_to_40_steps(horizon, right):
    gradient = last_gradient(truncated_bptt(CELL, squared_error, horizon=horizon), 1, calls=50)
    assert gradient == pytest.approx(SLOPE_OF_LOSS * influence(horizon)[-1], rel=1e-12)
    assert (np.sign(gradient) == TRUE_SIGN) == right


@pytest.mark.parametrize(("length", "right"), [(109, False), (110, True)])
def test_chunks_with_their_losses_summed_are_wrong_up_to_109_steps(length, right):
    gradient = last_gradient(bptt(CELL, squared_error), length, calls=1)
    assert gradient == pytest.approx(SLOPE_OF_LOSS * influence(length).sum(), rel=1e-12)
    assert (np.sign(gradient) == TRUE_SIGN) == right


def train(estimator, chunk_steps, updates, rate):
    """Theta after each update of plain gradient descent on the losses' sum, the state going on from chunk to chunk."""
    chunk, params = influence_balancing(1, steps=chunk_steps), CELL.init(None)
    state = estimator.init(jax.random.key(0), params, CELL.initial_carry(1), chunk)

    def update(running, _):
        params, state = running
        estimate, state = estimator.estimate(params, state, chunk)
        params = jax.tree.map(lambda p, g: p - rate * g, params, estimate.grads)
        return (params, state), params["theta"]

    return jax.jit(lambda start: jax.lax.scan(update, start, length=updates)[1])((params, state))


def test_training_goes_where_the_sign_of_the_gradient_says():
    """100 steps walk away from the optimum, 200 steps, computed in segments or cut at random without bias, reach it."""
    away = train(truncated_bptt(CELL, squared_error, horizon=100), 200, updates=100, rate=1e-4)
    assert away[-1] > 10 and np.all(np.diff(away[50:]) > 0)
    exact = train(checkpointed_bptt(CELL, squared_error, segment_length=14), 200, updates=300, rate=1e-4)
    assert abs(exact[-1] - OPTIMUM) < 1e-5
    unbiased = randomized_bptt(CELL, squared_error, segment_length=20, truncation=heavy_tailed(8.0))
    found = train(unbiased, 200, updates=600, rate=1e-5)
    assert abs(found[-1] - OPTIMUM) < 1e-5
