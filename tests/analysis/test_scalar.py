"""The scalar network by hand is the scalar network by automatic differentiation, and keeps within its bound."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close
from jaxrnn.analysis.flow import lag_norms
from jaxrnn.analysis.scalar import scalar_flow, scalar_rnn
from jaxrnn.gradients import Chunk


@pytest.mark.parametrize("a", [0.3, 3.0, -1.2])
def test_the_chain_rule_by_hand(a):
    """The loss is `d tanh(a h + x)` at the last step, so its slope in the last state is d."""
    steps, d, start = 40, -2.5, 0.4
    xs = np.random.default_rng(0).normal(size=steps)
    flow = scalar_flow(a, jnp.asarray(xs), start=start, d=d)
    h, states = start, [start]
    for x in xs:
        h = np.tanh(a * h + x)
        states.append(h)
    slopes = a * (1 - np.square(states[1:]))
    assert_close(flow.states, jnp.asarray(states))
    assert_close(flow.factors, jnp.asarray(slopes))
    expected = [np.log(abs(d) * abs(np.prod(slopes[steps - k :]))) for k in range(1, steps + 1)]
    assert_close(flow.log_norms, jnp.asarray(expected))
    assert_close(flow.log_bound, jnp.asarray(np.log(abs(d)) + np.arange(1, steps + 1) * np.log(abs(a))))
    assert np.all(flow.log_norms <= flow.log_bound)

    chunk = Chunk(xs[:, None], np.full((steps, 1), d), np.ones((steps, 1)))
    found = NORMS({"a": jnp.asarray(a)}, jnp.full(1, start), chunk)
    assert_close(found[:, 0, 0], flow.log_norms)


NORMS = jax.jit(partial(lag_norms, scalar_rnn(1.0), lambda y, slope: y * slope))
