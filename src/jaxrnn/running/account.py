"""The account of a study: what its report says of the run, of its units, of credit and of its health."""

import platform
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import jaxrnn
from jaxrnn.analysis import figures
from jaxrnn.analysis.findings import varying
from jaxrnn.analysis.health import Health, health
from jaxrnn.analysis.labels import Labels
from jaxrnn.analysis.pictures import Picture
from jaxrnn.analysis.report import Report
from jaxrnn.data.vocabulary import unknown_id
from jaxrnn.running import runs, summary
from jaxrnn.running.following import Followed
from jaxrnn.running.meter import penalized
from jaxrnn.running.study import EVERY, Credit, Subject, Watched
from jaxrnn.running.trained import Trained
from jaxrnn.running.wording import layers_text, symbol_noun
from jaxrnn.running.writer import make_writer

FEW = 30
"""A label that holds in fewer stretches of a text is scored by too few independent cases to say much."""


def account(
    best: Trained,
    name: str,
    own: bool,
    studied: Subject,
    watched: Watched,
    followed: Followed | None,
    credit: Credit,
    norms: np.ndarray,
) -> Report:
    """Put together what a report says.

    Args:
        best: the trained model.
        name: of the text.
        own: whether it is a split of the run's own text; of one that was given nobody knows if it was trained on.
        studied: what was studied.
        watched: what was seen of the units.
        followed: one of them through the snapshots.
        credit: how credit flows back.
        norms: `[looks, B]` the size of the carry along a long text.

    Returns:
        The report.
    """
    rows = runs.metrics(best.run)
    noun = symbol_noun(best.vocabulary.tokenizer)
    trained = health(rows)
    flow = [figures.gradient_flow({"trained": credit.trained, "untrained": credit.untrained})]
    flow += [figures.horizon_bias(credit.bias)] if credit.bias else []
    pictures = {
        "run": [figures.learning_curve(rows, noun, penalized(best.config))],
        "units": [_through_run(followed)] if followed else [],
        "flow": flow,
        "gates": figures.gate_scatters(watched.shares),
        "health": [
            figures.step_sizes(trained) if trained else None,
            figures.long_text(norms, EVERY, best.config.data.separate_lines),
        ],
    }
    return Report(
        title=best.run.folder.resolve().name,
        lead=_lead(name, noun, own),
        facts=_facts(best, rows, noun, watched),
        sample=_sample(best),
        findings=watched.findings,
        untrained=watched.untrained,
        about_units=_about_units(studied, watched, noun),
        view=watched.view,
        labels=watched.labels,
        about_view=_about_view(watched, noun),
        widths=watched.widths,
        pictures={section: [drawn for drawn in some if drawn] for section, some in pictures.items()},
        bias=credit.bias,
        answer=credit.answer,
        numbers=_numbers(watched, followed, credit, norms, trained),
        notes=_notes(best, rows, studied, watched, noun),
        made_by=f"Made by jaxrnn {jaxrnn.__version__}, JAX {jax.__version__}, Python {platform.python_version()}.",
    )


def _lead(name: str, noun: str, own: bool) -> str:
    """What was looked at, and whether it was new to the model."""
    text = f"What it has learned, seen on the {name}"
    if own:
        return f"{text}: {noun}s that it was not trained on."
    return f"{text}, which was given: whether it was trained on any of it is not known."


def _facts(best: Trained, rows: list[dict[str, Any]], noun: str, watched: Watched) -> list[tuple[str, str]]:
    """What is to be known of the run."""
    config = best.config
    data, model, gradient, optimizer = config.data, config.model, config.gradient, config.optimizer
    tests = [row for row in rows if row["kind"] == "test"]
    facts = [
        ("text", f"{data.corpus}, by {noun}, {len(best.vocabulary.symbols)} kinds"),
        ("model", layers_text(model)),
        ("parameters", f"{summary.parameters(best.params):,}, of {best.snapshot.name}"),
        ("gradient", f"{gradient.rule}, chunks of {data.chunk_length} steps, {data.batch_size} streams"),
        ("optimizer", f"{optimizer.name}, rate {optimizer.rate:g}, {optimizer.schedule}"),
        ("length", best.config.training.length),
    ]
    if tests:
        test = tests[-1]
        best_n_gram = f"best n-gram {test['baselines']['best_ngram']:.3f}"
        bits = test["bits_per_character"]
        score = "not finite" if bits is None else f"{bits:.3f} bits per character"
        facts += [("test", f"{score}; {best_n_gram}")]
        facts += [("training", f"{test['seconds']:,.0f} seconds")]
    return [
        *facts,
        ("here", f"{watched.bits:.3f} bits per {noun} on the {watched.scored:,} {noun}s that units are scored on"),
    ]


def _sample(best: Trained) -> str:
    """What the model wrote at the end of its training; if it did not come to that, what it writes now."""
    kept = best.run.samples / f"{best.snapshot.name}.txt"
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    return "".join(make_writer(best).stream(best.config.sampling, best.config.seed).pieces)


def _about_units(studied: Subject, watched: Watched, noun: str) -> str:
    """How the units were found."""
    number = f"{sum(watched.widths.values()):,} units (every state, gate and candidate)"
    here, there = (
        f"{len(text.files)} files, the beginnings of long ones" if len(text.files) > 1 else "one file"
        for text in (studied.chosen_on, studied.scored_on)
    )
    chosen_on, scored_on = studied.names
    return (
        f"The best of {number} was chosen for each label on {watched.chosen:,} places, spread over {watched.fitted:,} "
        f"{noun}s of the {chosen_on}, {here}. It is scored on {watched.scored:,} {noun}s of the {scored_on}, {there}: "
        "what holds or does not, by the area under the ROC curve (AUC: 0.5 says "
        "nothing, 1 tells perfectly); numbers, by correlation. Whole state: a linear probe of all states, fitted on "
        f"those {watched.fitted:,} {noun}s, with the ridge that does best on the last quarter of them. Untrained: the "
        "same search before the first update. Chance: the same search for the same label moved on by half a text."
    )


def _through_run(followed: Followed) -> Picture:
    """The picture of a unit's way."""
    about = str(followed.unit.unit), followed.label, followed.measure, followed.best
    drawn = figures.unit_through_run(*about, followed.updates, followed.scores, followed.probes)
    read = f" Each snapshot read {followed.fitted:,} symbols to fit on and {followed.scored:,} to be scored on."
    return drawn._replace(caption=drawn.caption + read)


def _about_view(watched: Watched, noun: str) -> str:
    """What the passage is."""
    left_out: dict[str, list[str]] = {}
    for quantity in watched.view.left_out:
        left_out.setdefault(quantity.name, []).append(str(quantity.layer))
    named = ", ".join(f"{name} (layer {', '.join(layers)})" for name, layers in left_out.items())
    rest = f" Of {named}, only ranked units are here." if left_out else ""
    return (
        f"{len(watched.view.pieces):,} {noun}s of the text on which no unit was chosen, file after file, each tinted "
        f"by what the unit holds after reading it, to 1/127 of the unit's own range.{rest}"
    )


def _notes(best: Trained, rows: list[dict[str, Any]], studied: Subject, watched: Watched, noun: str) -> list[str]:
    """What was left out, and why, and what else a reader should know."""
    notes = []
    if not rows:
        notes.append(f"{best.run.metrics} is empty: so there is no curve, no score of the training, no health.")
    left_out = dict.fromkeys((*studied.chosen_on.left_out, *studied.scored_on.left_out))
    if left_out:
        notes.append(f"Not Python for this version of Python, so not read: {', '.join(left_out)}.")
    ids = np.concatenate([studied.chosen_on.ids, studied.scored_on.ids])
    unseen = np.sum(ids == unknown_id(best.vocabulary))
    if unseen:
        notes.append(
            f"Of the {len(ids):,} {noun}s of both texts {unseen:,} were read as one that the model does not know."
        )
    missing = studied.chosen_on.unseen + studied.scored_on.unseen
    if missing:
        notes.append(f"Of both texts {missing:,} {noun}s are left out, for the model does not know them.")
    told = [finding.label for finding in watched.findings]
    notes += _about_labels(studied.chosen_on.labels, studied.scored_on.labels, told, watched.missed)
    regularizer = best.config.regularizer
    if regularizer.zoneout or regularizer.zoneout_content:
        notes.append("Units, gates and probes are read before zoneout, which the model's carry has gone through.")
    if noun not in ("character", "byte"):
        notes.append(f"The model reads {noun}s: a label is that of the last character of each {noun}.")
    return notes


def _about_labels(here: Labels, there: Labels, told: Sequence[str], missed: Sequence[str]) -> list[str]:
    """Why there is nothing of some labels, and which of those that units tell are rare."""
    vary = varying(here, there)
    same = [name for name in there if name not in vary]
    silent = [name for name in vary if name not in (*told, *missed)]
    counts = {name: min(map(_stretches, (here[name], there[name]))) for name in told if there[name].dtype == bool}
    few = [f"{name} ({count})" for name, count in counts.items() if count < FEW]
    rare = f"Labels that hold in fewer than {FEW} stretches of one of the texts, so that their scores say little"
    why = {
        "Labels that do not vary in both texts": same,
        "Labels that do not vary at the places that units are chosen on, so that none was chosen for them": missed,
        "Labels that no unit tells, for none varies with them": silent,
        rare: few,
    }
    return [f"{reason}: {', '.join(names)}." for reason, names in why.items() if names]


def _stretches(label: np.ndarray) -> int:
    """In how many stretches of a text a label holds."""
    return int(np.count_nonzero(np.diff(label.astype(np.int8), prepend=0) == 1))


def _numbers(
    watched: Watched, followed: Followed | None, credit: Credit, norms: np.ndarray, trained: Health | None
) -> dict[str, Any]:
    """More of what was measured, for analysis.json."""
    flow = {
        name: {part: np.asarray(values) for part, values in decay._asdict().items()}
        for name, decay in (("trained", credit.trained), ("untrained", credit.untrained))
    }
    gates = {
        f"{quantity.layer}/{quantity.name}": {"open": share.open, "shut": share.shut}
        for quantity, share in watched.shares.items()
    }
    shares = {"clipped": trained.clipped, "skipped": trained.skipped} if trained else {}
    text = {
        "chosen_on": watched.chosen,
        "fitted_on": watched.fitted,
        "scored_on": watched.scored,
        "bits": watched.bits,
        "units": watched.widths,
    }
    carry = {"every": EVERY, "root_mean_square": norms}
    through = followed and followed._asdict() | {"unit": list(followed.unit.unit), "sign": followed.unit.sign}
    return {
        "text": text,
        "followed": through,
        "layers": credit.layers,
        "flow": flow,
        "gates": gates,
        "training": shares,
        "carry": carry,
    }
