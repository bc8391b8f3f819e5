"""The theory of influence balancing, and plain gradient descent on it."""

import jax
import numpy as np

from jaxrnn.data.influence_balancing import PUSH, TRANSITION, UNITS, balancing_cell, influence_balancing

CELL = balancing_cell()


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


def train(estimator, chunk_steps, updates, rate, key=0):
    """Theta after each update of plain gradient descent on the losses' sum, the state going on from chunk to chunk."""
    chunk, params = influence_balancing(1, steps=chunk_steps), CELL.init(None)
    state = estimator.init(jax.random.key(key), params, CELL.initial_carry(1), chunk)

    def update(running, _):
        params, state = running
        estimate, state = estimator.estimate(params, state, chunk)
        params = jax.tree.map(lambda p, g: p - rate * g, params, estimate.grads)
        return (params, state), params["theta"]

    return jax.jit(lambda start: jax.lax.scan(update, start, length=updates)[1])((params, state))
