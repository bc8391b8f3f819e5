"""How far back does credit reach in an RNN, a GRU and an LSTM of one size?

    python -m benchmarks.gradient_flow            # some minutes; nothing else should run beside it
    python -m benchmarks.gradient_flow --quick    # about a minute, to see that it works

Character models read the source text of Python's standard library and learn from it by full BPTT over short chunks with
Adam, in the same way for all; only the cell differs. Before and after, losses on the validation text are followed back
through the steps before them (`jaxrnn.analysis.flow`), and for each it is noted at which lag the norm of its gradient
with respect to the carry has fallen to 1 % of what it was at lag 1. Where that does not happen within the lags that are
looked at, it is counted as the last of them: the true mean is larger. Mean and spread are over losses and rows.
"""

from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure

from benchmarks import results, stdlib
from jaxrnn import training
from jaxrnn.analysis.flow import lag_at, lag_norms_over_time, summarize
from jaxrnn.cell import Cell
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.compose import language_model
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.optimizers import optimizer
from jaxrnn.types import Array, Params

CELLS: dict[str, Callable[..., Cell]] = {"RNN": elman, "GRU": gru, "LSTM": lstm}
SHARE = 0.01


class Setting(NamedTuple):
    """What is measured.

    Attributes:
        hidden: H; the embedding has half of it.
        rows: B, in training and afterwards.
        steps: K, of a chunk of training.
        updates: how many there are.
        rate: the learning rate of Adam; gradients are clipped to norm 1.
        lags: W, how far back losses are followed.
        losses: N, how many in each row.
        seeds: one training each.
    """

    hidden: int = 128
    rows: int = 32
    steps: int = 64
    updates: int = 1000
    rate: float = 3e-3
    lags: int = 400
    losses: int = 8
    seeds: tuple[int, ...] = (0, 1, 2)


QUICK = Setting(hidden=16, rows=8, steps=32, updates=30, lags=60, losses=2)


def main(
    quick: Annotated[bool, tyro.conf.arg(help="small models and a few updates, to see that it works")] = False,
) -> None:
    """Measure how far back credit reaches, before and after training."""
    result = measure(QUICK if quick else Setting())
    results.save("gradient_flow", result, picture(result), quick=quick)


def measure(setting: Setting) -> dict[str, Any]:
    """Every cell and every seed, at the start and after training, and how much longer than the RNN's they reach."""
    rows = [row for name in CELLS for row in one_cell(name, setting)]
    trained = {(row["cell"], row["seed"]): row["lag"]["mean"] for row in rows if row["updates"]}
    ratios = {
        name: [trained[name, seed] / trained["RNN", seed] for seed in setting.seeds] for name in CELLS if name != "RNN"
    }
    return {"setting": setting._asdict() | {"share": SHARE}, "rows": rows, "ratios_to_rnn": ratios}


def one_cell(name: str, setting: Setting) -> list[dict[str, Any]]:
    """Two rows for each seed: the network as it starts, and as it is after training."""
    ids, vocabulary = stdlib.symbols()
    cell = language_model(CELLS[name](setting.hidden // 2, setting.hidden), vocabulary)
    rule, adam = bptt(cell, softmax_cross_entropy), optimizer("adam", setting.rate, clip_norm=1.0)
    train_step = training.make_train_step(rule, adam)
    look = jax.jit(partial(_look, cell, lags=setting.lags))
    seen = stdlib.take(ids["valid"], setting.rows, setting.lags * setting.losses)
    chunk = partial(stdlib.take, ids["train"], setting.rows, setting.steps)
    rows = []
    for seed in setting.seeds:
        params = cell.init(jax.random.key(seed))
        rows.append({"cell": name, "seed": seed, "updates": 0} | _describe(*look(params, seen)))
        state = training.init(rule, adam, jax.random.key(0), params, cell.initial_carry(setting.rows), chunk())
        for index in range(setting.updates):
            state, _ = train_step(state, training.stack_chunks([chunk(index)]))
        rows.append({"cell": name, "seed": seed, "updates": setting.updates} | _describe(*look(state.params, seen)))
        print(*(f"{key} {rows[-1][key]}" for key in ("cell", "seed", "bits", "lag")), flush=True)
    return rows


def _look(cell: Cell, params: Params, chunk: Chunk, *, lags: int) -> tuple[Array, Array]:
    """The norms by lag `[N, W, B]`, and the mean loss."""
    carry = cell.initial_carry(chunk.weight.shape[1])
    norms = lag_norms_over_time(cell, softmax_cross_entropy, params, carry, chunk, lags=lags)[:, :, 0]
    return norms, jnp.mean(softmax_cross_entropy(cell.unroll(params, carry, chunk.inputs)[1], chunk.targets))


def _describe(norms: Array, loss: Array) -> dict[str, Any]:
    """Bits per character, the lags, and the curve: the mean logarithm, to the base 10 and relative to lag 1."""
    layered = norms[:, :, None]
    lag, most = np.asarray(lag_at(layered, SHARE), float).ravel(), norms.shape[1]
    assert not np.isnan(lag).any(), "every loss gives credit to the step before"
    reached = np.minimum(lag, most)
    decay = summarize(layered - layered[:, :1])
    curve = np.asarray(decay.mean_log[:, 0], float) / np.log(10)
    return {
        "bits": float(loss / np.log(2)),
        "lag": {
            "mean": float(reached.mean()),
            "spread": float(reached.std()),
            "median": float(np.median(reached)),
            "not_reached": float(np.isinf(lag).mean()),
        },
        "curve": [round(value, 4) for value in curve.tolist()],
    }


def picture(result: dict[str, Any]) -> Figure:
    """The norm of the gradient by lag: a thin line for each seed, a thick one for their mean."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rows, deepest = result["rows"], np.log10(SHARE)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, updates in zip(axes, (0, result["setting"]["updates"]), strict=True):
        for color, name in enumerate(CELLS):
            chosen = [row for row in rows if row["cell"] == name and row["updates"] == updates]
            curves = np.array([row["curve"] for row in chosen])
            lags = np.arange(1, curves.shape[1] + 1)
            axis.plot(lags, curves.T, color=f"C{color}", linewidth=0.6, alpha=0.6)
            lag = mean(row["lag"]["mean"] for row in chosen)
            sign = "≥ " if any(row["lag"]["not_reached"] for row in chosen) else ""
            label = f"{name}: 1 % at lag {sign}{lag:.0f} in the mean"
            axis.plot(lags, curves.mean(axis=0), color=f"C{color}", linewidth=2, label=label)
        axis.axhline(deepest, color="0.5", linewidth=1, linestyle="--")
        axis.set(xscale="log", xlabel="lag k, time steps", ylim=(-8, 1))
        axis.set_title("as it starts" if updates == 0 else f"after {updates:,} updates")
        axis.legend(frameon=False, fontsize="small", loc="lower left")
    axes[0].set_ylabel("norm of dL(t) / d carry(t - k), log10,\nover that at lag 1")
    return figure


if __name__ == "__main__":
    tyro.cli(main)
