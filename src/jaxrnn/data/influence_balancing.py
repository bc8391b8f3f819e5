"""Influence balancing: a task on which truncated gradients point the wrong way unless they reach back far enough.

The first unit of a linear cell with one parameter shall be 1. The parameter acts on it soon for the better and later,
with more weight, for the worse. With n steps of credit a loss takes `G(n) = sum_{j<n} (A^j u)_1` for the influence of
the parameter, which is -6 in truth: G is positive up to n = 40, and summed over the losses of a chunk up to n = 109.

References:
    C. Tallec, Y. Ollivier, "Unbiased Online Recurrent Optimization", ICLR 2018, arXiv:1702.05043 (an experiment).
"""

import jax.numpy as jnp
import numpy as np

from jaxrnn.cell import Cell
from jaxrnn.gradients.base import Chunk
from jaxrnn.stepwise import from_step

UNITS, POSITIVE = 23, 10
TRANSITION = 0.5 * np.eye(UNITS) + 0.5 * np.eye(UNITS, k=1)
PUSH = np.where(np.arange(UNITS) < POSITIVE, 1.0, -1.0)
OPTIMUM = -1 / 6


def influence_balancing(rows: int, *, steps: int) -> Chunk:
    """A stretch of the endless sequence: the first unit of `balancing_cell` shall be 1 at every step.

    Args:
        rows: B; all are alike.
        steps: K.

    Returns:
        Inputs `[K, B, 0]`, targets `[K, B]` for `squared_error`, weights 1/2. The optimum is theta = -1/6 with loss 0,
        for at rest the first unit is -6 theta; no theta that truncation runs off to has a floor.

    Example:
        >>> chunk = influence_balancing(1, steps=5)
        >>> chunk.targets[:, 0].tolist(), float(chunk.weight.sum())
        ([1.0, 1.0, 1.0, 1.0, 1.0], 2.5)
    """
    return Chunk(jnp.zeros((steps, rows, 0)), jnp.ones((steps, rows)), jnp.full((steps, rows), 0.5))


def balancing_cell(theta: float = 0.5) -> Cell:
    """Make the linear cell of influence balancing, with one parameter.

    Its equations::

        s' = A s + theta u          A_ii = A_i,i+1 = 1/2;  u_i = 1 for the first 10 units, -1 for the other 13
        y = s'_1

    Args:
        theta: what it starts with.

    Returns:
        A cell with params `{"theta": []}` and carry `[*batch, 23]`, at first all ones.

    Example:
        >>> cell = balancing_cell()
        >>> cell.step(cell.init(None), cell.initial_carry(1), jnp.zeros((1, 0)))[1].tolist()
        [[1.5]]
    """

    def init(key):
        del key
        return {"theta": jnp.asarray(theta, float)}

    def initial_carry(batch_shape, key=None):
        del key
        return jnp.ones((*batch_shape, UNITS))

    def step(params, s, x):
        del x
        push = params["theta"] * PUSH.astype(s.dtype)
        s = s @ TRANSITION.T.astype(s.dtype) + jnp.broadcast_to(push, s.shape)
        return s, s[..., :1]

    return from_step(init, initial_carry, step, input_size=0, output_size=1)
