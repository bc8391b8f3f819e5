"""What does a large vocabulary cost, and what do its blocks and its samples save?

    python -m benchmarks.vocabulary            # some minutes; nothing else must run
    python -m benchmarks.vocabulary --quick    # a few seconds, to see that it works

The whole train step of a language model of one LSTM layer, in three ways: with all logits, with those of a block of
symbols at a time (`model.vocabulary_block`), and with those of a sample (`model.vocabulary_sample`). Timed in turn.
"""

from typing import Annotated, Any

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.timing import interleaved
from jaxrnn import training
from jaxrnn.build import build_estimator, build_model
from jaxrnn.config import Config, Gradient, Machine, Model, Parallel
from jaxrnn.gradients import Chunk
from jaxrnn.optimizers import optimizer
from jaxrnn.running import devices

ROWS, STEPS, HIDDEN, BLOCK, SAMPLE = 20, 35, 256, 4096, 2000
SIZES = (10_000, 30_000, 100_000)
WAYS: dict[str, dict[str, Any]] = {
    "all": {},
    "block": {"vocabulary_block": BLOCK},
    "sample": {"vocabulary_sample": SAMPLE},
}


def main(quick: Annotated[bool, tyro.conf.arg(help="a small vocabulary, to see that it works")] = False) -> None:
    """Time an update for some sizes of the vocabulary, in each way."""
    devices.prepare(Config(machine=Machine(compilation_cache="off"), parallel=Parallel(devices=1)))  # as a run does
    found = [update(size, 2 if quick else 15) for size in ((3000,) if quick else SIZES)]
    sizes = {"rows": ROWS, "steps": STEPS, "hidden_size": HIDDEN, "block": BLOCK, "sample": SAMPLE}
    results.save("vocabulary", sizes | {"found": found}, picture(found), quick=quick)
    for one in found:
        for way in WAYS:
            taken = f"{1e3 * one['seconds'][way]:.0f} ms, {one['temp_bytes'][way] / 2**20:.0f} MiB"
            print(f"{one['vocabulary']:>8,} symbols, {way:>6}: {taken}")


def update(size: int, rounds: int) -> dict[str, Any]:
    """Median seconds of an update and the memory that it makes on the way, by the way in which it is made."""
    compiled = {way: prepare(size, **options) for way, options in WAYS.items()}
    seconds = interleaved({way: run for way, (run, _) in compiled.items()}, rounds)
    return {"vocabulary": size, "seconds": seconds, "temp_bytes": {way: bytes for way, (_, bytes) in compiled.items()}}


def prepare(size: int, **options: Any) -> tuple[Any, int]:
    """An update that goes on from the one before, and the temporary memory of its program."""
    cell = build_model(Model(hidden_size=HIDDEN, embedding_size=HIDDEN, tie=True, **options), size)
    estimator, descent = build_estimator(Gradient(), cell, tells=bool(options)), optimizer("sgd", 1.0, clip_norm=1.0)
    ids = np.minimum(np.random.default_rng(0).zipf(1.3, (STEPS + 1, ROWS)) - 1, size - 1).astype(np.int32)
    weight: Any = np.ones((STEPS, ROWS), np.float32)
    chunk = Chunk(ids[:-1], ids[1:], weight)
    params, carry = cell.init(jax.random.key(0)), cell.initial_carry(ROWS, jax.random.key(1))
    state = training.init(estimator, descent, jax.random.key(2), params, carry, chunk)
    chunks = training.stack_chunks([chunk])
    train_step: Any = training.make_train_step(estimator, descent)
    program = train_step.lower(state, chunks).compile()
    states = [state]

    def run() -> Any:
        states[0], metrics = program(states[0], chunks)
        return metrics

    return run, program.memory_analysis().temp_size_in_bytes


def picture(found: list[dict[str, Any]]) -> Figure:
    """Milliseconds and MiB of an update over the size of the vocabulary, a line for each way."""
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    sizes, labels = [one["vocabulary"] for one in found], {"all": "all logits", "block": f"blocks of {BLOCK:,}"}
    measures = (("ms an update", "seconds", 1e3), ("MiB on the way", "temp_bytes", 2**-20))
    for axis, (label, key, unit) in zip(figure.subplots(1, 2), measures, strict=True):
        for way in WAYS:
            values = [unit * one[key][way] for one in found]
            axis.plot(sizes, values, marker="o", markersize=4, label=labels.get(way, f"a sample of {SAMPLE:,}"))
        axis.set(xlabel="symbols in the vocabulary", ylabel=label, xscale="log", yscale="log")
    figure.axes[0].legend(frameon=False)
    return figure


if __name__ == "__main__":
    tyro.cli(main)
