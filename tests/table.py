"""The cells and the gradient estimators, a row each. The laws are tested over these tables.

A new cell or estimator is one more row.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxrnn.cell import Cell
from jaxrnn.cells import (
    coupled_lstm,
    elman,
    elstm,
    gru,
    layer_norm_gru,
    layer_norm_lstm,
    lstm,
    lstm_step,
    mgu,
    min_gru,
    peephole_lstm,
    projection_lstm,
)
from jaxrnn.compose import (
    activation_penalty,
    dropout,
    language_model,
    learned_start,
    locked_dropout,
    stack,
    temporal_penalty,
    weight_drop,
    with_penalties,
    with_readout,
    zoneout,
)
from jaxrnn.gradients import (
    Chunk,
    GradientEstimator,
    accumulate,
    adaptive_bptt,
    bptt,
    checkpointed_bptt,
    geometric,
    randomized_bptt,
    rtrl,
    snap1,
    truncated_bptt,
    uoro,
)
from jaxrnn.losses import softmax_cross_entropy, squared_error
from jaxrnn.stepwise import from_step

VOCABULARY = 7


class Task(NamedTuple):
    """What a cell is fed with and measured by.

    Attributes:
        inputs: `(rng, steps, rows, input_size) -> [K, B, ...]`, rng a NumPy generator.
        targets: `(rng, steps, rows, output_size) -> [K, B, ...]`.
        loss: `(outputs, targets) -> [K, B]`.
    """

    inputs: Callable[[np.random.Generator, int, int, int], np.ndarray]
    targets: Callable[[np.random.Generator, int, int, int], np.ndarray]
    loss: Callable[[Any, Any], jax.Array]


class CellRow(NamedTuple):
    """One cell.

    Attributes:
        build: `(input_size, hidden_size) -> cell`.
        task: its inputs, targets and loss.
        noisy: whether its carry has noise, given a key.
        estimators: the names of the estimators that it is tested with; by default all.
        variant: whether it is the cell of another row but for its activation, or for a bias that it lacks.
    """

    build: Callable[[int, int], Cell]
    task: Task
    noisy: bool = False
    estimators: tuple[str, ...] | None = None
    variant: bool = False


class EstimatorRow(NamedTuple):
    """One gradient estimator.

    Attributes:
        build: `(cell, loss, length) -> estimator`; length is its horizon, segment or part, where it has one.
        exactness: "exact": the gradient of the whole chunk; "truncated": credit stops every `length` steps; "unbiased":
            exact in the mean over its draws, which its own tests show.
        renews: whether noise in the carry is renewed once a chunk, or once every `length` steps.
        cells: the names of the cells for which that holds; by default all.
    """

    build: Callable[[Cell, Callable[[Any, Any], jax.Array], int], GradientEstimator]
    exactness: Literal["exact", "truncated", "unbiased"]
    renews: Literal["chunk", "part"] = "chunk"
    cells: tuple[str, ...] | None = None


def _normal(rng, steps, rows, size):
    return rng.normal(size=(steps, rows, size))


def _symbols(rng, steps, rows, size):
    del size
    return rng.integers(0, VOCABULARY, (steps, rows), dtype=np.int32)


VECTORS = Task(_normal, _normal, squared_error)
SYMBOLS = Task(_symbols, _symbols, softmax_cross_entropy)
PENALIZED_SYMBOLS = SYMBOLS._replace(loss=with_penalties(softmax_cross_entropy))


def _relu_elman(i, h):
    return elman(i, h, activation=jax.nn.relu)


def _hand_stepped(i, h):
    return from_step(lstm(i, h).init, lstm(i, h).initial_carry, lstm_step, input_size=i, output_size=h)


def _deep(i, h):
    return stack(lstm(i, h), dropout(0.4), gru(h, h + 1), elman(h + 1, h), names=("low", "noise", "mid", "top"))


def _symbol_model(i, h):
    return language_model(stack(lstm(i, h), gru(h, h + 1)), VOCABULARY, below=dropout(0.2), above=dropout(0.2))


def _regularized_model(i, h):
    above = stack(temporal_penalty(h, 0.7), locked_dropout(0.4), activation_penalty(1.5))
    core = weight_drop(zoneout(lstm(i, h), 0.2, 0.4), 0.3)
    return language_model(core, VOCABULARY, above=above, word_dropout=0.2)


def _tied_model(i, h):
    del i
    return language_model(lstm(h, h), VOCABULARY, above=dropout(0.2), tie=True)


# An estimator knows a cell by its `unroll` or by its `step`, and sees no equations. So a cell that differs from another
# row in its equations alone is tested with one estimator of each kind; a cell of another make is tested with all.
BOTH_WAYS = ("truncated_bptt", "rtrl")
# Random draws are slow to compile. What matters for noise is that it is drawn again as it was: where a segment starts,
# where one is computed anew, and step by step.
REDRAWING = ("truncated_bptt", "checkpointed_bptt", "rtrl")

CELLS: dict[str, CellRow] = {
    "elman_tanh": CellRow(elman, VECTORS),
    "elman_relu": CellRow(_relu_elman, VECTORS, estimators=BOTH_WAYS, variant=True),
    "elman_one_bias": CellRow(lambda i, h: elman(i, h, b_hh=None), VECTORS, estimators=BOTH_WAYS, variant=True),
    "lstm": CellRow(lstm, VECTORS),
    "lstm_one_bias": CellRow(lambda i, h: lstm(i, h, b_hh=None), VECTORS, estimators=BOTH_WAYS, variant=True),
    "gru_reset_after": CellRow(gru, VECTORS),
    "gru_reset_before": CellRow(lambda i, h: gru(i, h, reset_after=False), VECTORS),
    "gru_reset_before_one_bias": CellRow(
        lambda i, h: gru(i, h, reset_after=False, b_hh=None), VECTORS, estimators=BOTH_WAYS, variant=True
    ),
    "elstm": CellRow(elstm, VECTORS),
    "peephole_lstm": CellRow(peephole_lstm, VECTORS, estimators=BOTH_WAYS),
    "coupled_lstm": CellRow(coupled_lstm, VECTORS, estimators=BOTH_WAYS),
    "projection_lstm": CellRow(lambda i, h: projection_lstm(i, h, h - 1), VECTORS, estimators=BOTH_WAYS),
    "layer_norm_lstm": CellRow(layer_norm_lstm, VECTORS, estimators=BOTH_WAYS),
    "layer_norm_gru": CellRow(layer_norm_gru, VECTORS, estimators=BOTH_WAYS),
    "mgu": CellRow(mgu, VECTORS, estimators=BOTH_WAYS),
    "min_gru": CellRow(min_gru, VECTORS),
    "from_step": CellRow(_hand_stepped, VECTORS),
    "dropout": CellRow(lambda i, h: dropout(0.4), VECTORS, noisy=True),
    "stack": CellRow(lambda i, h: stack(gru(i, h), lstm(h, h + 1)), VECTORS),
    "stack_with_dropout": CellRow(_deep, VECTORS, noisy=True),
    "with_readout": CellRow(lambda i, h: with_readout(lstm(i, h), 2), VECTORS),
    "learned_start": CellRow(lambda i, h: learned_start(lstm(i, h)), VECTORS),
    "language_model": CellRow(_symbol_model, SYMBOLS, noisy=True),
    "language_model_regularized": CellRow(_regularized_model, PENALIZED_SYMBOLS, noisy=True, estimators=REDRAWING),
    "language_model_tied": CellRow(  # its table reaches the carry and, as the readout, does not: rtrl and uoro tell
        _tied_model, SYMBOLS, noisy=True, estimators=(*REDRAWING, "uoro")
    ),
}

# Those with a recurrence of their own. A variant differs so little that some laws need not be shown of it once more.
DISTINCT = [name for name, row in CELLS.items() if not row.variant]

ESTIMATORS: dict[str, EstimatorRow] = {
    "bptt": EstimatorRow(lambda cell, loss, length: bptt(cell, loss), "exact"),
    "checkpointed_bptt": EstimatorRow(
        lambda cell, loss, length: checkpointed_bptt(cell, loss, segment_length=length), "exact"
    ),
    "truncated_bptt": EstimatorRow(lambda cell, loss, length: truncated_bptt(cell, loss, horizon=length), "truncated"),
    "checkpointed_bptt_nested": EstimatorRow(
        lambda cell, loss, length: checkpointed_bptt(cell, loss, segment_length=(2 * length, length - 1)), "exact"
    ),
    "truncated_bptt_replaying": EstimatorRow(  # exact in a first call, that has no past
        lambda cell, loss, length: truncated_bptt(cell, loss, horizon=16 * length), "exact"
    ),
    "adaptive_bptt": EstimatorRow(  # likewise, until its window is full
        lambda cell, loss, length: adaptive_bptt(cell, loss, longest=35 * length), "exact"
    ),
    "randomized_bptt": EstimatorRow(
        lambda cell, loss, length: randomized_bptt(cell, loss, segment_length=length, truncation=geometric(0.4)),
        "unbiased",
    ),
    "accumulate_bptt": EstimatorRow(
        lambda cell, loss, length: accumulate(bptt(cell, loss), length), "truncated", renews="part"
    ),
    "accumulate_checkpointed_bptt": EstimatorRow(
        lambda cell, loss, length: accumulate(checkpointed_bptt(cell, loss, segment_length=2), length),
        "truncated",
        renews="part",
    ),
    "rtrl": EstimatorRow(lambda cell, loss, length: rtrl(cell, loss), "exact"),
    "snap1": EstimatorRow(lambda cell, loss, length: snap1(cell, loss), "exact", cells=("elstm", "min_gru")),
    "uoro": EstimatorRow(lambda cell, loss, length: uoro(cell, loss), "unbiased"),
}


def goes_with(name: str, estimator: str) -> bool:
    """Whether the laws are tested for a cell and an estimator, by their names."""
    cells, estimators = ESTIMATORS[estimator].cells, CELLS[name].estimators
    return (cells is None or name in cells) and (estimators is None or estimator in estimators)


def make_chunk(row: CellRow, cell: Cell, seed: int, steps: int, rows: int, input_size: int) -> Chunk:
    """A random chunk for a cell of the table.

    Args:
        row: the cell's row.
        cell: the cell, built from it.
        seed: of the numbers in the chunk.
        steps: K.
        rows: B.
        input_size: I, as the cell was built with.

    Returns:
        The chunk, NumPy arrays. About a quarter of the weights are 0, the others between 0 and 1.
    """
    rng = np.random.default_rng(seed)
    output_size = input_size if cell.output_size is None else cell.output_size
    weight = rng.random((steps, rows)) * (rng.random((steps, rows)) < 0.75)
    inputs = row.task.inputs(rng, steps, rows, input_size)
    return Chunk(inputs, row.task.targets(rng, steps, rows, output_size), weight)
