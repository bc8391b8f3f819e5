"""Randomly truncated backpropagation through time, with the factor that makes it unbiased (ARTBP)."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell
from jaxrnn.choices import is_number, is_whole, require
from jaxrnn.gradients.base import GradientEstimator, check_chunk
from jaxrnn.gradients.gate import gate
from jaxrnn.gradients.segments import chunk_loss, renewing, reverse_mode, segmented
from jaxrnn.trees import check_threefry
from jaxrnn.types import Array, Carry, Loss

# (segments since the last truncation, int [B]) -> probability of truncation [B]
Truncation = Callable[[Array], Array]


class RandomizedState(NamedTuple):
    """The state of randomly truncated BPTT.

    Attributes:
        carry: the cell's carry after the last chunk.
        key: typed keys `[B]`, one a row: each row is cut by itself, wherever it is computed.
    """

    carry: Carry
    key: Array


def geometric(rate: float) -> Truncation:
    """Make the law that cuts at every boundary with the same probability: `c = rate`.

    Args:
        rate: in [0, 1). 0 is full BPTT; near 1 only crossings that are hardly ever made carry what is left of the
            credit, each with the factor `1 / (1 - rate)`. 1, where it would be gone for good, is `truncated_bptt`.

    Returns:
        The law. Segments between cuts have the mean length `1 / rate`.

    Raises:
        InputError: for a rate outside [0, 1).

    Cost:
        The factor of credit over a lag of l segments is `(1 - rate) ** -l`: the variance grows exponentially with the
        lag. `heavy_tailed` has a factor that is a polynomial.

    Example:
        >>> geometric(0.25)(jnp.array([1, 9])).tolist()
        [0.25, 0.25]
    """
    good = is_number(rate) and 0 <= rate < 1
    require(good, "geometric: rate", rate, "a probability in [0, 1); for 1 use truncated_bptt")
    return lambda since: jnp.full(since.shape, rate)


def heavy_tailed(mean_length: float, exponent: float = 6.0) -> Truncation:
    """Make the law under which long runs without a cut are rare but not exponentially so.

    `c = (a - 1) / ((a - 2) m + d)` at d segments since the last cut, so that run lengths have the mean m and
    `P(length > l)` falls like `l ** -(a - 1)`.

    Args:
        mean_length: m, the mean number of segments between cuts, above 1.
        exponent: a, above 2 and finite; the lengths have a finite variance above 3.

    Returns:
        The law.

    Raises:
        InputError: for a mean length or an exponent for which there is no such law.

    References:
        C. Tallec, Y. Ollivier, "Unbiasing Truncated Backpropagation Through Time", arXiv:1705.08209.

    Example:
        >>> heavy_tailed(2.0, exponent=4.0)(jnp.array([1, 2, 11])).tolist()
        [0.6000000238418579, 0.5, 0.20000000298023224]
    """
    good, enough = (is_number(a) and a > least for a, least in ((mean_length, 1), (exponent, 2)))
    require(good, "heavy_tailed: mean_length", mean_length, "above 1 segment; for 1 use truncated_bptt")
    finite = "above 2 and finite, and above 3 for lengths of finite variance"
    require(enough and exponent < math.inf, "heavy_tailed: exponent", exponent, finite)
    return lambda since: (exponent - 1) / ((exponent - 2) * mean_length + since.astype(float))


def uniform_draws(key: Array, edges: int) -> Array:
    """Draw a number in [0, 1) for every boundary between segments and every row.

    Args:
        key: typed keys `[B]`.
        edges: S - 1, boundaries.

    Returns:
        `[S-1, B]`.
    """
    return jax.vmap(lambda row: jax.random.uniform(row, (edges,)), out_axes=1)(key)


def crossing_weights(truncation: Truncation, draws: Array) -> Array:
    """Turn draws into the weights of the carry's cotangent at the boundaries.

    Equals, row by row, the loop::

        since = 1
        for edge in range(S - 1):
            c = truncation(since)
            cut = draws[edge] < c
            weight[edge] = 0 if cut else 1 / (1 - c)
            since = 1 if cut else since + 1

    Args:
        truncation: the probability of a cut, given the segments since the last one.
        draws: `[S-1, B]` in [0, 1).

    Returns:
        `[S-1, B]`, with expectation 1 given what was drawn before.

    Example:
        >>> crossing_weights(geometric(0.5), jnp.array([[0.3], [0.7]])).ravel().tolist()
        [0.0, 2.0]
    """

    def edge(since, draw):
        c = jnp.asarray(truncation(since), draw.dtype)
        cut = draw < c
        # Where there is a cut, c may be 1: keep the quotient that is not used finite.
        weight = jnp.where(cut, jnp.zeros_like(c), 1 / jnp.where(cut, jnp.ones_like(c), 1 - c))
        return jnp.where(cut, jnp.ones_like(since), since + 1), weight

    return jax.lax.scan(edge, jnp.ones(draws.shape[1:], jnp.int32), draws)[1]


def randomized_bptt(
    cell: Cell,
    loss: Loss,
    *,
    segment_length: int,
    truncation: Truncation,
    draw: Callable[[Array, int], Array] = uniform_draws,
) -> GradientEstimator:
    """Make the estimator that truncates at random and makes up for it: its mean is the exact gradient of the chunk.

    At each boundary between segments, and for each row by itself, credit is cut with probability c, and where it is not
    it is multiplied by `1 / (1 - c)`::

        lambda_t = dl_t/dh_t + w_t lambda_{t+1} dh_{t+1}/dh_t
        w_t = 0 if cut, 1 / (1 - c) if crossed; 1 within a segment

    `E[w_t | draws before] = 1`, so `E[grads]` is the gradient of `bptt`, for frozen parameters. Plain truncation, with
    or without random lengths, has no such factor and is biased. It is unbiased for the chunk that it is given: across
    calls the carry goes by value. To be unbiased for a whole sequence, give it the whole sequence.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        segment_length: time steps between two boundaries; need not divide the chunk.
        truncation: the law of the cuts: `geometric(rate)`, `heavy_tailed(mean_length, exponent)`, or any function of
            the segments since the last cut, int `[B]`, to probabilities `[B]` below 1.
        draw: `(key [B], edges) -> [edges, B]` in [0, 1); for whoever wants to choose the outcomes.

    Returns:
        The estimator; its state is the carry and a key for each row. Unbiased within the chunk.

    Raises:
        InputError: if the segment length is not a whole number of at least 1; from `init`, for a key that is no typed
            one of threefry.

    Cost:
        Segments are computed again in the backward pass, so memory and time are those of `checkpointed_bptt` with the
        same segment length, which is exact: under static shapes a cut saves nothing. What it is for: to study unbiased
        truncation against biased, and to cut long products of Jacobians at random.

    References:
        C. Tallec, Y. Ollivier, "Unbiasing Truncated Backpropagation Through Time", arXiv:1705.08209.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients.base import Chunk
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((100, 2, 3)), jnp.zeros((100, 2, 4)), jnp.ones((100, 2)))
        >>> estimator = randomized_bptt(cell, squared_error, segment_length=10, truncation=heavy_tailed(4.0))
        >>> estimate, state = estimator.estimate(params, estimator.init(jax.random.key(1), params, carry, chunk), chunk)
        >>> float(estimate.weight)
        200.0
    """
    whole = "a whole number of time steps, at least 1"
    require(is_whole(segment_length), "randomized_bptt: segment_length", segment_length, whole)
    require(callable(truncation), "randomized_bptt: truncation", truncation, "a law, such as geometric(0.5)")
    run = chunk_loss(cell, loss)
    within = partial(jax.checkpoint, prevent_cse=False)

    def init(key, params, carry, chunk):
        del params
        check_threefry("randomized_bptt: key", key)
        check_chunk(chunk)
        return RandomizedState(carry, jax.random.split(key, chunk.weight.shape[1]))

    def estimate(params, state, chunk):
        check_chunk(chunk)
        steps, rows = chunk.weight.shape
        edges = max(0, -(-steps // segment_length) - 1)
        # As with the keys of a carry: fold_in(key, 0) is the next key of the chain, fold_in(key, 1) is for drawing.
        key, drawing = (jax.vmap(partial(jax.random.fold_in, data=n))(state.key) for n in (0, 1))
        crossed = crossing_weights(truncation, draw(drawing, edges))
        weights = jnp.concatenate([jnp.ones((1, rows), crossed.dtype), crossed])  # nothing hangs on the first start
        through = segmented(run, segment_length, between=lambda carry, s: gate(carry, weights[s]), within=within)
        return reverse_mode(through).estimate(params, state._replace(key=key), chunk)

    return renewing(GradientEstimator(init, estimate))
