"""Is the bound of adaptive truncation one? How often is the true bias larger than it, and by how much?

The rule measures the credit of the last loss of a window, and certifies for every horizon a relative bias that the
gradient of the newest piece does not exceed. Here that is held against the true one, from exact gradients over all that
went before, at many places: for every horizon within the window that is a multiple of the piece. As in the rule, the
credit is the mean of the last five windows. A bound that is not finite is no claim, and cannot be wrong.

Two models: the LSTM that reads text, and one that has learnt copy memory over 100 steps, seen through a window in which
the sequence begins, and through one that is too short for it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.full_vs_truncated.kept import Kept
from benchmarks.full_vs_truncated.problems import Problem, filled_up, problem
from benchmarks.full_vs_truncated.setting import Setting
from benchmarks.full_vs_truncated.text import take, trained
from jaxrnn import training
from jaxrnn.cell import Cell
from jaxrnn.gradients import Chunk, bptt, certify, checkpointed_bptt, credit_by_lag
from jaxrnn.gradients.decay import Credit, mean_credit
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.optimizers import optimizer
from jaxrnn.types import Params

AVERAGED = 5  # windows, as `adaptive_bptt` does by default
TARGETS = (0.9, 0.5, 0.1)


def measure(setting: Setting, kept: Kept) -> list[dict[str, Any]]:
    """Hold certificates against the truth.

    Args:
        setting: the sizes.
        kept: what is done.

    Returns:
        Rows.
    """
    return [kept("certificate text", partial(on_text, setting)), *kept("certificate copy", partial(on_copy, setting))]


def on_text(setting: Setting) -> dict[str, Any]:
    """The row of the LSTM that reads text.

    Args:
        setting: the sizes.

    Returns:
        The row.
    """
    sizes = setting.witness
    cell, params = trained(sizes.hidden, setting.updates)
    chunks = [take(sizes.rows, sizes.history, index) for index in range(sizes.places)]
    only_last = (jnp.arange(sizes.history) >= sizes.history - sizes.piece)[:, None]
    chunks = [chunk._replace(weight=chunk.weight * only_last) for chunk in chunks]
    return {"model": "text"} | weigh(cell, params, chunks, sizes.piece, sizes.window)


def on_copy(setting: Setting) -> list[dict[str, Any]]:
    """The rows of the LSTM that copies: through the whole sequence, and through the half of it.

    Args:
        setting: the sizes.

    Returns:
        Rows.
    """
    sizes, course = setting.witness, setting.courses[0]
    longest = max((task for task in course.tasks if task.name == "copy"), key=lambda task: task.size)
    given = filled_up(problem(course, longest), sizes.piece)
    params, loss = _learnt(given, course.rate, sizes.copy_updates)
    row = {"model": f"copy, delay {longest.size}", "loss_over_floor": loss / given.floor}
    chunks = [given.draw(key) for key in jax.random.split(jax.random.key(2), sizes.places)]
    windows = [len(chunks[0].weight) // (share * sizes.piece) * sizes.piece for share in (1, 2)]
    return [row | weigh(given.cell, params, chunks, sizes.piece, window) for window in windows]


def _learnt(given: Problem, rate: float, updates: int) -> tuple[Params, float]:
    """The parameters of the model after learning by full BPTT, and its last loss."""
    key, adam, rule = jax.random.key(0), optimizer("adam", rate, clip_norm=1.0), bptt(given.cell, given.loss)
    chunk = given.draw(key)
    carry = given.cell.initial_carry(chunk.weight.shape[1])
    state = training.init(rule, adam, key, given.cell.init(key), carry, chunk)

    def update(state, key):
        state, metrics = training.update(rule, adam, state, jax.tree.map(lambda a: a[None], given.draw(key)))
        return state, metrics.loss / metrics.weight

    state, losses = jax.jit(lambda state: jax.lax.scan(update, state, jax.random.split(key, updates)))(state)
    return state.params, float(losses[-1])


def weigh(cell: Cell, params: Params, chunks: list[Chunk], piece: int, window: int) -> dict[str, Any]:
    """Compare the certificates at all places with the true biases there.

    Args:
        cell: the model.
        params: its parameters.
        chunks: `[T, B, ...]`, for each place all that went before and the new piece, which alone has weight.
        piece: K.
        window: W, a multiple of K.

    Returns:
        What is said of all pairs of a place and a horizon, and of the horizons chosen for each target.
    """
    look = jax.jit(partial(_look, cell, piece=piece, window=window))
    credits, biases = zip(*(look(params, chunk) for chunk in chunks), strict=True)
    horizons = np.arange(piece, window + 1, piece)
    true = np.stack(biases)[AVERAGED - 1 :]
    bounds = np.stack(
        [
            np.asarray(certify(mean_credit(credits[end - AVERAGED : end])).bounds)[horizons - piece]
            for end in range(AVERAGED, len(chunks) + 1)
        ]
    )
    return {
        "window": window,
        "piece": piece,
        "history": len(chunks[0].weight),
        "horizons": horizons.tolist(),
        "bounds": _rounded(np.where(np.isfinite(bounds), bounds, np.nan)),
        "true": _rounded(true),
        "pairs": compare(bounds, true),
        "targets": [choose(bounds, true, horizons, target) for target in TARGETS],
    }


def _look(cell: Cell, params: Params, chunk: Chunk, *, piece: int, window: int) -> tuple[Credit, Any]:
    """The credit of the chunk's last loss, and the true relative bias of every horizon `[W / K]`."""
    loss, steps = softmax_cross_entropy, len(chunk.weight)
    carry = cell.initial_carry(chunk.weight.shape[1])
    exact_rule = checkpointed_bptt(cell, loss, segment_length=piece)
    exact = exact_rule.estimate(params, exact_rule.init(None, params, carry, chunk), chunk)[0].grads
    rule, starts, biases = bptt(cell, loss), [], []
    carry, _ = cell.unroll(params, carry, _span(chunk.inputs, 0, steps - window))
    for begin in range(steps - window, steps, piece):
        starts.append(carry)
        rest = _span(chunk, begin, steps)
        biases.append(_distance(rule.estimate(params, rule.init(None, params, carry, rest), rest)[0].grads, exact))
        carry, _ = cell.unroll(params, carry, _span(chunk.inputs, begin, begin + piece))
    pieces = jax.tree.map(lambda a: a[steps - window :].reshape(-1, piece, *a.shape[1:]), chunk.inputs)
    last = chunk.targets[-1], chunk.weight[-1]
    credit = credit_by_lag(cell, loss, params, jax.tree.map(lambda *a: jnp.stack(a), *starts), pieces, last)
    return credit, jnp.stack(biases[::-1])  # the shortest horizon first


def _span(tree: Any, begin: int, end: int) -> Any:
    """Some steps of a chunk or of inputs."""
    return jax.tree.map(lambda a: a[begin:end], tree)


def _distance(grads: Params, exact: Params) -> Any:
    """How far a gradient is from the exact one, relative to that; of the recurrent layer."""
    name = "core" if "core" in exact else "cell"
    pairs = zip(jax.tree.leaves(grads[name]), jax.tree.leaves(exact[name]), strict=True)
    missed, whole = zip(*((jnp.sum((a - b) ** 2), jnp.sum(b**2)) for a, b in pairs), strict=True)
    return jnp.sqrt(sum(missed) / sum(whole))


def compare(bounds: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Of all pairs of a bound and a true bias: how often and by how much is the bound wrong?

    Args:
        bounds: any shape; infinite or NaN where nothing is certified.
        true: the same shape.

    Returns:
        Shares, and ratios of the truth to the bound; None where there is nothing to divide by.
    """
    certified = np.isfinite(bounds)
    wrong = certified & (true > bounds)
    with np.errstate(divide="ignore", invalid="ignore"):  # a bound of 0 that is wrong is wrong without end
        ratios = true / bounds
    return {
        "number": int(bounds.size),
        "certified": float(certified.mean()),
        "wrong": float(wrong.sum() / certified.sum()) if certified.any() else None,
        "median_ratio_where_wrong": float(np.median(ratios[wrong])) if wrong.any() else None,
        "largest_ratio": float(ratios[wrong].max()) if wrong.any() else None,
        "median_ratio": float(np.median(ratios[certified])) if certified.any() else None,
    }


def choose(bounds: np.ndarray, true: np.ndarray, horizons: np.ndarray, target: float) -> dict[str, Any]:
    """What the rule would do for a target, at every place.

    Args:
        bounds: `[N, W / K]`.
        true: `[N, W / K]`.
        horizons: `[W / K]`.
        target: the relative bias to stay below.

    Returns:
        The mean horizon; how often it is certified; of those, how often the true bias is above the target; and the
        largest and the median one.
    """
    good = bounds < target  # false where nothing is certified
    which = np.where(good.any(axis=1), good.argmax(axis=1), good.shape[1] - 1)
    at = np.arange(len(bounds)), which
    certified = good.any(axis=1)
    claimed = true[at][certified]
    return {
        "target": target,
        "mean_horizon": float(horizons[which].mean()),
        "certified": float(certified.mean()),
        "missed": float((claimed > target).mean()) if certified.any() else None,
        "median_true": float(np.median(claimed)) if certified.any() else None,
        "largest_true": float(claimed.max()) if certified.any() else None,
    }


def _rounded(values: np.ndarray) -> list[list[float | None]]:
    """With three digits, for files to be short; None where there is no number."""
    return [[float(f"{value:.3g}") if np.isfinite(value) else None for value in row] for row in values]
