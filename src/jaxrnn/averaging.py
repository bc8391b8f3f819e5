"""The average of the parameters over the last part of training: what is evaluated, while training goes on."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrnn.sums import widened
from jaxrnn.types import Array, Params


class Averaged(NamedTuple):
    """The state of a transformation whose parameters are averaged.

    Attributes:
        inner: the state of the transformation itself.
        begun: bool `[]`, whether averaging has begun.
        number: int32 `[]`, how many updates' parameters are averaged; 1 until averaging begins.
        average: like the parameters (of 16 bits: in 32, for a mean over many is made in small steps).
    """

    inner: Any
    begun: Array
    number: Array
    average: Params


def averaged(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """Keep an average of the parameters beside a transformation, whose updates stay what they are.

    With T the number of updates before `begin` was called, after t updates::

        average = mean(params_T, ..., params_t)                 # params_t, as long as averaging has not begun

    Args:
        transformation: any.

    Returns:
        A transformation with state `Averaged`. Who applies its updates tells it the new parameters by `follow`
        (`jaxrnn.optimizers.descend` does). It must be the outermost: within another, such as `optax.chain`, neither
        `follow` nor `evaluated` find it, and without a word there is no average.

    Cost:
        One more copy of the parameters.

    References:
        B. T. Polyak, A. B. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal on Control
        and Optimization 30(4), 1992. S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language
        Models", ICLR 2018, arXiv:1708.02182, Algorithm 1 (begun by `jaxrnn.schedules.worsened`).

    Example:
        >>> sgd = averaged(optax.sgd(1.0))
        >>> state, w = begin(sgd.init(jnp.zeros(1))), jnp.zeros(1)
        >>> for gradient in (-1.0, -3.0):
        ...     updates, state = sgd.update(jnp.array([gradient]), state, w)
        ...     w = w + updates
        ...     state = follow(state, w)
        >>> w.tolist(), round(float(evaluated(state, w)[0]), 4)  # 0, 1 and 4 were seen
        ([4.0], 1.6667)
    """

    def init(params):
        return Averaged(transformation.init(params), jnp.asarray(False), jnp.ones((), jnp.int32), widened(params))

    def update(updates, state, params=None):
        updates, inner = transformation.update(updates, state.inner, params)
        return updates, state._replace(inner=inner)

    return optax.GradientTransformation(init, update)


def begin(state: Averaged) -> Averaged:
    """Begin to average with the next update; where that has begun, nothing changes.

    Args:
        state: of an `averaged` transformation.

    Returns:
        The state to go on with.
    """
    return state._replace(begun=jnp.ones_like(state.begun))


def follow(state: Any, params: Params) -> Any:
    """Take new parameters into the average.

    Args:
        state: of a transformation; one that is not `averaged` comes back as it is.
        params: after the update.

    Returns:
        The state to go on with.
    """
    if not isinstance(state, Averaged):
        return state
    number = state.number + state.begun.astype(state.number.dtype)

    def mean(average, p):
        p = p.astype(average.dtype)
        return jnp.where(state.begun, average + (p - average) / number.astype(average.dtype), p)

    return state._replace(number=number, average=jax.tree.map(mean, state.average, params))


def evaluated(state: Any, params: Params) -> Params:
    """The parameters to evaluate: the average, where the transformation keeps one, or those of the last update.

    Args:
        state: of a transformation.
        params: those of the last update.

    Returns:
        Parameters of the same dtypes.
    """
    if not isinstance(state, Averaged):
        return params
    return jax.tree.map(lambda average, p: average.astype(p.dtype), state.average, params)
