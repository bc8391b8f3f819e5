"""Linear recurrences at once against the loop that they equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import all_gradients, assert_close
from jaxrnn.linear_scan import linear_scan

RNG = np.random.default_rng(0)
H = RNG.normal(size=(2, 3))


def by_loop(a, b, h):
    return jax.lax.scan(lambda h, ab: (ab[0] * h + ab[1],) * 2, h, (a, b))[1]


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 64])
def test_values_and_gradients_are_those_of_the_loop(steps):
    a, b = RNG.normal(size=(2, steps, 2, 3))
    a[steps // 2 :: 3] = 0
    at_once, in_turn = (all_gradients(scan, 1, a, b, H) for scan in (linear_scan, by_loop))
    assert_close(at_once, in_turn)


def test_the_loop_by_hand():
    a, b = RNG.normal(size=(2, 9, 2, 3))
    h, hs = H, []
    for t in range(9):
        h = a[t] * h + b[t]
        hs.append(h)
    assert_close(linear_scan(a, b, H), np.array(hs))


def test_nothing_comes_past_a_zero():
    """What was before may be infinite or no number, and the credit that comes back to it, too."""
    a, b = np.full((2, 5, 1), 0.5)
    a[2] = 0
    b[:2, 0] = np.inf, np.nan
    hs, pull = jax.vjp(linear_scan, a, b, np.array([np.nan]))
    assert_close(hs[2:], linear_scan(a[2:], b[2:], np.zeros(1)))
    _, d_b, d_h = pull(jnp.full((5, 1), jnp.inf).at[:2].set(1.0))
    assert_close((d_b[:2], d_h), (np.array([[1.5], [1.0]]), np.array([0.75])))


def test_second_derivatives():
    a, b = RNG.normal(size=(2, 6, 2, 3))

    def twice(scan):
        return all_gradients(jax.grad(lambda *arguments: (scan(*arguments) ** 3).sum(), argnums=(0, 1, 2)), 2, a, b, H)

    assert_close(twice(linear_scan), twice(by_loop))
