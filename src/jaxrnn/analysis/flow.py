"""How credit flows back: the norm of a loss's gradient with respect to the states before it, by lag.

The credit of a loss at step t for the carry k steps before is a product of Jacobians::

    d L_t / d carry_{t-k} = d L_t / d carry_{t-1}  J_{t-1} ... J_{t-k+1}          J_s = d carry_s / d carry_{s-1}

which vanishes or explodes as k grows. It is followed back vector by vector, never as a matrix, and kept as a direction
and the logarithm of a length, so that no number is too small or too large however long the way.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.analysis.layers import layers
from jaxrnn.cell import Cell
from jaxrnn.choices import is_number, is_whole, require
from jaxrnn.gradients.base import Chunk, check_chunk
from jaxrnn.gradients.decay import carries_along, credit_before, rescale
from jaxrnn.gradients.segments import step_loss, with_credit
from jaxrnn.trees import row_norms
from jaxrnn.types import Array, Carry, Loss, Params

Groups = Mapping[str, Sequence[int]]  # of states, by the numbers of their leaves: see `layers`


def lag_norms(
    cell: Cell,
    loss: Loss,
    params: Params,
    carry: Carry,
    chunk: Chunk,
    *,
    groups: Groups | None = None,
) -> Array:
    """Follow the credit of a chunk's last loss back through all its steps.

    Equals the loop::

        credit[b] = d (weight * loss)[K-1, b] / d carry_{K-1}          # the carry that the last step starts from: lag 1
        for k in range(1, K + 1):
            for l in range(L):
                result[k-1, l, b] = log(norm(credit[b] of layer l))
            credit = credit d carry_{K-k} / d carry_{K-k-1}            # but for the last k

    Args:
        cell: any cell whose rows do not see each other.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        params: its parameters.
        carry: the carry to start from.
        chunk: `[K, B, ...]`; of targets and weights only the last step's are used.
        groups: the states whose credit is measured together; by default those of each layer, see
            `jaxrnn.analysis.layers.layers`.

    Returns:
        `[K, L, B]`, in row k - 1 the logarithms of the norms at lag k; minus infinity where there is no credit, or less
        of it in a layer than a float can be as a share of the row's.

    Cost:
        A forward and a backward pass, step by step, without gradients of weights; memory for K carries.

    References:
        R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
        equations 5 and 6.

    Example:
        >>> from jaxrnn.cells import elman
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(1, 1, activation=lambda z: z, w_hh=lambda *_: jnp.full((1, 1), 0.5))    # h' = h / 2 + w x
        >>> params, ones = cell.init(jax.random.key(0)), jnp.ones((4, 1, 1))
        >>> norms = lag_norms(cell, squared_error, params, jnp.zeros((1, 1)), Chunk(ones, ones, ones[..., 0]))
        >>> jnp.exp(norms - norms[0]).ravel().tolist()
        [1.0, 0.5, 0.25, 0.125]
    """
    found = _groups(cell, params, carry, chunk, groups)
    return _follow_back(cell, loss, params, carry, chunk, found)[1]


def lag_norms_over_time(
    cell: Cell,
    loss: Loss,
    params: Params,
    carry: Carry,
    chunk: Chunk,
    *,
    lags: int,
    groups: Groups | None = None,
) -> Array:
    """Follow the credit of many losses back, each through the `lags` steps before it.

    Equals the loop, with `N = K // lags`::

        for n in range(N):
            result[n] = lag_norms(cell, loss, params, carry, chunk[n * lags : (n + 1) * lags])
            carry = cell.unroll(params, carry, ...)

    Args:
        cell: as for `lag_norms`.
        loss: as for `lag_norms`.
        params: its parameters.
        carry: the carry to start from.
        chunk: `[K, B, ...]`; steps beyond `N * lags` are left out.
        lags: W, how far back each loss is followed.
        groups: as for `lag_norms`.

    Returns:
        `[N, W, L, B]`.

    Raises:
        InputError: if `lags` is no whole number from 1 to K.

    Cost:
        As `lag_norms`, with memory for W carries.

    Example:
        >>> from jaxrnn.cells import elman
        >>> from jaxrnn.losses import squared_error
        >>> cell, ones = elman(1, 1), jnp.ones((7, 1, 1))
        >>> params, chunk = cell.init(jax.random.key(0)), Chunk(ones, ones, ones[..., 0])
        >>> lag_norms_over_time(cell, squared_error, params, jnp.zeros((1, 1)), chunk, lags=3).shape     # two losses
        (2, 3, 1, 1)
    """
    check_chunk(chunk)
    steps = chunk.weight.shape[0]
    require(is_whole(lags) and lags <= steps, "lag_norms_over_time: lags", lags, f"a whole number from 1 to {steps}")
    parts = jax.tree.map(lambda a: a[: steps // lags * lags].reshape(-1, lags, *a.shape[1:]), chunk)
    found = _groups(cell, params, carry, chunk, groups)
    return jax.lax.scan(lambda carry, part: _follow_back(cell, loss, params, carry, part, found), carry, parts)[1]


class Decay(NamedTuple):
    """How credit decays over the lags, over all losses and rows that have any at that lag.

    Attributes:
        mean_log: `[W, L]`, the mean of the logarithms of the norms.
        log_mean: `[W, L]`, the logarithm of the mean norm, over those without credit too.
        spread: `[W, L]`, the standard deviation of the logarithms.
        alive: `[W, L]`, the share of losses and rows that have any credit.
    """

    mean_log: Array
    log_mean: Array
    spread: Array
    alive: Array


def summarize(log_norms: Array) -> Decay:
    """Take the mean and the spread of credit over rows, and over losses where there are several.

    Args:
        log_norms: `[..., W, L, B]`, as `lag_norms` gives them.

    Returns:
        The decay, `[W, L]` each. Where nothing has credit the mean and the spread are NaN and `log_mean` is minus
        infinity; where a norm is NaN, all three are.

    Example:
        >>> decay = summarize(jnp.log(jnp.array([[[1.0, 4.0, 0.0]]])))
        >>> [round(float(jnp.exp(value[0, 0])), 3) for value in decay[:2]], round(float(decay.alive[0, 0]), 3)
        ([2.0, 1.667], 0.667)
    """
    rows = jnp.moveaxis(log_norms, (-3, -2), (0, 1))
    rows = rows.reshape(*rows.shape[:2], -1)
    alive = rows != -jnp.inf  # NaN is not "no credit", and must be seen
    log_mean = jax.nn.logsumexp(rows, axis=-1) - jnp.log(rows.shape[-1])
    mean = jnp.mean(rows, axis=-1, where=alive)
    return Decay(mean, log_mean, jnp.std(rows, axis=-1, where=alive), jnp.mean(alive, axis=-1, dtype=rows.dtype))


def lag_at(log_norms: Array, share: float) -> Array:
    """Find the first lag at which credit has fallen to a share of what it was at lag 1.

    Args:
        log_norms: `[..., W, L, B]`.
        share: such as 0.01; in (0, 1].

    Returns:
        `[..., L, B]`, each a whole number, or infinite where credit has not fallen so far within W lags; NaN where
        there is none at lag 1, or where it has become NaN before.

    Raises:
        InputError: for a share out of range.

    Example:
        >>> halving = -jnp.log(2.0) * jnp.arange(1.0, 10.0)
        >>> lag_at(halving[:, None, None], 0.1).item(), lag_at(halving[:, None, None], 1e-6).item()
        (5.0, inf)
    """
    require(is_number(share) and 0 < share <= 1, "lag_at: share", share, "above 0 and at most 1")
    first = log_norms[..., :1, :, :]
    fallen = log_norms <= first + jnp.log(share)
    lag = (1 + jnp.argmax(fallen, axis=-3)).astype(log_norms.dtype)
    never = jnp.where(jnp.any(jnp.isnan(log_norms), axis=-3), jnp.nan, jnp.inf)  # NaN stays NaN at all lags beyond
    lag = jnp.where(jnp.any(fallen, axis=-3), lag, never)
    return jnp.where(jnp.isfinite(first[..., 0, :, :]), lag, jnp.nan)


def _groups(cell: Cell, params: Params, carry: Carry, chunk: Chunk, groups: Groups | None) -> list[Sequence[int]]:
    """The groups given, or the layers."""
    check_chunk(chunk)
    require(chunk.weight.shape[0] > 0, "lag_norms: the chunk's length", chunk.weight.shape[0], "at least 1")
    one_step = jax.tree.map(lambda a: a[0], chunk.inputs)
    return list((layers(cell, params, carry, one_step) if groups is None else groups).values())


def _follow_back(
    cell: Cell, loss, params: Params, carry: Carry, chunk: Chunk, groups: list[Sequence[int]]
) -> tuple[Carry, Array]:
    """The carry after the chunk, and the norms `[K, L, B]`."""
    rows = chunk.weight.shape[1]

    def measured(credit, log_size):
        leaves = jax.tree.leaves(credit)
        parts = [row_norms([leaves[number] for number in numbers], rows) for numbers in groups]
        return (credit, log_size), jnp.stack([log_size + jnp.log(part) for part in parts])

    def back_one_step(back, at_step):
        (credit, log_size), (carry, x) = back, at_step
        return measured(*rescale(credit_before(cell, params, carry, x, credit), log_size))

    xs = jax.tree.map(lambda a: a[:-1], chunk.inputs)
    carry, carries = carries_along(cell, params, carry, xs)
    last = jax.tree.map(lambda a: a[-1:], chunk)
    _, after, credit = with_credit(step_loss(cell, loss), params, carry, last)
    back, nearest = measured(*rescale(credit, jnp.zeros(rows)))
    _, further = jax.lax.scan(back_one_step, back, (carries, xs), reverse=True)
    return after, jnp.concatenate([nearest[None], further[::-1]])
