"""Is the answer of the horizon page right? A trained model's own gradients, brute force, against what the page says.

    python -m benchmarks.horizon RUN            # a run of one LSTM layer, such as the default; about a minute

The page's horizon and its bias values are computed once more in NumPy, in float64, by nothing but the chain rule
written out for the LSTM: forwards once, and backwards for each horizon with credit cut off where the definition cuts
it. Beside the page's horizons stand those half-way between them, so that the one found by brute force may lie between.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure

from benchmarks import results
from jaxrnn.analysis.bias import Bias, chosen_horizon, truncation_bias
from jaxrnn.cell import Cell
from jaxrnn.gradients import Chunk
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.running.run_text import open_text
from jaxrnn.running.study import HORIZONS, WINDOWS, first_chunk
from jaxrnn.running.trained import load_trained

KEEP = 0.99


class Seen(NamedTuple):
    """What the forward pass leaves: time-major, `[T, B, ...]`, float64."""

    inputs: np.ndarray
    states: np.ndarray  # h before each step
    contents: np.ndarray  # c before each step
    gates: tuple[np.ndarray, ...]  # i, f, g, o
    tanh: np.ndarray  # of c after each step
    slopes: np.ndarray  # of the loss with respect to h, by the readout alone


def forwards(params: Mapping[str, Any], ids: np.ndarray, targets: np.ndarray, weight: np.ndarray) -> Seen:
    """A language model of one LSTM layer from the zero carry, step by step.

    Args:
        params: "embedding", "core" and "readout", in float64.
        ids: `[T, B]`.
        targets: `[T, B]`.
        weight: `[T, B]`.

    Returns:
        What the backward pass needs.
    """
    core, readout = params["core"], params["readout"]
    xs = params["embedding"]["w"][ids]
    rows, size = ids.shape[1], core["w_hh"].shape[0]
    h, c = np.zeros((rows, size)), np.zeros((rows, size))
    kept = []
    for x, target, counts in zip(xs, targets, weight, strict=True):
        i, f, g, o = np.split(x @ core["w_ih"] + core["b_ih"] + h @ core["w_hh"] + core["b_hh"], 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
        g, before = np.tanh(g), (h, c)
        c = f * c + i * g
        h = o * np.tanh(c)
        logits = h @ readout["w"] + readout["b"]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(rows), target] -= 1
        kept.append((*before, i, f, g, o, np.tanh(c), (counts[:, None] * p) @ readout["w"].T))
    h, c, i, f, g, o, tanh, slopes = (np.stack(part) for part in zip(*kept, strict=True))
    return Seen(xs, h, c, (i, f, g, o), tanh, slopes)


def backwards(params: Mapping[str, Any], seen: Seen, cut: np.ndarray) -> np.ndarray:
    """The gradient of the core, `[P]`, with no credit crossing into the step before where `cut` holds.

    Args:
        params: as in `forwards`.
        seen: what it left.
        cut: `[T]` bool.

    Returns:
        `b_hh`, `b_ih`, `w_hh`, `w_ih`, one behind the other.
    """
    w_hh = params["core"]["w_hh"]
    i, f, g, o = seen.gates
    dh, dc, dz = np.zeros_like(i[0]), np.zeros_like(i[0]), np.empty((*i.shape[:2], 4 * i.shape[2]))
    for t in reversed(range(len(i))):
        dh = dh + seen.slopes[t]
        dc = dc + dh * o[t] * (1 - seen.tanh[t] ** 2)
        parts = (
            dc * g[t] * i[t] * (1 - i[t]),
            dc * seen.contents[t] * f[t] * (1 - f[t]),
            dc * i[t] * (1 - g[t] ** 2),
            dh * seen.tanh[t] * o[t] * (1 - o[t]),
        )
        dz[t] = np.concatenate(parts, axis=1)
        dh, dc = (0 * dh, 0 * dc) if cut[t] else (dz[t] @ w_hh.T, dc * f[t])
    flat = dz.reshape(-1, dz.shape[-1])
    products = (values.reshape(len(flat), -1).T @ flat for values in (seen.states, seen.inputs))
    bias = flat.sum(axis=0)
    return np.concatenate([bias, bias, *(product.ravel() for product in products)])


def brute_force(
    params: Mapping[str, Any], chunk: Chunk, horizons: Sequence[int], windows: int
) -> dict[int, tuple[float, float]]:
    """Relative bias and cosine for each horizon, in NumPy.

    Args:
        params: of the model.
        chunk: `[T, B]`.
        horizons: the k.
        windows: N, in which credit is cut as well.

    Returns:
        For each k the two.
    """
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    ids, targets, weight = (np.asarray(part) for part in chunk)
    seen, steps = forwards(params, ids, targets, weight.astype(np.float64)), np.arange(len(ids))
    exact = backwards(params, seen, steps < 0)
    found = {}
    for k in horizons:
        gradient = backwards(params, seen, steps % (len(ids) // windows) % k == 0)
        cosine = gradient @ exact / np.linalg.norm(gradient) / np.linalg.norm(exact)
        found[k] = float(np.linalg.norm(gradient - exact) / np.linalg.norm(exact)), float(cosine)
    return found


def least(cosines: Mapping[int, float], keep: float = KEEP) -> int | None:
    """The shortest horizon from which on all keep the direction.

    Args:
        cosines: for each k.
        keep: the least that will do.

    Returns:
        k; None where not even the longest does.
    """
    good = [k for k in sorted(cosines) if all(cosines[j] >= keep for j in cosines if j >= k)]
    return good[0] if good else None


def page(cell: Cell, params: Any, chunk: Chunk, horizons: Sequence[int], windows: int, dtype: type) -> Bias:
    """What the page says, computed in a precision of choice.

    Args:
        cell: the model.
        params: its parameters.
        chunk: `[T, B]`.
        horizons: the k.
        windows: N.
        dtype: of parameters, carry and loss.

    Returns:
        The bias.
    """
    with jax.enable_x64(dtype is np.float64):
        params = jax.tree.map(lambda a: jnp.asarray(a, dtype), params)
        carry = jax.tree.map(lambda a: a.astype(dtype), cell.initial_carry((chunk.weight.shape[1],)))
        chunk = chunk._replace(weight=jnp.asarray(chunk.weight, dtype))
        select = {"windows": windows, "select": lambda grads: grads["core"]}
        return truncation_bias(cell, softmax_cross_entropy, params, carry, chunk, horizons, **select)


def main(run: tyro.conf.Positional[Path], folder: Path = results.FOLDER) -> None:
    """Measure, print and save.

    Args:
        run: the folder of a run of one LSTM layer.
        folder: where the result goes.
    """
    best = load_trained(run)
    _, dataset = open_text(best.config, best.run)
    chunk = first_chunk(dataset.ids["test"], WINDOWS * HORIZONS[-1])
    fine = sorted({*HORIZONS, *(3 * k // 2 for k in HORIZONS[:-1])})
    truth = brute_force(best.params, chunk, fine, WINDOWS)
    rows = {k: {"brute_force": truth[k][0], "cosine": truth[k][1]} for k in fine}
    said = {}
    for dtype in (np.float32, np.float64):
        found = page(best.cell, best.params, chunk, HORIZONS, WINDOWS, dtype)
        said[dtype.__name__] = chosen_horizon(found, KEEP).horizon
        for row in found.rows:
            rows[row.horizon][dtype.__name__] = row.relative_bias
    off = {name: max(abs(rows[k][name] - truth[k][0]) for k in HORIZONS) for name in said}
    grids = {"on the page's grid": HORIZONS, "with those between": fine}
    known = {name: least({k: truth[k][1] for k in grid}) for name, grid in grids.items()}
    result = {"steps": chunk.weight.shape[0], "rows": rows, "page": said, "brute_force": known, "farthest": off}
    for k, row in rows.items():
        print(k, {name: round(value, 8) for name, value in row.items()})
    print(f"enough: by the page {said}, by brute force {known}; the bias values differ by at most {off}")
    results.save("horizon", result, _picture(rows), folder)


def _picture(rows: Mapping[int, Mapping[str, float]]) -> Figure:
    """The bias by horizon, of the page and by brute force."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(list(rows), [row["brute_force"] for row in rows.values()], label="brute force, NumPy, float64")
    there = {k: row["float32"] for k, row in rows.items() if "float32" in row}
    axes.plot(list(there), list(there.values()), "o", label="the page, float32")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("horizon k")
    axes.set_ylabel("relative bias")
    axes.legend()
    return figure


if __name__ == "__main__":
    tyro.cli(main)
