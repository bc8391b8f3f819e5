"""What does each way of going back through time cost, and how far is its gradient from the exact one?

    python -m benchmarks.full_vs_truncated            # a few minutes
    python -m benchmarks.full_vs_truncated --quick    # under a minute

A character LSTM reads the source text of Python's standard library. It is trained a little first, because the gradients
of a fresh network reach back hardly at all. Then, with its parameters frozen and for several lengths T, every estimator
is asked for the gradient of the same T steps: seconds per token (interleaved medians), temporary memory of the compiled
program, and the relative error and cosine of the gradient of the recurrent layer against full BPTT's.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.timing import interleaved
from jaxrnn.cell import Cell
from jaxrnn.cells import lstm
from jaxrnn.compose import language_model
from jaxrnn.data.chunks import make_streams, read
from jaxrnn.data.corpora import open_corpus
from jaxrnn.data.dataset import prepare
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.gradients import Chunk, GradientEstimator, bptt, checkpointed_bptt, truncated_bptt
from jaxrnn.losses import softmax_cross_entropy


class Setting(NamedTuple):
    """What is measured: model, data and grid."""

    hidden_size: int
    batch_size: int
    updates: int
    lengths: tuple[int, ...]
    horizons: tuple[int, ...]
    rounds: int


FULL = Setting(hidden_size=128, batch_size=16, updates=400, lengths=(256, 1024, 4096), horizons=(8, 32, 128), rounds=7)
QUICK = Setting(hidden_size=32, batch_size=4, updates=30, lengths=(64, 256), horizons=(8, 32), rounds=3)


def main(
    quick: Annotated[bool, tyro.conf.arg(help="a small model and short lengths, to see that it works")] = False,
    print_json: Annotated[bool, tyro.conf.arg(name="json", help="print the result as JSON and write nothing")] = False,
) -> None:
    """Measure every estimator's cost and its gradient's distance from the exact one."""
    setting = QUICK if quick else FULL
    result = measure(setting)
    if print_json:
        print(json.dumps(result))
        return
    print(table(result))
    name = "full_vs_truncated_quick" if quick else "full_vs_truncated"
    print(f"written: {results.save(name, result, picture(result))}")


def measure(setting: Setting) -> dict[str, Any]:
    """Make the model and measure every estimator at every length."""
    ids, vocabulary_size = text()
    cell = language_model(lstm(32, setting.hidden_size), vocabulary_size)
    params = train_a_little(cell, ids, setting)
    rows = []
    for length in setting.lengths:
        chunk = take(ids, setting.batch_size, length)
        rows += compare(estimators(cell, setting.horizons, length), params, cell, chunk, setting.rounds)
    return {"setting": setting._asdict(), "rows": rows}


def estimators(cell: Cell, horizons: tuple[int, ...], length: int) -> dict[str, GradientEstimator]:
    """The estimators under test, by name; the first one is exact and all others are held against it."""
    make = {"bptt": bptt, "checkpointed": partial(checkpointed_bptt, segment_length=math.isqrt(length))}
    make |= {f"truncated, k = {k}": partial(truncated_bptt, horizon=k) for k in horizons if k < length}
    return {name: factory(cell, softmax_cross_entropy) for name, factory in make.items()}


def compare(
    rules: dict[str, GradientEstimator], params: Any, cell: Cell, chunk: Chunk, rounds: int
) -> list[dict[str, Any]]:
    """One row for each estimator: time, memory, and distance from the first one's gradient."""
    steps, rows = chunk.weight.shape
    programs, states = {}, {}
    for name, rule in rules.items():
        states[name] = rule.init(jax.random.key(0), params, cell.initial_carry(rows), chunk)
        programs[name] = jax.jit(rule.estimate).lower(params, states[name], chunk).compile()
    calls: dict[str, Callable[[], Any]] = {
        name: partial(program, params, states[name], chunk) for name, program in programs.items()
    }
    gradients = {name: recurrent_gradient(call()[0].grads) for name, call in calls.items()}
    exact = next(iter(gradients.values()))
    seconds = interleaved(calls, rounds)
    return [
        {
            "estimator": name,
            "T": steps,
            "microseconds_per_token": 1e6 * seconds[name] / (steps * rows),
            "temp_bytes": programs[name].memory_analysis().temp_size_in_bytes,
            "relative_error": float(np.linalg.norm(g - exact) / np.linalg.norm(exact)),
            "cosine": float(g @ exact / (np.linalg.norm(g) * np.linalg.norm(exact))),
        }
        for name, g in gradients.items()
    ]


def recurrent_gradient(grads: Any) -> np.ndarray:
    """The gradient of the recurrent layer as one vector; the readout's is never truncated and would hide the bias."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads["core"])]).astype(np.float64)


def text() -> tuple[np.ndarray, int]:
    """The training text as ids, and the size of its vocabulary."""
    dataset = prepare(open_corpus("stdlib"), TOKENIZERS["character"])
    return dataset.ids["train"], len(dataset.vocabulary.symbols)


def take(ids: np.ndarray, batch_size: int, length: int, index: int = 0) -> Chunk:
    """A chunk of the text."""
    streams = make_streams(ids, batch_size=batch_size, chunk_length=length, drop_tail=True)
    return jax.tree.map(jnp.asarray, read(streams, index))


def train_a_little(cell: Cell, ids: np.ndarray, setting: Setting) -> Any:
    """Some updates of truncated BPTT with Adam, over chunks of 64 steps."""
    params, rule, adam = cell.init(jax.random.key(0)), bptt(cell, softmax_cross_entropy), optax.adam(3e-3)
    state = rule.init(jax.random.key(1), params, cell.initial_carry(32), take(ids, 32, 64))

    @jax.jit
    def update(params, moments, state, chunk):
        estimate, state = rule.estimate(params, state, chunk)
        grads = jax.tree.map(lambda g: g / estimate.weight, estimate.grads)
        updates, moments = adam.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments, state

    moments = adam.init(params)
    for index in range(setting.updates):
        params, moments, state = update(params, moments, state, take(ids, 32, 64, index))
    return params


def table(result: dict[str, Any]) -> str:
    """The rows as lines of text."""
    line = "{:>6} {:<18} {:>12} {:>12} {:>15} {:>8}".format
    lines = [line("T", "estimator", "us / token", "temp MiB", "relative error", "cosine")]
    for row in result["rows"]:
        cost = f"{row['microseconds_per_token']:.2f}", f"{row['temp_bytes'] / 2**20:.1f}"
        lines.append(line(row["T"], row["estimator"], *cost, f"{row['relative_error']:.2e}", f"{row['cosine']:.4f}"))
    return "\n".join(lines)


def picture(result: dict[str, Any]) -> Figure:
    """Memory and time against T, and the error against T, one line an estimator."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    axes = figure.subplots(1, 3)
    columns = (("temp_bytes", "temporary memory, MiB", 2**20), ("microseconds_per_token", "microseconds a token", 1))
    columns += (("relative_error", "relative error of the gradient", 1),)
    for name in dict.fromkeys(row["estimator"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["estimator"] == name]
        for axis, (key, label, unit) in zip(axes, columns, strict=True):
            if key != "relative_error" or rows[-1][key] > 1e-4:
                axis.plot([row["T"] for row in rows], [row[key] / unit for row in rows], marker="o", label=name)
            axis.set(xscale="log", yscale="log", xlabel="T, time steps", title=label)
    axes[0].legend(fontsize="small")
    return figure


if __name__ == "__main__":
    tyro.cli(main)
