"""The study of a trained model on text that it has not seen: its units, how credit flows back, and how it bears up."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.analysis import units
from jaxrnn.analysis.bias import Bias, answer, truncation_bias
from jaxrnn.analysis.flow import Decay, lag_norms_over_time, summarize
from jaxrnn.analysis.gates import Saturation, saturation
from jaxrnn.analysis.held_out import HeldOut, read_held_out
from jaxrnn.analysis.labels import LabelFunction
from jaxrnn.analysis.layers import layers
from jaxrnn.analysis.probes import Moments, read_moments
from jaxrnn.analysis.states import RUN_UP, Quantity, States, carry_norms, observe, places, quantities
from jaxrnn.analysis.text_view import TextView, lively_passage, view
from jaxrnn.cell import Cell
from jaxrnn.choices import require
from jaxrnn.data.chunks import make_streams, read
from jaxrnn.data.reading import Document
from jaxrnn.gradients import Chunk
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.running.experiment import build_learner, first_state
from jaxrnn.running.trained import Trained
from jaxrnn.types import Params

ROWS = 8
EVERY = 100
"""Steps between two looks at the carry, in a long text."""

HORIZONS = (4, 8, 16, 32, 64, 128, 256)
"""Those whose bias is measured, where the text is long enough for them."""

WINDOWS = 8
"""Pieces of the stretch over which it is measured, each as long as the longest horizon."""

_MEMORY = 1 << 30  # bytes for what all units do
_LEAST, _MOST = 20_000, 100_000  # symbols on which all units are watched, however many or few there are
_ENOUGH = 30_000  # symbols to choose units on: the more are left to score them on
_ROW, _MOST_ROWS = 3000, 32  # symbols in a row of text, at least; rows, at most
_LONG = 400_000  # symbols of a long text, in all rows
_PASSAGE = 3000
_LAGS = 200


class Subject(NamedTuple):
    """What is studied.

    Attributes:
        cell: the model, symbols in and logits out.
        params: as they were trained.
        untrained: as they were before the first update.
        text: what the units are watched on; `RUN_UP` symbols more than count.
        earlier: from other files, what the linear reading is fitted on as well; None where there is no more.
        ids: all of the split.
        rows: how many rows the text is read in.
    """

    cell: Cell
    params: Params
    untrained: Params
    text: HeldOut
    earlier: HeldOut | None
    ids: np.ndarray
    rows: int


class Watched(NamedTuple):
    """What was seen of the units.

    Attributes:
        findings: the best units for each label.
        untrained: the same, before training.
        view: a passage with what units do there.
        labels: `[P]` each, of the passage.
        shares: the saturation of each gate.
        middle: the place at which the text was parted: units are chosen before it, and scored behind it.
        length: how many symbols counted.
        fitted: how many symbols the linear reading was fitted on.
        bits: what a symbol cost, on average.
        widths: how many units there are of each quantity.
    """

    findings: list[units.Finding]
    untrained: list[units.Finding]
    view: TextView
    labels: dict[str, np.ndarray]
    shares: dict[Quantity, Saturation]
    middle: int
    length: int
    fitted: int
    bits: float
    widths: dict[str, int]


class Credit(NamedTuple):
    """How credit flows back.

    Attributes:
        layers: the names of the layers.
        trained: its decay with the lag.
        untrained: the same, before training.
        bias: of truncated gradients; None where the text is too short.
        answer: what follows from that.
    """

    layers: tuple[str, ...]
    trained: Decay
    untrained: Decay
    bias: Bias | None
    answer: str


def subject(
    best: Trained,
    documents: Sequence[Document],
    ids: np.ndarray,
    length: int,
    more: Sequence[LabelFunction] = (),
) -> Subject:
    """Make a study ready.

    Args:
        best: the trained model.
        documents: the files of the text.
        ids: the text as symbols.
        length: how many symbols are read. All units are watched on no more than memory allows; the rest, from other
            files, serves the linear reading, which wants more text than they do.
        more: what labels the text besides what fits it.

    Returns:
        What to study.

    Raises:
        InputError: the text is too short, or cannot be labelled.
    """
    learner = build_learner(best.config, len(best.vocabulary.symbols))
    untrained = jax.jit(lambda: first_state(best.config, learner).params)()
    width = sum(width for _, width in quantities(best.cell, best.params).values())
    watched = min(length, _MOST, max(_LEAST, _MEMORY // (4 * width)))
    text = read_held_out(documents, best.vocabulary, watched + RUN_UP, more=more)
    rows = rows_for(len(text.ids))
    long_enough = places(len(text.ids), rows) > 0
    require(
        long_enough, "analyze: the text's length", len(text.ids), f"at least {2 * RUN_UP} symbols; give a longer text"
    )
    others = [document for document in documents if document not in text.documents]
    earlier = None
    if length > watched and others:
        earlier = read_held_out(others, best.vocabulary, length - watched, more=more)
    if earlier and not (
        places(len(earlier.ids), rows_for(len(earlier.ids))) and set(earlier.labels) == set(text.labels)
    ):
        earlier = None  # too short, or of another kind
    return Subject(best.cell, best.params, untrained, text, earlier, ids, rows)


def rows_for(length: int) -> int:
    """Choose in how many rows a text is read: many are quick, but each reads a run-up that does not count.

    Args:
        length: of the text.

    Returns:
        B.
    """
    return int(np.clip(length // _ROW, 1, _MOST_ROWS))


def watch(studied: Subject, begin: Callable[[str], None]) -> Watched:
    """Watch every unit over the text, trained and untrained, and rank all against the labels.

    Args:
        studied: what is studied.
        begin: called with the name of each part.

    Returns:
        What was seen.
    """
    text = studied.text
    begin("watching every unit")
    states = observe(studied.cell, studied.params, text.ids, rows=studied.rows)
    count = len(states.nats)
    labels = {name: values[RUN_UP : RUN_UP + count] for name, values in text.labels.items()}
    middle = _middle(text.starts - RUN_UP, count)
    begin("reading more text for the linear reading")
    earlier = _earlier(studied, studied.params)
    begin("ranking them")
    findings = units.find_units(states, labels, middle, earlier=earlier)
    shares = dict(saturation(states))
    pieces = text.pieces[RUN_UP : RUN_UP + count]
    found = [one.unit for finding in findings for one in finding.units]
    shown = _passage(states, pieces, found, labels, middle)
    bits = float(states.nats.mean(dtype=float) / np.log(2))
    widths = {f"{quantity.layer}/{quantity.name}": values.shape[1] for quantity, values in states.values.items()}
    del states  # its memory is wanted again
    begin("watching the untrained network")
    before = observe(studied.cell, studied.untrained, text.ids, rows=studied.rows)
    earlier = _earlier(studied, studied.untrained)
    begin("ranking its units")
    untrained = units.find_units(before, labels, middle, earlier=earlier)
    span = slice(shown.start, shown.start + len(shown.pieces))
    seen = {name: values[span] for name, values in labels.items()}
    fitted = middle + (earlier.places if earlier else 0)
    return Watched(findings, untrained, shown, seen, shares, middle, count, fitted, bits, widths)


def follow_credit(studied: Subject, begin: Callable[[str], None]) -> Credit:
    """Follow credit back through the trained and the untrained model, and measure what truncation costs the former.

    Args:
        studied: what is studied.
        begin: called with the name of each part.

    Returns:
        How credit flows.
    """
    begin("following credit back")
    cell, chunk = studied.cell, first_chunk(studied.ids, WINDOWS * HORIZONS[-1])
    steps, rows = chunk.weight.shape
    carry = cell.initial_carry((rows,))
    follow = jax.jit(partial(lag_norms_over_time, cell, softmax_cross_entropy, lags=min(_LAGS, steps)))
    both = (follow(params, carry, chunk) for params in (studied.params, studied.untrained))
    trained, untrained = (jax.device_get(summarize(norms)) for norms in both)
    names = tuple(layers(cell, studied.params, carry, jax.tree.map(lambda a: a[0], chunk.inputs)))
    horizons = [horizon for horizon in HORIZONS if horizon <= steps // WINDOWS]
    if not horizons:
        return Credit(names, trained, untrained, None, "The text is too short to measure horizons.")
    cut = jax.tree.map(lambda a: a[: steps // WINDOWS * WINDOWS], chunk)
    bias = truncation_bias(
        cell,
        softmax_cross_entropy,
        studied.params,
        carry,
        cut,
        horizons,
        windows=WINDOWS,
        select=lambda grads: grads["core"],
        progress=lambda done, total: begin(f"measuring horizons, {done} of {total}"),
    )
    return Credit(names, trained, untrained, bias, answer(bias))


def read_long(studied: Subject) -> np.ndarray:
    """Measure the carry along all of the split, or a long part of it.

    Args:
        studied: what is studied.

    Returns:
        `[looks, B]` its size every `EVERY` steps.
    """
    rows = max(1, min(ROWS, len(studied.ids) // EVERY))
    every = min(EVERY, len(studied.ids) // rows)
    return carry_norms(studied.cell, studied.params, studied.ids[:_LONG], rows=rows, every=every)


def first_chunk(ids: np.ndarray, steps: int) -> Chunk:
    """Take the first steps of a text in rows side by side.

    Args:
        ids: the text.
        steps: K, if the text has as many; B is what it has room for, at most `ROWS`.

    Returns:
        `[K, B]`, full.
    """
    rows = int(np.clip((len(ids) - 1) // steps, 1, ROWS))
    steps = min(steps, (len(ids) - 1) // rows)
    chunk = read(make_streams(ids[: rows * steps + 1], rows, steps, drop_tail=True), 0)
    return chunk._replace(weight=jnp.asarray(chunk.weight, float))


def _earlier(studied: Subject, params: Params) -> Moments | None:
    """What the text of other files gives for the linear reading."""
    text = studied.earlier
    if text is None:
        return None
    labels = units.with_moved(text.labels)
    return read_moments(studied.cell, params, text.ids, labels, rows=rows_for(len(text.ids)))


def _passage(states: States, pieces: Sequence[str], found: Any, labels: dict[str, np.ndarray], middle: int) -> TextView:
    """A lively passage of the part on which no unit was chosen."""
    newline = np.array([piece.endswith("\n") for piece in pieces[middle - 1 : -1]])
    lines = np.flatnonzero(newline) if newline.any() else np.zeros(1, int)
    later = {name: values[middle:] for name, values in labels.items()}
    start = middle + lively_passage(later, min(_PASSAGE, len(pieces) - middle), lines)
    return view(states, pieces, found, start, _PASSAGE)


def _middle(starts: np.ndarray, count: int) -> int:
    """Where the text is parted: at the start of a file, if one is near the middle, or near what choosing takes."""
    aim = min(count // 2, _ENOUGH)
    good = starts[(starts > 2 * aim / 3) & (starts < 4 * aim / 3)]
    return int(good[np.argmin(np.abs(good - aim))]) if len(good) else aim
