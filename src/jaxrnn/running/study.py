"""The study of a trained model on text that it has not seen: its units, how credit flows back, and how it bears up."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.analysis.bias import Bias, answer, truncation_bias
from jaxrnn.analysis.findings import Finding, Labelled, find
from jaxrnn.analysis.flow import Decay, lag_norms_over_time, summarize
from jaxrnn.analysis.gates import Saturation, saturation
from jaxrnn.analysis.held_out import HeldOut, halves, read_held_out
from jaxrnn.analysis.labels import LabelFunction
from jaxrnn.analysis.layers import layers
from jaxrnn.analysis.states import RUN_UP, Quantity, carry_norms, observe, places, rows_for
from jaxrnn.analysis.text_view import TextView, lively_passage, view
from jaxrnn.analysis.units import Unit
from jaxrnn.cell import Cell
from jaxrnn.data.chunks import make_streams, read
from jaxrnn.data.reading import Document
from jaxrnn.errors import InputError
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

_LONG = 200_000  # symbols of a long text, in all rows
_PASSAGE = 3000
_LAGS = 200


class Subject(NamedTuple):
    """What is studied.

    Attributes:
        cell: the model, symbols in and logits out.
        params: as they were trained.
        untrained: as they were before the first update.
        names: of the two texts.
        chosen_on: the text on which units are chosen and linear probes fitted.
        scored_on: the text on which they are scored; of either text the first `RUN_UP` symbols do not count.
        ids: all of the split of the latter.
    """

    cell: Cell
    params: Params
    untrained: Params
    names: tuple[str, str]
    chosen_on: HeldOut
    scored_on: HeldOut
    ids: np.ndarray


class Watched(NamedTuple):
    """What was seen of the units.

    Attributes:
        findings: the best units for each label.
        untrained: the same, before training.
        view: a passage of the text on which nothing was chosen, with what units do there.
        labels: `[P]` each, of the passage.
        shares: the saturation of each gate, where units were chosen.
        chosen: how many symbols units were chosen on.
        missed: labels that vary in both texts, but not where units were chosen: rare ones.
        fitted: how many symbols linear probes were fitted on: the same, and those between them.
        scored: how many symbols both are scored on.
        bits: what each of these cost, on average.
        widths: how many units there are of each quantity.
    """

    findings: list[Finding]
    untrained: list[Finding]
    view: TextView
    labels: dict[str, np.ndarray]
    shares: dict[Quantity, Saturation]
    chosen: int
    missed: list[str]
    fitted: int
    scored: int
    bits: float
    widths: dict[str, int]


class Credit(NamedTuple):
    """How credit flows back.

    Attributes:
        layers: the names of the layers.
        trained: its decay with the lag.
        untrained: the same, before training.
        bias: of truncated gradients; None where it could not be measured.
        answer: what follows from that; or why there is none.
    """

    layers: tuple[str, ...]
    trained: Decay
    untrained: Decay
    bias: Bias | None
    answer: str


def subject(
    best: Trained,
    splits: Mapping[str, Sequence[Document]],
    ids: np.ndarray,
    length: int,
    more: Sequence[LabelFunction] = (),
) -> Subject:
    """Make a study ready.

    Args:
        best: the trained model.
        splits: by their names the files to choose on, and those to score on; or one text, to be parted in two.
        ids: the latter as symbols.
        length: how many symbols of either are read.
        more: what labels the text besides what fits it.

    Returns:
        What to study.

    Raises:
        InputError: a text is too short, or cannot be labelled.
    """
    learner = build_learner(best.config, best.vocabulary)
    untrained = jax.jit(lambda: first_state(best.config, learner).params)()
    read_text = partial(read_held_out, vocabulary=best.vocabulary, more=more)
    if len(splits) == 1:
        ((name, documents),) = splits.items()
        names, sources = (f"first half of the {name}", f"second half of the {name}"), (documents, documents)
        wanted = 2 * length
        texts = halves(read_text(documents, length=wanted))
    else:
        names, sources, wanted = tuple(splits), tuple(splits.values()), length
        texts = tuple(read_text(documents, length=length) for documents in sources)
    for name, text, documents in zip(names, texts, sources, strict=True):
        count, size = len(text.ids), sum(document.stop - document.start for document in documents)
        if not places(count, rows_for(count)):
            there = f"{count} symbols, up to the end of a line, were read of the {name}"
            remedy = (
                f"give a larger --length than {length}, or a longer text" if size > wanted else "give a longer text"
            )
            raise InputError(
                f"analyze: {there}; expected at least {2 * RUN_UP}, the first {RUN_UP} as run-up; {remedy}"
            )
    (chosen_on, scored_on), (first, second) = texts, names
    return Subject(best.cell, best.params, untrained, (first, second), chosen_on, scored_on, ids)


def watch(studied: Subject, begin: Callable[[str], None]) -> Watched:
    """Choose units and score them, in the trained and in the untrained model.

    Args:
        studied: what is studied.
        begin: called with the name of each part.

    Returns:
        What was seen.
    """
    texts = [Labelled(text.ids, text.labels) for text in (studied.chosen_on, studied.scored_on)]
    begin("finding the best units")
    found = find(studied.cell, studied.params, *texts)
    sample = found.choice.sample
    shares = dict(saturation(sample.values))
    chosen = len(sample.nats)
    widths = {f"{quantity.layer}/{quantity.name}": values.shape[1] for quantity, values in sample.values.items()}
    scores, fitted = found.scores, found.choice.places
    there = {finding.label: texts[0].labels[finding.label][sample.at] for finding in found.findings}
    missed = [name for name, label in there.items() if label.min() == label.max()]
    findings = [each for each in found.findings if each.label not in missed and np.isfinite(each.units[0].chosen)]
    shown, labels = _passage(studied, [one.unit for finding in findings for one in finding.units])
    del found, sample  # their memory is wanted again
    begin("finding those of the untrained network")
    known = {finding.label for finding in findings}
    untrained = [each for each in find(studied.cell, studied.untrained, *texts, top=1).findings if each.label in known]
    return Watched(
        findings, untrained, shown, labels, shares, chosen, missed, fitted, scores.places, scores.bits, widths
    )


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

    @jax.jit
    def follow(params, carry, chunk):
        return summarize(lag_norms_over_time(cell, softmax_cross_entropy, params, carry, chunk, lags=min(_LAGS, steps)))

    both = (follow(params, carry, chunk) for params in (studied.params, studied.untrained))
    trained, untrained = (jax.device_get(decay) for decay in both)
    names = tuple(layers(cell, studied.params, carry, jax.tree.map(lambda a: a[0], chunk.inputs)))
    horizons = [horizon for horizon in HORIZONS if horizon <= steps // WINDOWS]
    if not horizons:
        return Credit(names, trained, untrained, None, "The text is too short to measure horizons.")
    cut = jax.tree.map(lambda a: a[: steps // WINDOWS * WINDOWS], chunk)
    try:
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
    except InputError as error:  # the gradient is 0, or not finite: what else was found is worth a report all the same
        return Credit(names, trained, untrained, None, f"Horizons could not be measured: {error}")
    return Credit(names, trained, untrained, bias, answer(bias))


def read_long(studied: Subject) -> np.ndarray:
    """Measure the carry along all of the split, or a long part of it.

    Args:
        studied: what is studied.

    Returns:
        `[looks, B]` its size every `EVERY` steps.
    """
    rows = min(ROWS, len(studied.ids) // EVERY)
    return carry_norms(studied.cell, studied.params, studied.ids[:_LONG], rows=rows, every=EVERY)


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


def _passage(studied: Subject, found: Sequence[Unit]) -> tuple[TextView, dict[str, np.ndarray]]:
    """A lively passage of the text on which nothing was chosen, with its labels."""
    text = studied.scored_on
    newline = np.array([piece.endswith("\n") for piece in text.pieces[: -2 * RUN_UP]])
    lines = np.flatnonzero(newline) + 1 if newline.any() else np.zeros(1, int)
    start = max(lively_passage(text.labels, _PASSAGE, lines), RUN_UP)
    span = slice(start - RUN_UP, start + _PASSAGE)
    states = observe(studied.cell, studied.params, text.ids[span], rows=1)
    stop = start + len(states.nats)
    shown = view(states, text.pieces[start:stop], found, 0, _PASSAGE)
    return shown, {name: values[start:stop] for name, values in text.labels.items()}
