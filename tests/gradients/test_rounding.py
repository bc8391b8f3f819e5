"""In float32, sums over long times are no further from the truth where they are made in parts."""

import jax
import jax.numpy as jnp
import numpy as np

from agreement import random_params
from jaxrnn.cell import scan_unroll
from jaxrnn.cells import elman
from jaxrnn.gradients import Chunk, bptt, checkpointed_bptt
from jaxrnn.losses import squared_error

STEPS = 2**18


def test_over_262144_steps_float32_is_no_worse_than_plain_autodiff_of_the_scan():
    """Plain autodiff adds up a weight's gradient step by step; here a block of time is one product.

    Against float64 of the same numbers, over all parameters, by norm.
    """
    params = jax.tree.map(np.float32, random_params(0, elman(2, 4)))
    rng = np.random.default_rng(1)
    chunk = Chunk(*(rng.normal(size=(STEPS, 1, *more)).astype(np.float32) for more in ((2,), (4,), ())))

    def gradient(dtype, rule, unroll=None):
        cell = elman(2, 4, dtype=dtype)
        cell = cell._replace(unroll=unroll(cell.step)) if unroll else cell
        args = jax.tree.map(lambda a: jnp.asarray(a, dtype), (params, chunk))
        state = rule(cell).init(None, args[0], cell.initial_carry(1), args[1])
        grads = jax.jit(rule(cell).estimate)(args[0], state, args[1])[0].grads
        return np.concatenate([np.ravel(g).astype(np.float64) for g in jax.tree.leaves(grads)])

    def full(cell):
        return bptt(cell, squared_error)

    def checkpointed(cell):
        return checkpointed_bptt(cell, squared_error, segment_length=512)

    exact = gradient(jnp.float64, checkpointed)
    rules = {"scan": (full, scan_unroll), "bptt": (full,), "checkpointed": (checkpointed,)}
    error = {name: np.linalg.norm(gradient(jnp.float32, *rule) - exact) for name, rule in rules.items()}
    assert error["bptt"] <= error["scan"] > 5 * error["checkpointed"], error
    assert error["scan"] < 1e-4 * np.linalg.norm(exact)
