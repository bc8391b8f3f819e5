"""How far every rule's gradient is from full BPTT's: its bias, its direction and, where it draws, its scatter.

Compared is the gradient of the recurrent layer, for that of the readout is never truncated and would hide the bias. A
rule that draws is asked several times. With g the exact gradient, m the mean over N draws and s^2 their variance::

    relative_bias = |m - g| / |g|           bias_noise = s / (sqrt(N) |g|), what this has by chance alone
    deviation = s / |g|                     cosine: of a single draw and g, in the mean
"""

from typing import Any

import jax
import numpy as np

from benchmarks.full_vs_truncated.kept import Kept, by_length
from benchmarks.full_vs_truncated.rules import RULES, Case, possible, variants
from benchmarks.full_vs_truncated.setting import Grid, Setting
from benchmarks.full_vs_truncated.text import take, trained
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.types import Params


def measure(setting: Setting, kept: Kept) -> list[dict[str, Any]]:
    """Compare every rule of every grid.

    Args:
        setting: the sizes.
        kept: what is done.

    Returns:
        Rows.
    """
    return by_length("gradient", one_length, setting, kept)


def one_length(grid: Grid, steps: int, setting: Setting) -> list[dict[str, Any]]:
    """One row for each rule and horizon at a length.

    Args:
        grid: model and rules.
        steps: T.
        setting: for its draws.

    Returns:
        Rows.
    """
    cell, params = trained(grid.hidden, setting.updates)
    chunk, carry = take(grid.rows, steps), cell.initial_carry(grid.rows)
    case = Case(cell, softmax_cross_entropy, params, carry, chunk, 0)

    def gradients(name, horizon):
        rule = RULES[name].make(case._replace(horizon=horizon))
        draw = jax.jit(lambda key: rule.estimate(params, rule.init(key, params, carry, chunk), chunk)[0].grads)
        draws = setting.draws if RULES[name].is_random else 1
        return np.stack([recurrent(draw(jax.random.key(n))) for n in range(draws)])

    exact = gradients("bptt", 0)[0]
    return [
        {"rule": name, "hidden": grid.hidden, "rows": grid.rows, "T": steps, "k": horizon}
        | against(exact, gradients(name, horizon))
        for name, horizon in possible(variants(grid.rules, grid.horizons, steps), case)
    ]


def recurrent(grads: Params) -> np.ndarray:
    """The gradient of the recurrent layer as one vector.

    Args:
        grads: of a language model.

    Returns:
        `[P]`, float64.
    """
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads["core"])]).astype(np.float64)


def against(exact: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Hold draws of a gradient against the exact one.

    Args:
        exact: `[P]`.
        draws: `[N, P]`.

    Returns:
        What the module says; no deviation for a single draw.
    """
    size = np.linalg.norm(exact)
    cosines = draws @ exact / (np.linalg.norm(draws, axis=1) * size)
    row = {"relative_bias": np.linalg.norm(draws.mean(axis=0) - exact) / size, "cosine": cosines.mean()}
    if len(draws) > 1:
        deviation = np.sqrt(draws.var(axis=0, ddof=1).sum()) / size
        row |= {"deviation": deviation, "bias_noise": deviation / np.sqrt(len(draws)), "draws": len(draws)}
    return {name: float(value) for name, value in row.items()}
