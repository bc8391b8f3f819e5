"""Finding what a model knows: the best unit and the best linear probe for each label, and whether it is chance.

Whatever is chosen or fitted is chosen and fitted on one text, and scored on another, so that the best of thousands is
not flattered by having been chosen. Two baselines say what choosing alone gives: the same labels moved half a text
onwards, which keeps their runs and breaks their tie to the text; and the same search in a network that has learned
nothing. Both texts are streamed: of the first only sums and some of its places are kept, of the second only what the
chosen units did.
"""

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxrnn.analysis.labels import Labels
from jaxrnn.analysis.probes import Moments, moments, probe
from jaxrnn.analysis.scores import oriented, score
from jaxrnn.analysis.states import RUN_UP, STATES, Block, Quantity, blocks, places, quantities, rows_for
from jaxrnn.analysis.units import Scored, choose_units
from jaxrnn.cell import Cell
from jaxrnn.choices import require
from jaxrnn.errors import InputError
from jaxrnn.types import Params

_MOVED = "moved: "
_EVERY = 20  # of so many neighbouring places, which say much the same, units are chosen on one
_ENOUGH = 20_000  # places; of a text that is too short for so many, on one of fewer neighbours
_MEMORY = 1 << 30  # bytes for what all units do at those places; where it would be more, on fewer
_FIRST = 0.75  # of a text: the linear probes are fitted on this part while their ridge is chosen on the rest


class Labelled(NamedTuple):
    """A text of N symbols, and what holds after each.

    Attributes:
        ids: `[N]` the symbols.
        labels: `[N]` each, bool or float.
    """

    ids: np.ndarray
    labels: Labels


class Choice(NamedTuple):
    """What was chosen and fitted on a text.

    Attributes:
        units: for each label the best units, best first.
        weights: for each label `[D]` a linear probe of all states.
        sample: where units were chosen, and what all of them did there.
        places: how many places the readings were fitted on.
    """

    units: Mapping[str, Sequence[Scored]]
    weights: Mapping[str, np.ndarray]
    sample: Block
    places: int


class Scores(NamedTuple):
    """How a choice does on a text.

    Attributes:
        units: for each label its units with their scores, in their order.
        probes: for each label the score of its linear probe.
        places: how many places that is measured on.
        bits: what a symbol cost, on average.
    """

    units: Mapping[str, Sequence[Scored]]
    probes: Mapping[str, float]
    places: int
    bits: float


class Finding(NamedTuple):
    """What was found for one label. Scores are those on the text on which nothing was chosen.

    Attributes:
        label: its name.
        measure: "AUC" for truth values, "correlation" for floats.
        mean: of the label over that text: for truth values the share of places where it holds.
        units: the best, best first.
        probe: the score of a linear probe of the whole state.
        moved: the score of the best unit for the moved label.
        moved_probe: and of a linear probe.
    """

    label: str
    measure: str
    mean: float
    units: tuple[Scored, ...]
    probe: float
    moved: float
    moved_probe: float


class Found(NamedTuple):
    """What was found in a model.

    Attributes:
        findings: one a label.
        choice: what was chosen.
        scores: how that did on the other text.
    """

    findings: list[Finding]
    choice: Choice
    scores: Scores


def find(cell: Cell, params: Params, chosen_on: Labelled, scored_on: Labelled, *, top: int = 10) -> Found:
    """Find the best units and linear probes for each label on one text, and score them on another.

    Args:
        cell: symbols in and logits out.
        params: its parameters.
        chosen_on: what is chosen and fitted on, such as a validation text.
        scored_on: what is scored on, such as a test text.
        top: how many units to give for each label.

    Returns:
        What was found, for the labels that both texts have and that vary in both.

    Raises:
        InputError: one of the texts is too short, or a label does not fit its text.

    Cost:
        A forward pass over both texts, O(N D^2) for the fit with D floats in the state, and for each unit a sort of
        the places it is chosen on. Memory for these places, at most 1 GiB, and for the chosen units at all places.
    """
    for text in (chosen_on, scored_on):  # before some are left out: one that is too short may seem not to vary
        _check_labels(text)
    names = varying(chosen_on.labels, scored_on.labels)
    here, there = (
        Labelled(text.ids, with_moved({name: text.labels[name] for name in names})) for text in (chosen_on, scored_on)
    )
    choice = choose(cell, params, here, top=top)
    scores = score_choice(cell, params, there, choice)
    findings = [
        Finding(
            label=name,
            measure="AUC" if there.labels[name].dtype == bool else "correlation",
            mean=float(there.labels[name].mean()),
            units=tuple(scores.units[name]),
            probe=scores.probes[name],
            moved=scores.units[_MOVED + name][0].held_out,
            moved_probe=scores.probes[_MOVED + name],
        )
        for name in names
    ]
    return Found(findings, choice, scores)


def choose(
    cell: Cell,
    params: Params,
    text: Labelled,
    *,
    top: int,
    names: Container[str] | None = None,
    most: int | None = None,
) -> Choice:
    """Choose units on one of up to twenty neighbouring places, some 20,000 in all, and fit readings on all of a text.

    Which one is drawn by chance, the same every time: of text in lines of one length, every twentieth may be the same
    place in each line.

    Args:
        cell: symbols in and logits out.
        params: its parameters.
        text: what to choose on.
        top: how many units for each label; of moved labels one.
        names: of the quantities among which units are chosen, the states with them; None for all.
        most: about how many places are read, spread over the text; None for all.

    Returns:
        What was chosen.

    Raises:
        InputError: the text is too short, or a label does not fit it; the cell notes no state; with so few places,
            nothing of the text's last quarter is read, on which the ridge is chosen.
    """
    _check_labels(text)
    noted = quantities(cell, params).values()
    names_noted = [quantity.name for quantity, _ in noted]
    expected = f"one of {', '.join(STATES)}, its states"
    require({*names_noted} & {*STATES}, "choose: what the cell notes", names_noted, expected)
    rows = rows_for(len(text.ids))
    width = sum(width for _, width in noted)
    count = places(len(text.ids), rows)
    every = max(1, min(_EVERY, count // _ENOUGH), -(-4 * width * count // _MEMORY))
    drawn = np.zeros(len(text.ids), bool)
    drawn[RUN_UP + _one_of_each(every, count)] = True
    cut = RUN_UP + _FIRST * count
    centred = {name: _centred(label) for name, label in text.labels.items()}
    sums: list[Moments | None] = [None, None]
    kept: list[Block] = []
    for block in blocks(cell, params, text.ids, rows=rows, names=names, most=most):
        kept.append(_at(block, drawn[block.at]))
        states, later = _whole(block), block.at >= cut
        for part, here in enumerate((~later, later)):
            if here.any():
                found = moments(states[here], {name: label[block.at[here]] for name, label in centred.items()})
                known = sums[part]
                sums[part] = found if known is None else known + found
    first, last = sums
    if first is None or last is None:
        raise InputError(f"choose: most {most}: of the last quarter of the text nothing is read; give more, or None")
    sample = _joined(kept)
    labels = {name: label[sample.at] for name, label in text.labels.items()}
    best = choose_units(sample.values, labels, top=top)
    best = {name: units[: 1 if name.startswith(_MOVED) else top] for name, units in best.items()}
    later = sample.at >= cut
    weights = probe(first, last, _whole(sample)[later], {name: label[later] for name, label in labels.items()})
    return Choice(best, weights, sample, first.places + last.places)


def score_choice(cell: Cell, params: Params, text: Labelled, choice: Choice, *, most: int | None = None) -> Scores:
    """Score what was chosen on a text.

    Args:
        cell: symbols in and logits out.
        params: its parameters.
        text: what to score on.
        choice: units and linear probes.
        most: about how many places are read, spread over the text; None for all.

    Returns:
        The scores: areas under the ROC curve for truth values, correlations for floats.

    Raises:
        InputError: the text is too short, or a label does not fit it.
    """
    _check_labels(text)
    units = list(dict.fromkeys(one.unit for best in choice.units.values() for one in best))
    labels = list(choice.weights)
    width = sum(width for quantity, width in quantities(cell, params).values() if quantity.name in STATES)
    columns = [np.zeros((width, 0)), *(choice.weights[name][:, None] for name in labels)]  # where there is no label
    weights = np.concatenate(columns, axis=1).astype(np.float32)
    names = {*STATES, *(unit.name for unit in units)}
    parts = []
    for block in blocks(cell, params, text.ids, rows=rows_for(len(text.ids)), names=names, most=most):
        columns = [block.values[Quantity(unit.layer, unit.name)][:, unit.number, None] for unit in units]
        series = np.concatenate([*columns, _whole(block) @ weights], axis=1)
        parts.append((block.at, series, block.nats))
    at, series, nats = (np.concatenate(column) for column in zip(*parts, strict=True))
    place = {unit: number for number, unit in enumerate(units)}
    scored, probes = {}, {}
    for number, name in enumerate(labels):
        label, best = text.labels[name][at], choice.units[name]
        columns = [*(place[one.unit] for one in best), len(units) + number]
        *scores, probes[name] = score(series[:, columns], label).tolist()
        turned = [oriented(now, one.sign, truth=label.dtype == bool) for one, now in zip(best, scores, strict=True)]
        scored[name] = [one._replace(held_out=float(now)) for one, now in zip(best, turned, strict=True)]
    return Scores(scored, probes, len(at), float(nats.mean(dtype=float) / np.log(2)))


def varying(one: Labels, other: Labels) -> list[str]:
    """Name the labels of which there is something to tell.

    Args:
        one: `[N]` each, of a text.
        other: `[M]` each, of another.

    Returns:
        Those that both texts have and that vary in both, the run-up left aside.

    Example:
        >>> label = np.arange(RUN_UP + 2) % 2 == 0
        >>> varying({"a": label, "b": label}, {"b": label, "c": label}), varying({"a": label}, {"a": label & False})
        (['b'], [])
    """
    return [name for name in one if name in other and all(_varies(labels[name]) for labels in (one, other))]


def with_moved(labels: Labels) -> dict[str, np.ndarray]:
    """Labels, and each of them moved on by half a text, its end coming round to its start: what chance is taken from.

    Args:
        labels: `[N]` each.

    Returns:
        Twice as many labels.

    Example:
        >>> with_moved({"a": np.array([1.0, 2.0, 3.0, 4.0])})["moved: a"].tolist()
        [3.0, 4.0, 1.0, 2.0]
    """
    return dict(labels) | {_MOVED + name: np.roll(values, len(values) // 2) for name, values in labels.items()}


def _one_of_each(every: int, count: int) -> np.ndarray:
    """One place of each full stretch of so many, drawn by chance, the same every time: `[count // every]`, in order."""
    starts = every * np.arange(count // every)
    return starts + np.random.default_rng(0).integers(every, size=len(starts))


def _centred(label: np.ndarray) -> np.ndarray:
    """A label around 0, where it is a number: on one that is large, the products of a fit would cancel."""
    return label if label.dtype == bool else label - label.mean(dtype=float)


def _whole(seen: Block) -> np.ndarray:
    """The whole state, all layers side by side: `[n, D]`."""
    return np.concatenate([values for quantity, values in seen.values.items() if quantity.name in STATES], axis=1)


def _at(block: Block, here: np.ndarray) -> Block:
    """Some of the places of a block."""
    return Block(block.at[here], {name: values[here] for name, values in block.values.items()}, block.nats[here])


def _joined(kept: Sequence[Block]) -> Block:
    """Blocks as one, in the order of the text."""
    at = np.concatenate([block.at for block in kept])
    order = np.argsort(at)
    values = {name: np.concatenate([block.values[name] for block in kept])[order] for name in kept[0].values}
    return Block(at[order], values, np.concatenate([block.nats for block in kept])[order])


def _check_labels(text: Labelled) -> None:
    """Refuse labels that do not say one thing, and a number if it is one, of each symbol."""
    for name, label in text.labels.items():
        shape = np.shape(label)
        require(shape == np.shape(text.ids), f"label {name!r}: the shape", shape, f"{np.shape(text.ids)}, one a symbol")
        wrong = label[~np.isfinite(label)].astype(float).tolist()
        require(not wrong, f"label {name!r}: a value", wrong and wrong[0], "bool, or a finite number")


def _varies(label: np.ndarray) -> bool:
    """Whether there is something to tell."""
    return bool(np.any(label[RUN_UP:] != label[-1:]))
