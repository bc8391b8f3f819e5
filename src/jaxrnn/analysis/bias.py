"""Which horizon is enough? The true bias of truncated gradients on a model's own data, and what each horizon costs.

The exact gradient of the whole stretch comes from `checkpointed_bptt`, so that truncation is held against the truth and
not against a bound. With E the exact gradient, g_n the truncated one of window n of N, and g their sum::

    relative_bias = |g - E| / |E|           cosine = <g, E> / (|g| |E|)
    deviation = sqrt(sum_n |g_n - g / N|^2 / (N - 1)) / |E / N|       what a window's gradient is off its mean by
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn.analysis.numerals import plain
from jaxrnn.cell import Cell
from jaxrnn.choices import is_number, is_whole, require
from jaxrnn.gradients.base import Chunk, GradientEstimator, check_chunk
from jaxrnn.gradients.checkpointed import checkpointed_bptt
from jaxrnn.gradients.decay import certify, credit_by_lag, mean_credit
from jaxrnn.gradients.truncated import truncated_bptt
from jaxrnn.trees import is_key
from jaxrnn.types import Carry, Loss, Params


class Horizon(NamedTuple):
    """What is known of one horizon.

    Attributes:
        horizon: k.
        relative_bias: how far the gradient is from the exact one, relative to that.
        cosine: of the angle between the two; 0 where the truncated one is 0.
        deviation: how far one window's gradient is from their mean, relative to the exact one; NaN for a single window
            and for the exact gradient.
        bound: what the decay of credit certifies for the relative bias (`jaxrnn.gradients.certify`), in the mean over
            the losses of a window, which have 1 to k steps of credit; infinite where nothing. It is on the credit of
            the carry: for the parameters it holds as far as these act on the carry alike at all lags.
        temp_bytes: temporary memory of the compiled gradient; None where the compiler does not say.
        seconds_per_step: of time, for all rows.
    """

    horizon: int
    relative_bias: float
    cosine: float
    deviation: float
    bound: float
    temp_bytes: int | None
    seconds_per_step: float


class Bias(NamedTuple):
    """Truncated gradients, held against the exact one.

    Attributes:
        rows: for each horizon, the shortest first.
        exact: the same of the exact gradient, whose horizon is T.
        steps: T.
        windows: N.
    """

    rows: tuple[Horizon, ...]
    exact: Horizon
    steps: int
    windows: int


def truncation_bias(
    cell: Cell,
    loss: Loss,
    params: Params,
    carry: Carry,
    chunk: Chunk,
    horizons: Sequence[int],
    *,
    windows: int = 8,
    select: Callable[[Params], Any] = lambda grads: grads,
    segment_length: int | Sequence[int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bias:
    """Hold truncated gradients of a stretch of data against its exact one.

    The stretch is gone through window by window, each with a gradient of its own, cut every k steps::

        for n in range(N):
            g[n], carry = truncated_bptt(cell, loss, horizon=k).estimate(params, carry, window[n])

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        params: its parameters, fresh or trained; they stay what they are.
        carry: the carry to start from, without noise: other masks in every window would pass for bias.
        chunk: `[T, B, ...]`; NumPy arrays or memory maps will do, for no more than is needed is read at a time.
        horizons: the k to try, each at most `T / N`.
        windows: N; must divide T.
        select: what of the gradient is compared, such as `lambda grads: grads["core"]`: the readout of a language model
            is never truncated, and would hide the bias of what lies below it.
        segment_length: of the exact gradient, see `checkpointed_bptt`; by default the square root of T.
        progress: called with how many parts of the work are done, and of how many.

    Returns:
        The bias, and what each horizon costs.

    Raises:
        InputError: for windows that do not divide T, horizons beyond a window, a carry with random keys, or an exact
            gradient that is 0 or not finite.

    Cost:
        The exact gradient twice, and for each horizon a truncated one of the stretch, each with a window more that is
        not timed; a compilation each. Memory for sqrt(T)
        carries and the intermediates of sqrt(T) steps, or of the longest horizon; for the chunk, and for three
        gradients in float64.

    Example:
        >>> from jaxrnn.cells import elman
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4)
        >>> chunk = Chunk(np.ones((64, 2, 3)), np.zeros((64, 2, 4)), np.ones((64, 2)))
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> found = truncation_bias(cell, squared_error, params, carry, chunk, [2, 16], windows=4)
        >>> [row.horizon for row in found.rows], found.rows[0].relative_bias > found.rows[1].relative_bias > 0
        ([2, 16], True)
    """
    check_chunk(chunk)
    noisy = any(map(is_key, jax.tree.leaves(carry)))
    require(not noisy, "truncation_bias: carry", "one with random keys", "initial_carry without a key")
    steps = chunk.weight.shape[0]
    _check_windows(steps, windows, horizons)
    horizons, total = sorted(set(horizons)), len(set(horizons)) + 2
    if segment_length is None:
        segment_length = math.isqrt(steps)
    rule = checkpointed_bptt(cell, loss, segment_length=segment_length)
    whole = _gradients(rule, params, carry, [chunk], select)
    exact = whole.total
    size = float(np.linalg.norm(exact))
    usable = "above 0 and finite: is there a loss, and has select left anything?"
    require(0 < size < np.inf, "truncation_bias: the norm of the exact gradient", size, usable)
    progress(1, total)

    length = steps // windows
    parts = [jax.tree.map(lambda a, n=n: a[n * length : (n + 1) * length], chunk) for n in range(windows)]
    bounds = _bounds(cell, loss, params, carry, parts, horizons[-1])
    progress(2, total)
    rows = []
    for done, k in enumerate(horizons, 3):
        cut = _gradients(truncated_bptt(cell, loss, horizon=k), params, carry, parts, select, around=exact / windows)
        bound = float(np.mean(bounds[np.arange(length) % k]))
        rows.append(Horizon(k, *_against(exact, cut, windows), bound, cut.temp_bytes, cut.seconds))
        progress(done, total)
    return Bias(tuple(rows), Horizon(steps, 0.0, 1.0, math.nan, 0.0, whole.temp_bytes, whole.seconds), steps, windows)


def answer(bias: Bias, *, keep: float = 0.99) -> str:
    """Say in plain words which horizon is enough, and what more would cost.

    Args:
        bias: what was found.
        keep: how much of the gradient's direction is wanted: the cosine, in (0, 1).

    Returns:
        Two or three sentences, one a line. Enough is a horizon from which on all of the grid keep the direction.

    Raises:
        InputError: for a `keep` out of range.

    Example:
        >>> rows = [Horizon(k, 1 / k, 1 - 1 / k**2, 1.0, 1.0, 1000 * k, 1e-5) for k in (4, 16, 64)]
        >>> print(answer(Bias(tuple(rows), Horizon(256, 0.0, 1.0, 1.0, 0.0, 48_000, 1.4e-5), 256, 4)))
        k = 16 keeps 99 % of the gradient's direction: its cosine with the exact one is 0.9961, its bias 6.2 %.
        Above it you pay, at k = 64, 4.0 times the memory and about the same time a step for a cosine of 0.9998.
        Beside k = 16, the exact gradient over 256 steps takes 3.0 times the memory and 1.4 times the time a step.
    """
    require(is_number(keep) and 0 < keep < 1, "answer: keep", keep, "a cosine above 0 and below 1")
    kept = f"{100 * keep:.6g} % of the gradient's direction"
    keeping, chosen = _keeping(bias, keep), chosen_horizon(bias, keep)
    quality = f"its cosine with the exact one is {chosen.cosine:.4f}, its bias {plain(100 * chosen.relative_bias)} %"
    lines = [f"k = {chosen.horizon} keeps {kept}: {quality}."]
    if not keeping:
        lines = [f"No k up to {bias.rows[-1].horizon} keeps {kept}. The best is k = {chosen.horizon}: {quality}."]
    if len(keeping) > 1:
        above = keeping[1]
        price = _price(above, chosen)
        lines += [f"Above it you pay, at k = {above.horizon}, {price} for a cosine of {above.cosine:.4f}."]
    price = _price(bias.exact, chosen)
    lines += [f"Beside k = {chosen.horizon}, the exact gradient over {bias.steps:,} steps takes {price}."]
    return "\n".join(lines)


def chosen_horizon(bias: Bias, keep: float = 0.99) -> Horizon:
    """Choose the shortest horizon from which on all of the grid keep the gradient's direction.

    Args:
        bias: what was found.
        keep: the least cosine that will do.

    Returns:
        The horizon; where none will do, the one with the best cosine.

    Example:
        >>> rows = tuple(Horizon(k, 1 / k, 1 - 1 / k**2, 1.0, 1.0, 1000 * k, 1e-5) for k in (4, 16, 64))
        >>> bias = Bias(rows, Horizon(256, 0.0, 1.0, 1.0, 0.0, 48_000, 1.4e-5), 256, 4)
        >>> chosen_horizon(bias).horizon, chosen_horizon(bias, keep=0.9).horizon
        (16, 4)
    """
    keeping = _keeping(bias, keep)
    return keeping[0] if keeping else max(bias.rows, key=lambda row: row.cosine)


def _keeping(bias: Bias, keep: float) -> tuple[Horizon, ...]:
    """The longest horizons, all of which keep the direction."""
    worse = [number for number, row in enumerate(bias.rows) if not row.cosine >= keep]  # NaN keeps nothing
    return bias.rows[worse[-1] + 1 if worse else 0 :]


class _Gradients(NamedTuple):
    """The gradient of several windows, `[P]`, the sum of squares of what each is off `around`, and the cost."""

    total: np.ndarray
    squares: float
    temp_bytes: int | None
    seconds: float


def _gradients(rule: GradientEstimator, params, carry, parts: list[Chunk], select, around: Any = 0.0) -> _Gradients:
    """Take the gradients of windows that follow one another, and the time of a step in the median over windows.

    One call before them is not timed: the exact gradient has a single window, which must not be the first call.
    """
    state = rule.init(None, params, carry, parts[0])
    program = jax.jit(rule.estimate).lower(params, state, parts[0]).compile()
    analysis = program.memory_analysis()
    jax.block_until_ready(program(params, state, jax.device_put(parts[0])))
    total, squares, seconds = 0.0, 0.0, []
    for part in parts:
        part = jax.device_put(part)
        began = time.perf_counter()
        estimate, state = jax.block_until_ready(program(params, state, part))
        seconds.append((time.perf_counter() - began) / part.weight.shape[0])
        flat = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(select(estimate.grads))]
        gradient = np.concatenate([np.zeros(0), *flat])
        total, squares = total + gradient, squares + float(np.sum((gradient - around) ** 2))
    return _Gradients(np.asarray(total), squares, analysis and analysis.temp_size_in_bytes, float(np.median(seconds)))


def _against(exact: np.ndarray, cut: _Gradients, windows: int) -> tuple[float, float, float]:
    """Relative bias, cosine and deviation.

    Squares are summed around the exact mean, for around 0 they would cancel: what this shifts is taken off here.
    """
    size, difference = np.linalg.norm(exact), cut.total - exact
    spread = math.nan
    if windows > 1:
        squares = max(0.0, cut.squares - np.sum(difference**2) / windows)
        spread = float(np.sqrt(squares / (windows - 1)) / (size / windows))
    length = np.linalg.norm(cut.total)
    cosine = float(cut.total @ exact / (length * size)) if length else 0.0
    return float(np.linalg.norm(difference) / size), cosine, spread


def _bounds(cell: Cell, loss, params: Params, carry: Carry, parts: list[Chunk], longest: int) -> np.ndarray:
    """The certificate `[W]` for the mean credit of the last losses of all windows, each followed W = longest steps."""

    def forward(carry, xs):  # keeps nothing, as `unroll` would its outputs
        return jax.lax.scan(lambda carry, x: (cell.step(params, carry, x)[0], None), carry, xs)[0]

    @jax.jit
    def look(carry, part):
        before = jax.tree.map(lambda a: a[:-longest], part.inputs)
        there = jax.tree.map(lambda a: a[-longest:], part.inputs)
        start = forward(carry, before)
        last = jax.tree.map(lambda a: a[-1], (part.targets, part.weight))
        starts, inputs = jax.tree.map(lambda a: a[None], (start, there))
        return credit_by_lag(cell, loss, params, starts, inputs, last), forward(start, there)

    @jax.jit
    def certificate(credits):
        return certify(mean_credit(credits)).bounds

    credits = []
    for part in parts:
        credit, carry = look(carry, part)
        if np.any(part.weight[-1] != 0):
            credits.append(credit)
    return np.asarray(certificate(credits)) if credits else np.full(longest, np.inf)


def _check_windows(steps: int, windows: int, horizons: Sequence[int]) -> None:
    """Refuse windows that do not divide the stretch, and horizons that do not fit into one."""
    divides = is_whole(windows) and steps > 0 and steps % windows == 0
    require(divides, "truncation_bias: windows", windows, f"a whole number that divides the {steps} steps of the chunk")
    good = len(horizons) > 0 and all(is_whole(k) and k <= steps // windows for k in horizons)
    expected = f"one or more whole numbers from 1 to {steps // windows}, the length of a window"
    require(good, "truncation_bias: horizons", list(horizons), expected)


def _price(more: Horizon, than: Horizon) -> str:
    """What one horizon costs in terms of another; times that differ by less than a third may do so by chance."""
    ratio = more.seconds_per_step / than.seconds_per_step
    seconds = "about the same time a step" if 3 / 4 < ratio < 4 / 3 else f"{ratio:.1f} times the time a step"
    if not (more.temp_bytes and than.temp_bytes):
        return seconds
    return f"{more.temp_bytes / than.temp_bytes:.1f} times the memory and {seconds}"
