"""Adaptively truncated backpropagation through time: the horizon is chosen by how fast credit is seen to decay."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell
from jaxrnn.choices import is_number, is_whole, require
from jaxrnn.errors import InputError
from jaxrnn.gradients.base import GradientEstimator, check_chunk
from jaxrnn.gradients.decay import Credit, certify, credit_by_lag
from jaxrnn.gradients.replay import Past, ReplayState, check_form, empty_past, estimate_with_replay
from jaxrnn.gradients.segments import chunk_loss, renewing
from jaxrnn.types import Array, Carry, Loss


class AdaptiveState(NamedTuple):
    """The state of adaptively truncated BPTT.

    Attributes:
        carry: the cell's carry after the last chunk.
        past: the chunks before it.
        credit: the mean over the windows measured, its logarithms at least the lowest float.
        windows: int32 `[]`, how many that were.
        calls: int32 `[]`, chunks seen since the last measurement.
        horizon: int32 `[]`, time steps that credit flows back at present.
        bound: `[]`, the bound on the relative bias at this horizon; the greatest float: not certified.
    """

    carry: Carry
    past: Past
    credit: Credit
    windows: Array
    calls: Array
    horizon: Array
    bound: Array


def adaptive_bptt(
    cell: Cell,
    loss: Loss,
    *,
    longest: int,
    target: float = 0.1,
    every: int = 16,
    windows: int = 5,
) -> GradientEstimator:
    """Make the estimator that truncates no earlier than the measured decay of credit allows.

    Every so often the credit of the newest loss is followed back over the last `longest` steps (`credit_by_lag`), and
    from its decay follows a bound on the relative bias of every horizon (`certify`). Until the next time, credit flows
    back over the shortest multiple of the chunk whose bound is below the target, by replay as in `truncated_bptt`::

        horizon = min(h for h in (K, 2 K, ..., longest) if bound(h - K + 1) < target)       # else the longest

    as each loss of a new chunk has at least h - K + 1 steps of credit. How many chunks are replayed is a number in the
    state: a new horizon compiles nothing.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        longest: the window and the longest horizon, a multiple of the chunk's length and longer than it; at least 3,
            for of two lags no decay can be told (`certify`).
        target: the relative bias to stay below.
        every: chunks between two measurements, the first as soon as the window is full. A chunk whose last step has no
            loss cannot be measured; the next one that can is.
        windows: measurements that are averaged, the newest with a weight of one in so many.

    Returns:
        The estimator. Its state shows `horizon` and `bound`; a bound not below the target, such as the greatest float,
        means: **not certified**. Then the horizon is the longest, as it is until the first measurement, and after one
        that is not finite, which is left out of the mean.

    Raises:
        InputError: for settings out of range; from `init`, if `longest` is no multiple of the chunk's length above it;
            from `estimate`, for a chunk of another length, such as the shorter last part that `accumulate` gives, or of
            other shapes or dtypes.

    Cost:
        Memory as `truncated_bptt` with the longest horizon. Time in proportion to the horizon chosen, and for each
        measurement one pass forward and backward, step by step, over the window.

    References:
        C. Aicher, N. J. Foti, E. B. Fox, "Adaptively Truncating Backpropagation Through Time to Control Gradient Bias",
        UAI 2019, algorithm 1.

    Example:
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.gradients.base import Chunk
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4, w_hh=lambda key, shape, dtype: 0.1 * jnp.eye(4, dtype=dtype))
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((5, 2, 3)), jnp.ones((5, 2, 4)), jnp.ones((5, 2)))
        >>> estimator = adaptive_bptt(cell, squared_error, longest=20, every=1)
        >>> estimate, state = jax.jit(estimator.estimate), estimator.init(jax.random.key(1), params, carry, chunk)
        >>> for _ in range(4):
        ...     print(int(state.horizon), bool(state.bound < 0.1))
        ...     _, state = estimate(params, state, chunk)
        20 False
        20 False
        20 False
        20 False
        >>> int(state.horizon), bool(state.bound < 0.1)
        (10, True)
    """
    require(is_whole(longest, 3), "adaptive_bptt: longest", longest, "a whole number of time steps, at least 3")
    require(is_number(target) and target > 0, "adaptive_bptt: target", target, "above 0")
    require(is_whole(every), "adaptive_bptt: every", every, "a whole number of chunks, at least 1")
    require(is_whole(windows), "adaptive_bptt: windows", windows, "a whole number of measurements, at least 1")
    run = chunk_loss(cell, loss)

    def init(key, params, carry, chunk):
        del key, params
        check_chunk(chunk)
        steps = chunk.weight.shape[0]
        require(steps > 0, "chunk: the number of its steps", steps, "1 or more")
        past_chunks, left = divmod(longest - steps, steps)
        if left or past_chunks < 1:
            near = max(2, longest // steps) * steps
            raise InputError(
                f"adaptive_bptt: longest is {longest}; expected a multiple of the chunk's {steps} steps, two chunks or "
                f"more; the nearest that work are {near} and {near + steps}"
            )
        real = jnp.result_type(float)
        credit = Credit(jnp.full(longest, jnp.finfo(real).min, real), jnp.zeros(longest, real))
        none, horizon = jnp.zeros((), jnp.int32), jnp.asarray(longest, jnp.int32)
        past = empty_past(carry, chunk, past_chunks)
        return AdaptiveState(carry, past, credit, none, none, horizon, jnp.full((), jnp.finfo(real).max, real))

    def measure(params, state, chunk):
        starts, inputs = jax.tree.map(
            lambda old, new: jnp.concatenate([old, new[None]]),
            (state.past.starts, state.past.inputs),
            (state.carry, chunk.inputs),
        )
        last = jax.tree.map(lambda a: a[-1], (chunk.targets, chunk.weight))
        new = credit_by_lag(cell, loss, params, starts, inputs, last)
        credit = _average(state.credit, new, 1 / jnp.minimum(state.windows + 1, windows).astype(state.bound.dtype))
        sound = jnp.all(jnp.isfinite(credit.log_norms) & jnp.isfinite(credit.reach))
        bounds = jnp.where(sound, certify(credit).bounds, jnp.inf)
        horizon, bound = _shortest(bounds, chunk.weight.shape[0], target)
        credit = jax.tree.map(lambda a, b: jnp.where(sound, a, b), credit, state.credit)
        count = state.windows + sound.astype(jnp.int32)
        zero = jnp.zeros_like(state.calls)
        return state._replace(credit=credit, windows=count, calls=zero, horizon=horizon, bound=bound)

    def estimate(params, state, chunk):
        check_form(state.past, chunk)
        steps = chunk.weight.shape[0]
        full = state.past.seen == longest // steps - 1
        due = full & ((state.windows == 0) | (state.calls >= every)) & jnp.any(chunk.weight[-1] != 0)
        state = jax.lax.cond(due, lambda: measure(params, state, chunk), lambda: state)
        replays = state.horizon // steps - 1
        result, replayed = estimate_with_replay(cell, run, params, ReplayState(state.carry, state.past), chunk, replays)
        return result, state._replace(carry=replayed.carry, past=replayed.past, calls=state.calls + 1)

    return renewing(GradientEstimator(init, estimate))


def _average(old: Credit, new: Credit, share: Array) -> Credit:
    """The mean of two credits, the new one with the given share; of the norms themselves, not of their logarithms."""
    log_norms = jnp.logaddexp(old.log_norms + jnp.log1p(-share), new.log_norms + jnp.log(share))
    log_norms = jnp.maximum(log_norms, jnp.finfo(log_norms.dtype).min)  # none is minus infinity: states are finite
    return Credit(log_norms, (1 - share) * old.reach + share * new.reach)


def _shortest(bounds: Array, steps: int, target: float) -> tuple[Array, Array]:
    """The shortest multiple of the chunk whose bound `[W]` is below the target, or the longest, with its bound."""
    horizons = jnp.arange(steps, bounds.shape[0] + 1, steps)
    bounds = bounds[horizons - steps]  # h - K + 1 steps of credit for the first loss of the chunk
    good = bounds < target
    which = jnp.where(jnp.any(good), jnp.argmax(good), horizons.shape[0] - 1)
    return horizons[which].astype(jnp.int32), jnp.minimum(bounds[which], jnp.finfo(bounds.dtype).max)
