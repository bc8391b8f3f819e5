"""The network of one number, `h' = tanh(a h + x)`, in which everything about vanishing gradients can be seen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, Recurrence
from jaxrnn.fused import derive
from jaxrnn.types import Array


def scalar_rnn(a: float) -> Cell:
    """Make the cell `h' = tanh(a h + x)`, output `h'`.

    Args:
        a: what its one parameter starts as.

    Returns:
        A cell with params `{"a": []}`, inputs `[*batch]` and carry `[*batch]`.

    Example:
        >>> cell = scalar_rnn(3.0)
        >>> cell.unroll(cell.init(jax.random.key(0)), jnp.zeros(1), jnp.zeros((3, 1)))[1].ravel().tolist()
        [0.0, 0.0, 0.0]
    """

    def recur(params, h, x, dot, note):
        del dot
        h = note("h", jnp.tanh(params["a"] * h + x))
        return h, h

    return derive(
        lambda key: {"a": jnp.asarray(a, float)},
        lambda batch_shape, key=None: jnp.zeros(batch_shape),
        Recurrence(lambda params, x: x, recur),
    )


class ScalarFlow(NamedTuple):
    """The credit of the last state of a scalar network, factor by factor.

    Attributes:
        states: `[T + 1]`, h_0 to h_T.
        factors: `[T]`, the factor of each step in the order of time: `d h_t / d h_{t-1} = a (1 - h_t^2)`.
        log_norms: `[T]`, in row k - 1 `log |d L / d h_{T-k}|`: the logarithms of the last k factors, added up.
        log_bound: `[T]`, in row k - 1 `log (|a|^k |d|)`, which no input can make them exceed.
    """

    states: Array
    factors: Array
    log_norms: Array
    log_bound: Array


def scalar_flow(a: float, xs: Array, *, start: float = 0.0, d: float = 1.0) -> ScalarFlow:
    """Work out the chain rule through a scalar network by hand.

    With `d = d L / d h_T`, as `tanh' = 1 - tanh^2`::

        d L / d h_{T-k} = d * product of a (1 - h_t^2) for the last k steps t,     |.| <= |a|^k |d|

    So |a| < 1 always vanishes. Above 1 it depends on the states: near 0 the bound is reached and the credit explodes,
    and where tanh is saturated, as it soon is with a large a, the credit vanishes faster still.

    Args:
        a: the recurrent weight.
        xs: `[T]`, the inputs.
        start: h_0.
        d: the slope of the loss in the last state.

    Returns:
        The states, the factors, their product by lag, and its bound.

    References:
        Y. Bengio, P. Simard, P. Frasconi, "Learning Long-Term Dependencies with Gradient Descent is Difficult", IEEE
        Transactions on Neural Networks 5(2), 1994 (a unit that holds on to a state, and its vanishing gradient).

    Example:
        >>> rest, pushed = jnp.zeros(10), jnp.ones(10)
        >>> [round(float(scalar_flow(a, rest).log_norms[-1]), 2) for a in (0.3, 3.0)]      # at h = 0: 10 log a
        [-12.04, 10.99]
        >>> [bool(scalar_flow(a, pushed).log_norms[-1] < -10) for a in (0.3, 3.0)]         # saturated
        [True, True]
    """

    def step(h, x):
        h = jnp.tanh(a * h + x)
        return h, h

    first = jnp.asarray(start, xs.dtype)
    states = jnp.concatenate([first[None], jax.lax.scan(step, first, xs)[1]])
    factors = a * (1 - jnp.square(states[1:]))
    log_d = jnp.log(jnp.abs(jnp.asarray(d, xs.dtype)))
    lags = jnp.arange(1, xs.shape[0] + 1).astype(xs.dtype)
    log_norms = log_d + jnp.cumsum(jnp.log(jnp.abs(factors))[::-1])
    return ScalarFlow(states, factors, log_norms, log_d + lags * jnp.log(jnp.abs(jnp.asarray(a, xs.dtype))))
