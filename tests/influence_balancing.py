"""Influence balancing: a linear task on which truncated BPTT goes the wrong way unless its horizon is long enough.

References:
    C. Tallec, Y. Ollivier, "Unbiased Online Recurrent Optimization", arXiv:1702.05043 (the task).
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.gradients import Chunk
from jaxrnn.stepwise import from_step

UNITS, POSITIVE = 23, 10
TRANSITION = 0.5 * np.eye(UNITS) + 0.5 * np.eye(UNITS, k=1)
PUSH = np.where(np.arange(UNITS) < POSITIVE, 1.0, -1.0)
OPTIMUM = -1 / 6

CELL = from_step(
    init=lambda key: {"theta": jnp.asarray(0.5)},
    initial_carry=lambda batch_shape, key=None: jnp.ones((batch_shape, UNITS)),
    step=lambda params, s, x: (lambda new: (new, new[..., 0]))(s @ TRANSITION.T + params["theta"] * PUSH[None]),
)
"""`s' = A s + theta u`, output the first unit."""


def loss(outputs, targets):
    """Half the square of the distance."""
    return 0.5 * (outputs - targets) ** 2


def chunk_of(steps):
    """The first unit shall be 1, always."""
    return Chunk(np.zeros((steps, 1, 0)), np.ones((steps, 1)), np.ones((steps, 1)))


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
    chunk, params = chunk_of(chunk_steps), {"theta": jnp.asarray(0.5)}
    state = estimator.init(jax.random.key(key), params, CELL.initial_carry(1), chunk)

    def update(running, _):
        params, state = running
        estimate, state = estimator.estimate(params, state, chunk)
        params = jax.tree.map(lambda p, g: p - rate * g, params, estimate.grads)
        return (params, state), params["theta"]

    return jax.jit(lambda start: jax.lax.scan(update, start, length=updates)[1])((params, state))
