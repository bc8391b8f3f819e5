"""The average of the parameters over the last part of training, which is evaluated, and when that part begins."""

import math
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
        Models", ICLR 2018, arXiv:1708.02182, Algorithm 1 (begun by `worsened`).

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

    Example:
        >>> state = follow(begin(averaged(optax.sgd(1.0)).init(jnp.array(1.0))), jnp.array(4.0))
        >>> float(state.average), int(state.number)
        (2.5, 2)
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

    Example:
        >>> w = jnp.array(4.0)
        >>> state = follow(begin(averaged(optax.sgd(1.0)).init(jnp.array(1.0))), w)
        >>> float(evaluated(state, w)), float(evaluated(state.inner, w))         # that of plain SGD has no average
        (2.5, 4.0)
    """
    if not isinstance(state, Averaged):
        return params
    return jax.tree.map(lambda average, p: average.astype(p.dtype), state.average, params)


def remember(log: tuple[float, ...], score: float, length: int) -> tuple[float, ...]:
    """Keep of the validation scores what `worsened` asks for: the last ones, and before them the best of all others.

    Args:
        log: what is kept so far; in the beginning nothing.
        score: one more score; NaN counts as the worst.
        length: n, how many of the last are kept one by one.

    Returns:
        What to keep, at most n + 1 scores.

    Example:
        >>> log = ()
        >>> for score in (3.0, 1.0, 2.0, 4.0):
        ...     log = remember(log, score, 2)
        >>> log
        (1.0, 2.0, 4.0)
    """
    log = (*log, _worst_if_nan(score))
    return log if len(log) <= length + 1 else (min(log[:2]), *log[2:])


def worsened(log: tuple[float, ...], score: float, length: int) -> bool:
    """Tell whether a score is worse than the best of all that came before the last n: the non-monotone trigger.

    With `v_0, ..., v_{t-1}` the scores so far, `t > n and v_t > min(v_0, ..., v_{t-n-1})`.

    Args:
        log: what `remember` has kept of the scores so far.
        score: the present one, not yet among them.
        length: n.

    Returns:
        Whether it is; never for the first n + 1 scores.

    References:
        S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018,
        arXiv:1708.02182, Algorithm 1, as the authors' program has it: the n last scores are left out of the minimum.

    Example:
        >>> log = remember(remember((), 2.0, 1), 1.0, 1)
        >>> worsened(log, 1.5, 1), worsened(log, 2.5, 1)
        (False, True)
    """
    return len(log) > length and _worst_if_nan(score) > log[0]


def average_start(share: float, updates: int) -> int:
    """Tell when an average over the end of training begins.

    Args:
        share: S, of the updates, in [0, 1).
        updates: N, in all.

    Returns:
        Updates before it: `N - S N`, rounded, and at least 1; N for no average.

    References:
        P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson, "Averaging Weights Leads to Wider Optima and
        Better Generalization", UAI 2018, arXiv:1803.05407 (over the end of training, at a rate that is not small).

    Example:
        >>> average_start(0.25, 1000), average_start(0.0, 1000)
        (750, 1000)
    """
    return max(1, updates - round(share * updates))


def _worst_if_nan(score: float) -> float:
    """The score, to be compared: NaN counts as the worst there is."""
    return math.inf if math.isnan(score) else score
