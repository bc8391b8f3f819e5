"""Which of nine people is speaking? Recorded vowels of unequal lengths, one answer at the end of each.

    python -m benchmarks.vowels --data FOLDER    # JapaneseVowels_TRAIN.ts and _TEST.ts, or .ts.gz; a minute
    python -m benchmarks.vowels --quick          # on noise, to see that it works

The data are JapaneseVowels of the UCI archive (Kudo, Toyama and Shimbo, 1999), in the format of the UEA archive: 270
utterances to learn from and 370 to be told, of 7 to 29 steps with 12 channels. The test utterances are asked once, of
the parameters that training ends with; nothing is chosen by them.
"""

import gzip
import os
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure

from benchmarks import results
from jaxrnn import training
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.compose import dropout, stack, with_readout
from jaxrnn.data.sequences import pad
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.optimizers import optimizer
from jaxrnn.schedules import schedule
from jaxrnn.types import Marked

CELLS = {"Elman": elman, "GRU": gru, "LSTM": lstm}
HIDDEN, ROWS, EPOCHS, RATE = 64, 30, 60, 0.005
PEOPLE, CHANNELS = 9, 12


class Utterances(NamedTuple):
    """Recordings side by side.

    Attributes:
        xs: `[T, N, 12]`, zeros after the end of each.
        lengths: `[N]`, in steps.
        labels: `[N]`, who speaks.
    """

    xs: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


def main(
    data: Annotated[
        Path | None, tyro.conf.arg(help="a folder with the two files, at any depth; JAXRNN_DATA names it too")
    ] = None,
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(help="a training for each")] = (1, 2, 3),
    quick: Annotated[bool, tyro.conf.arg(help="noise and few epochs, to see that it works")] = False,
) -> None:
    """Learn, ask, and keep what came of it."""
    train, test = (noise(0), noise(1)) if quick else (read(data, part) for part in ("TRAIN", "TEST"))
    train, test = standardized(train, test)
    right = {
        name: [learn(make, train, test, seed, 2 if quick else EPOCHS) for seed in seeds] for name, make in CELLS.items()
    }
    result = {"seeds": list(seeds), "right": right, "mean": {name: mean(shares) for name, shares in right.items()}}
    print(result["mean"])
    results.save("vowels", result, picture(right), quick=quick)


def read(folder: Path | None, part: str) -> Utterances:
    """Read one of the two files.

    Args:
        folder: where they are, at whatever depth; None for what `JAXRNN_DATA` names.
        part: "TRAIN" or "TEST".

    Returns:
        Its utterances.
    """
    place = folder or os.environ.get("JAXRNN_DATA")
    if not place:
        raise SystemExit("no recordings: give --data FOLDER or set JAXRNN_DATA, or try it on noise with --quick")
    found = sorted(Path(place).rglob(f"JapaneseVowels_{part}.ts*"))
    if not found:
        raise SystemExit(f"{place}: has no JapaneseVowels_{part}.ts; give its folder, --data FOLDER")
    with (gzip.open if found[0].suffix == ".gz" else open)(found[0], "rt", encoding="utf-8") as file:
        lines = [line.strip().split(":") for line in file if line.strip() and line[0] not in "#@"]
    series = [np.array([np.fromstring(channel, sep=",") for channel in line[:-1]], np.float32).T for line in lines]
    xs, lengths = pad(series)
    return Utterances(xs, lengths, np.array([int(line[-1]) - 1 for line in lines]))


def noise(seed: int) -> Utterances:
    """Something of the same form that has nothing to learn in it."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(7, 29, 90)
    xs, _ = pad([rng.normal(size=(length, CHANNELS)).astype(np.float32) for length in lengths])
    return Utterances(xs, lengths, rng.integers(PEOPLE, size=90))


def standardized(train: Utterances, test: Utterances) -> tuple[Utterances, Utterances]:
    """Both, each channel by the mean and the deviation that it has in training."""
    there = np.arange(len(train.xs))[:, None] < train.lengths
    middle, spread = train.xs[there].mean(axis=0), train.xs[there].std(axis=0)
    train, test = (one._replace(xs=(one.xs - middle) / spread) for one in (train, test))
    return train, test


def batch(rows: np.ndarray, of: Utterances) -> Chunk:
    """Some of them as a chunk: each begins anew, goes as far as it goes, and is asked at its last step."""
    steps = np.arange(len(of.xs))[:, None]
    begins: Any = np.broadcast_to(steps == 0, (len(steps), len(rows)))
    goes_on: Any = steps < of.lengths[rows]
    is_last = steps == of.lengths[rows] - 1
    inputs = Marked(of.xs[:, rows], reset=begins, keep=goes_on)
    return Chunk(inputs, np.broadcast_to(of.labels[rows], begins.shape), is_last.astype(np.float32))


def learn(make: Any, train: Utterances, test: Utterances, seed: int, epochs: int) -> float:
    """Train a network of two layers, and tell which share of the test utterances it knows."""
    cell = with_readout(stack(make(CHANNELS, HIDDEN), dropout(0.3), make(HIDDEN, HIDDEN), dropout(0.3)), PEOPLE)
    updates = epochs * (len(train.labels) // ROWS)
    rule = bptt(cell, softmax_cross_entropy)
    adam = optimizer("adam", schedule("cosine", RATE, steps=updates), clip_norm=1.0)
    keys = jax.random.split(jax.random.key(seed), 3)
    start = cell.initial_carry(ROWS, keys[0])  # with a key: with dropout
    state = training.init(rule, adam, keys[1], cell.init(keys[2]), start, batch(np.arange(ROWS), train))
    train_step = training.make_train_step(rule, adam)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        batches = rng.permutation(len(train.labels))[: updates // epochs * ROWS].reshape(-1, ROWS)
        state, _ = train_step(state, training.stack_chunks([batch(rows, train) for rows in batches]))
    everyone = np.arange(len(test.labels))
    _, logits = jax.jit(cell.unroll)(state.params, cell.initial_carry(len(everyone)), batch(everyone, test).inputs)
    return float(np.mean(logits.argmax(axis=-1)[test.lengths - 1, everyone] == test.labels))


def picture(right: dict[str, list[float]]) -> Figure:
    """A mark for each training."""
    figure = Figure(figsize=(4.0, 1.8), layout="constrained")
    axes = figure.subplots()
    for row, shares in enumerate(right.values()):
        axes.plot([100 * share for share in shares], [row] * len(shares), "o", color="#5b8dd6")
    axes.set_yticks(range(len(right)), list(right))
    axes.invert_yaxis()
    axes.set(xlabel="right on the test utterances, %")
    axes.grid(axis="x", color="0.9")
    return figure


if __name__ == "__main__":
    tyro.cli(main)
