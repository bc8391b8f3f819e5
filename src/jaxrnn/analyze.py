"""See what a trained model has learned, and how: `python -m jaxrnn.analyze RUN` writes one page to open."""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxrnn import snapshots
from jaxrnn.analysis.report import make_ready, write
from jaxrnn.command import Parser, check_positive, make_command, path
from jaxrnn.data.reading import Document
from jaxrnn.errors import naming_refusals
from jaxrnn.running.account import account
from jaxrnn.running.devices import prepare_one
from jaxrnn.running.following import MOST, Followed, follow_unit, label_to_follow
from jaxrnn.running.own_labels import load_label
from jaxrnn.running.progress import progress
from jaxrnn.running.run_text import open_other, open_text
from jaxrnn.running.study import HORIZONS, Credit, Subject, Watched, follow_credit, read_long, subject, watch
from jaxrnn.running.trained import Trained, load_trained

EXAMPLES = """\
  jaxrnn analyze runs/stdlib-lstm-1                     writes runs/stdlib-lstm-1/analysis/report.html
  jaxrnn analyze runs/stdlib-lstm-1 --text script.py    over a text of yours (a file, a folder, a .gz)
  jaxrnn analyze runs/stdlib-lstm-1 --length 20000      less text: quicker, and less sure
  jaxrnn analyze runs/stdlib-lstm-1 --label mine.py:inside_markup    which unit tells what you define?
  jaxrnn analyze runs/stdlib-lstm-1 --follow "inside a comment"      how the best unit for it developed, by snapshot
  jaxrnn analyze runs/stdlib-lstm-1 --out report        into another folder
  jaxrnn analyze runs/stdlib-lstm-1 --json              ends with a line of JSON, for programs

With the best parameters of the run, units are chosen on its validation split and scored on its test split; of a text
of yours, on the first half and on the second. Everything is in one HTML file that needs no network; the numbers are
beside it in analysis.json, the pictures as SVG.
"""
LENGTH = 200_000
_HEAVY = {"finding the best units": 4, "finding those of the untrained network": 4, "following credit back": 2}
"""Parts of the work that take longer than the others, in such others."""


def _analyze(asked: Namespace, screen: Console) -> tuple[int, dict[str, Any]]:
    """Read the model and the text, measure, and write the report."""
    check_positive(asked, "length")
    began = time.monotonic()
    prepare_one()
    more = [load_label(spec) for spec in asked.label]
    best = load_trained(asked.run)
    splits, ids = _text(asked.text, best)
    name = list(splits)[-1]
    screen.print(f"{name}, parameters of {best.snapshot}")
    studied = subject(best, splits, ids, asked.length, more)
    label = label_to_follow(asked.follow, studied.chosen_on.labels, studied.scored_on.labels)
    folder = asked.out or best.run.folder / "analysis"
    with naming_refusals(folder, "choose another: --out DIR"):
        make_ready(folder)
    with _gone_if_empty(folder), _stages(screen, asked.length, best) as begin:
        watched = watch(studied, begin)
        followed = follow_unit(best, studied, watched, label, begin)
        credit = follow_credit(studied, begin)
        begin("reading a long text")
        norms = read_long(studied)
        begin("drawing")
        report = account(best, name, asked.text is None, studied, watched, followed, credit, norms)
        with naming_refusals(folder, "choose another: --out DIR"):
            files = write(report, folder)
    seconds = round(time.monotonic() - began, 1)
    _say(screen, studied, watched, followed, credit)
    for note in report.notes:
        screen.print(f"\n{note}")
    screen.print(f"\nreport     {files[0]}, after {seconds:.0f} seconds")
    about = {"run": str(best.run.folder), "snapshot": best.snapshot.name, "text": name, "seconds": seconds}
    return 0, about | {"report": str(files[0]), "files": [str(file) for file in files]}


def _parser() -> Parser:
    """What a user may ask for."""
    usage = "RUN [--text FILE] [--length N] [--label FILE.py:FUNCTION] [--follow LABEL] [--out DIR] [--json]"
    parser = Parser("jaxrnn analyze", usage, "See what a trained model has learned, and how.", EXAMPLES)
    parser.add_argument("run", type=path, metavar="RUN", help="the run's folder")
    parser.add_argument("--text", metavar="FILE", help="another text: a file, a folder, a .gz, or - for standard input")
    about = f"symbols to read of each of the two texts, the one to choose on and the one to score on [{LENGTH}]"
    parser.add_argument("--length", type=int, default=LENGTH, metavar="N", help=about)
    about = "a label of yours: from a text to one bool or number for each character; may be repeated"
    parser.add_argument("--label", metavar="FILE.py:FUNCTION", action="append", default=[], help=about)
    about = "the label whose best unit is followed through the snapshots [inside a string literal]"
    parser.add_argument("--follow", metavar="LABEL", help=about)
    parser.add_argument("--out", type=path, metavar="DIR", help="where the report goes [RUN/analysis]")
    return parser


@contextmanager
def _stages(screen: Console, length: int, best: Trained) -> Iterator[Callable[[str], None]]:
    """Show how far the work is; to be called with the name of each part of it."""
    heavy = {stage: -(-parts * length // LENGTH) for stage, parts in _HEAVY.items()}
    snapshots_read = min(len(snapshots.listed(best.run.snapshots)), MOST) + 1
    total = sum(heavy.values()) + snapshots_read + len(HORIZONS) + 4
    before = now = 0
    with progress(screen, total) as shown:

        def begin(stage: str) -> None:
            nonlocal before, now
            before, now = before + now, heavy.get(stage, 1)
            shown.update(min(before, total - 1), stage)

        yield begin
        shown.update(total, "done")


@contextmanager
def _gone_if_empty(folder: Path) -> Iterator[None]:
    """A folder in which nothing came to be does not stay behind."""
    try:
        yield
    finally:
        with suppress(OSError):  # there is something in it
            folder.rmdir()


def _text(source: str | None, best: Trained) -> tuple[Mapping[str, Sequence[Document]], np.ndarray]:
    """The validation and test splits of the run's text, which must not have changed; or all of another text."""
    if source is None:
        corpus, dataset = open_text(best.config, best.run, command="analyze")
        names = {"valid": f"validation text of {corpus.name}", "test": f"test text of {corpus.name}"}
        return {name: corpus.splits[split] for split, name in names.items()}, dataset.ids["test"]
    name, corpus, dataset = open_other(source, best.vocabulary)
    return {name: corpus.splits["text"]}, dataset.ids["text"]


def _say(screen: Console, studied: Subject, watched: Watched, followed: Followed | None, credit: Credit) -> None:
    """What was found, in a few lines."""
    chosen_on, scored_on = studied.names
    screen.print(
        f"\nunits chosen on {watched.chosen:,} places, readings fitted on {watched.fitted:,}, of the {chosen_on};\n"
        f"scored on {watched.scored:,} of the {scored_on}"
    )
    for finding, before in zip(watched.findings, watched.untrained, strict=True):
        best = finding.units[0]
        words = f"{finding.measure} {best.held_out:.3f}, whole state {finding.probe:.3f}"
        screen.print(
            f"{finding.label:<24} {best.unit}: {words}; untrained {before.units[0].held_out:.3f}, {before.probe:.3f}"
        )
    if followed:
        way = ", ".join(f"{score:.3f} at {at:,}" for at, score in zip(followed.updates, followed.scores, strict=True))
        screen.print(f"\n{followed.unit.unit}, {followed.label}, by update: {followed.measure} {way}")
    screen.print(f"\n{credit.answer}")


main = make_command(_parser, _analyze)

if __name__ == "__main__":
    sys.exit(main())
