"""The decay of credit over time: measured back from one loss, and the bound on the bias of truncation it implies."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell
from jaxrnn.gradients.base import Chunk
from jaxrnn.gradients.segments import step_loss, with_credit
from jaxrnn.shapes import along, choose
from jaxrnn.sums import norm, widened
from jaxrnn.trees import join, row_norms, split_carry
from jaxrnn.types import Array, Carry, Loss, Params

LEAST_LOG_NORM = -50.0  # relative to the largest: what is smaller is rounding, and says nothing of the decay
TAIL = 0.9  # the share of the window from which on the decay is extrapolated (tau)


class Credit(NamedTuple):
    """How the credit of the last loss of a window decays: row k - 1 is that which arrives k steps back, k = 1 to W.

    Attributes:
        log_norms: `[W]`, log phi_k: of the mean over the batch of the norm of the carry's cotangent.
        reach: `[W]`, the norm of the sum over the lags 1 to k of the mean over the batch of the cotangent.
    """

    log_norms: Array
    reach: Array


class Certificate(NamedTuple):
    """What the decay says of truncation.

    Attributes:
        decay: `[]`, beta: the factor by which credit shrinks each step. Not below 1: nothing can be said.
        bounds: `[W]`, row K - 1 the bound on the relative bias with K steps of credit; infinite: not certified.
    """

    decay: Array
    bounds: Array


def credit_by_lag(
    cell: Cell, loss: Loss, params: Params, starts: Carry, inputs: Any, last: tuple[Any, Array]
) -> Credit:
    """Follow the credit of a window's last loss back through all its steps.

    Equals the loop, with W = N * K steps in all::

        credit = d sum_b weight[b] loss(y_W, targets)[b] / d carry_{W-1}              # lag 1
        for k in range(1, W + 1):
            phi[k] = sum_b norm(credit[b]) / sum(weight)
            reach[k] = norm(sum of the credits so far and over b) / sum(weight)
            credit = credit d carry_{W-k} / d carry_{W-k-1}      # but for the last k

    Each row's cotangent is kept as a unit vector and the logarithm of its length, so that it neither under- nor
    overflows however long the window is.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`.
        params: the parameters.
        starts: like the carry, with a leading axis N: what each chunk of the window starts from.
        inputs: `[N, K, B, ...]`.
        last: `(targets [B, ...], weight [B])` of the last step.

    Returns:
        The credit, `[W]` each, in JAX's default float; where all weights are 0, none.

    Cost:
        A forward and a backward pass over the window, in memory of one chunk's carries; no weight gradients.

    References:
        C. Aicher, N. J. Foti, E. B. Fox, "Adaptively Truncating Backpropagation Through Time to Control Gradient Bias",
        UAI 2019, section 3.

    Example:
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(1, 1, activation=lambda z: z, w_hh=lambda *_: jnp.full((1, 1), 0.5))    # h' = h / 2 + w x
        >>> params, starts, inputs = cell.init(jax.random.key(0)), jnp.zeros((1, 2, 1)), jnp.ones((1, 4, 2, 1))
        >>> credit = credit_by_lag(cell, squared_error, params, starts, inputs, (jnp.ones((2, 1)), jnp.ones(2)))
        >>> jnp.exp(credit.log_norms - credit.log_norms[0]).round(4).tolist()
        [1.0, 0.5, 0.25, 0.125]
    """
    targets, weight = last
    weight = jnp.asarray(weight, float)  # logarithms of many steps are added up in its dtype
    total = jnp.maximum(jnp.sum(weight), jnp.finfo(weight.dtype).tiny)
    run = step_loss(cell, loss)

    def measured(credit, log_size, so_far):
        credit, log_size = rescale(credit, log_size)
        here = jax.tree.map(lambda g: jnp.sum(g * along(jnp.exp(log_size), g), axis=0), widened(credit))
        so_far = jax.tree.map(jnp.add, so_far, here)
        reach = norm(so_far).astype(total.dtype) / total
        return (credit, log_size, so_far), Credit(jax.nn.logsumexp(log_size) - jnp.log(total), reach)

    def back_one_step(back, at_step):
        (credit, log_size, so_far), (carry, x) = back, at_step
        return measured(credit_before(cell, params, carry, x, credit), log_size, so_far)

    def back_one_chunk(back, chunk):
        start, xs = chunk
        _, carries = carries_along(cell, params, start, xs)
        return jax.lax.scan(back_one_step, back, (carries, xs), reverse=True)

    older = jax.tree.map(lambda a: a[:-1], (starts, inputs))
    start, newest = jax.tree.map(lambda a: a[-1], (starts, inputs))
    xs, x = jax.tree.map(lambda a: a[:-1], newest), jax.tree.map(lambda a: a[-1:], newest)
    carry, carries = carries_along(cell, params, start, xs)
    moment = Chunk(x, *jax.tree.map(lambda a: a[None], (targets, weight)))
    _, _, credit = with_credit(run, params, carry, moment)
    nothing = jax.tree.map(lambda g: jnp.zeros(g.shape[1:], g.dtype), widened(credit))
    back, nearest = measured(credit, jnp.zeros_like(weight), nothing)
    back, near = jax.lax.scan(back_one_step, back, (carries, xs), reverse=True)
    _, far = jax.lax.scan(back_one_chunk, back, older, reverse=True)
    return jax.tree.map(lambda *parts: jnp.concatenate([a.reshape(-1) for a in parts])[::-1], far, near, nearest)


def carries_along(cell: Cell, params: Params, carry: Carry, xs: Any) -> tuple[Carry, Carry]:
    """Run a cell forward and keep the carries.

    Args:
        cell: any cell.
        params: its parameters.
        carry: what the first step starts from.
        xs: `[T, B, ...]`.

    Returns:
        The carry after the last step; and, with a leading axis T, what each step started from.
    """
    return jax.lax.scan(lambda carry, x: (cell.step(params, carry, x)[0], carry), carry, xs)


def credit_before(cell: Cell, params: Params, carry: Carry, x: Any, credit: Carry) -> Carry:
    """Send credit one step back: the cotangent of the carry before a step, from that of the carry after it.

    Args:
        cell: any cell.
        params: its parameters.
        carry: what the step starts from.
        x: its input, `[B, ...]`.
        credit: like the float leaves of the carry.

    Returns:
        Likewise: `credit d carry' / d carry`.

    Example:
        >>> from jaxrnn.stepwise import from_step
        >>> halving = from_step(lambda key: {}, lambda shape, key=None: jnp.zeros(shape),
        ...                     lambda params, h, x: (h / 2 + x,) * 2)
        >>> credit_before(halving, {}, jnp.zeros(1), jnp.ones(1), jnp.ones(1)).tolist()
        [0.5]
    """
    floats, others = split_carry(carry)
    _, pull = jax.vjp(lambda floats: split_carry(cell.step(params, join(floats, others), x)[0])[0], floats)
    return pull(credit)[0]


def rescale(credit: Carry, log_size: Array) -> tuple[Carry, Array]:
    """Bring each row of a cotangent to length 1, and keep the logarithm of the length that it has in truth.

    Args:
        credit: float leaves `[B, ...]`, the cotangent over `exp(log_size)`.
        log_size: `[B]`.

    Returns:
        The same cotangent as unit vectors and the logarithms of their lengths: zeros and minus infinity where it is 0.

    Example:
        >>> unit, log_size = rescale(jnp.array([[0.0, 4.0], [0.0, 0.0]]), jnp.zeros(2))
        >>> unit.tolist(), jnp.exp(log_size).round(3).tolist()
        ([[0.0, 1.0], [0.0, 0.0]], [4.0, 0.0])
    """
    size = row_norms(credit, log_size.shape[0]).astype(log_size.dtype)
    alive = size != 0  # true for NaN, which must be seen in the end
    credit = jax.tree.map(lambda g: choose(alive, g / along(jnp.where(alive, size, 1), g), jnp.zeros_like(g)), credit)
    return credit, jnp.where(alive, log_size + jnp.log(jnp.where(alive, size, 1)), -jnp.inf)


def mean_credit(credits: Sequence[Credit]) -> Credit:
    """Average credits: the norms themselves, not their logarithms.

    Args:
        credits: of windows of one length, at least one.

    Returns:
        The mean.

    Example:
        >>> one, three = (Credit(jnp.log(jnp.array([norm])), jnp.array([norm])) for norm in (1.0, 3.0))
        >>> jnp.exp(mean_credit([one, three]).log_norms).round(3).tolist()
        [2.0]
    """
    logs, reach = (jnp.stack(leaves) for leaves in zip(*credits, strict=True))
    return Credit(jax.nn.logsumexp(logs, axis=0) - math.log(len(credits)), jnp.mean(reach, axis=0))


def certify(credit: Credit) -> Certificate:
    """Bound the relative bias of truncation at every horizon within the window.

    With beta the geometric decay, fitted to log phi by least squares over the window up to tau, 9/10 of it (but where
    phi is less than e^-50 of its largest, which is rounding), the credit lost with K steps is at most (phi_tau is
    counted twice below tau)::

        E(K) = phi_K + ... + phi_tau + phi_tau / (1 - beta)           K < tau
        E(K) = phi_tau beta^(K - tau) / (1 - beta)                    K >= tau

    and the credit in all at least `g = max_K reach_{K-1} - E(K)`, so that the relative bias is at most `E(K) / g`, as a
    share of the credit that crosses at least one step; what a loss says of its own step is never truncated.

    Args:
        credit: of a window.

    Returns:
        The certificate. The bound is one of the cotangents of the carry; for the gradient of the parameters it holds as
        far as these act on the carry alike at all lags. Beyond tau it stands on the decay going on. A window of fewer
        than 3 steps, with less than two up to tau, is never certified.

    References:
        C. Aicher, N. J. Foti, E. B. Fox, "Adaptively Truncating Backpropagation Through Time to Control Gradient Bias",
        UAI 2019, section 3 and supplement.

    Example:
        >>> lags = jnp.arange(1, 101)
        >>> halving = Credit(-lags * jnp.log(2.0), 1 - 0.5 ** lags.astype(float))        # phi_k = 2^-k
        >>> decay, bounds = certify(halving)
        >>> round(float(decay), 4), round(float(bounds[4]), 4)                           # 5 steps: 2^-4
        (0.5, 0.0625)
    """
    logs, reach = credit
    window = logs.shape[0]
    tau = max(1, int(TAIL * window))
    lags = jnp.arange(1, window + 1).astype(logs.dtype)
    used = (lags <= tau) & (logs > jnp.max(logs) + LEAST_LOG_NORM)
    log_decay = _slope(lags, logs, used)
    certain = log_decay < 0  # false for NaN too
    beta = jnp.exp(log_decay)

    norms = jnp.exp(logs)
    lost_within = jnp.cumsum(jnp.where(lags <= tau, norms, 0)[::-1])[::-1]
    tail = norms[tau - 1] / (1 - beta)
    lost = jnp.where(lags < tau, lost_within + tail, tail * beta ** (lags - tau))
    kept = jnp.concatenate([jnp.zeros(1, reach.dtype), reach[:-1]])
    whole = jnp.max(kept - lost)
    bounds = jnp.where(certain & (whole > 0), lost / whole, jnp.inf)
    return Certificate(beta, bounds)


def _slope(x: Array, y: Array, used: Array) -> Array:
    """The slope of the least-squares line through the points used; NaN for fewer than two."""
    y = jnp.where(used, y, 0)
    number = jnp.sum(used.astype(x.dtype))
    mean = jnp.sum(jnp.where(used, x, 0)) / number
    x = jnp.where(used, x - mean, 0)
    return jnp.sum(x * y) / jnp.sum(x * x)
