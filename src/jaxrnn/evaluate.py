"""Score a trained model, and say by what protocol: `python -m jaxrnn.evaluate RUN`."""

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

from jaxrnn.command import Parser, check_positive, make_command, path
from jaxrnn.context import doubling, make_cost_by_context, reset_at, reset_every
from jaxrnn.data.chunks import Streams
from jaxrnn.data.dataset import Dataset
from jaxrnn.errors import InputError
from jaxrnn.gradients import given, tell
from jaxrnn.running import summary
from jaxrnn.running.devices import prepare_one
from jaxrnn.running.run_text import find_beginning, open_other, open_text, validation_ids
from jaxrnn.running.scorer import (
    about_carry,
    evaluation_streams,
    make_score,
    scored_chunks,
    scored_parts,
    text_in_rows,
)
from jaxrnn.running.trained import Trained, load_trained
from jaxrnn.running.tuning import Helped, Texts, helped_json, helped_text, with_cache, with_dynamic
from jaxrnn.running.wording import many, symbol_noun

EXAMPLES = """\
  jaxrnn evaluate runs/stdlib-lstm-1                       the test split of the text that it was trained on
  jaxrnn evaluate runs/stdlib-lstm-1 --split valid         the validation split
  jaxrnn evaluate runs/stdlib-lstm-1 --text script.py      any text of yours (a file, a folder, a .gz, - for stdin)
  jaxrnn evaluate runs/stdlib-lstm-1 --streams 1           as one long stream: slower, and a little better
  jaxrnn evaluate runs/stdlib-lstm-1 --json | jq .bits_per_character
  jaxrnn evaluate runs/ptb --dynamic --steps 5             dynamic evaluation: it goes on learning, five steps at a time
  jaxrnn evaluate runs/ptb --cache                         continuous cache: what came after states like the present one
  jaxrnn evaluate runs/ptb --by-context 256                the loss of a symbol after 1, 2, 3 to 4, ... symbols

The best parameters of the run are scored, those with the lowest validation loss. Every symbol of the text but the first
is predicted, from all that came before it in its stream. The settings of --dynamic and --cache are chosen on the
validation text; their scores stand beside the plain one.
"""
SPLITS = ("train", "valid", "test")
HELP: dict[str, Callable[..., Helped]] = {"dynamic": with_dynamic, "cache": with_cache}


def _evaluate(asked: Namespace, screen: Console) -> tuple[int, dict[str, Any]]:
    """Read the model and the text, score, and say what came out."""
    check_positive(asked, "streams", "steps", "by_context")
    prepare_one()
    best = load_trained(asked.run)
    what, split, dataset = _opened(asked, best)
    data, ids = best.config.data, dataset.ids[split]
    streams, steps = asked.streams or evaluation_streams(data), asked.steps or data.chunk_length

    def cut(ids: np.ndarray, name: str) -> Streams:
        if asked.drop_tail and len(ids) <= streams * steps:
            size = f"{len(ids)} symbols, shorter than a chunk of {streams} streams x {steps} steps"
            raise InputError(f"{name}: {size}; give a smaller --streams or --steps, or leave out --drop-tail")
        return text_in_rows(ids, streams, steps, drop_tail=asked.drop_tail, name=name)

    text = cut(ids, what)
    texts = _texts(best, dataset, cut, text) if any(getattr(asked, name) for name in HELP) else None
    with screen.status("scoring ..."):
        evaluation = make_score(best.cell, separate_lines=data.separate_lines)(best.params, text)
    characters = sum(summary.characters(best.vocabulary, part) for part in scored_parts(text))
    result = summary.Result(evaluation, characters, best.vocabulary, dataset.unseen[split])
    screen.print(f"{what}, parameters of {best.snapshot}:")
    screen.print(summary.result_text(result))
    about = {"run": str(best.run.folder), "snapshot": best.snapshot.name, "text": what, "steps": steps}
    answer = summary.result_json(result) | about
    for name in (name for name in HELP if getattr(asked, name)):
        helped = HELP[name](best, texts, screen)
        result = summary.Result(helped.evaluation, characters, best.vocabulary)
        screen.print(helped_text(name, helped, result))
        answer[name] = helped_json(helped, result)
    if asked.by_context:
        answer["by_context"] = _by_context(best, text, asked.by_context, screen)
    return 0, answer


def _by_context(best: Trained, text: Streams, every: int, screen: Console) -> dict[str, Any]:
    """Score once more, with streams that begin anew every so many steps, and say what symbols cost by context."""
    data, chunks = best.config.data, reset_every(scored_chunks(text), every)
    begins_at = find_beginning(data, best.vocabulary)
    chunks = chunks if begins_at is None else reset_at(chunks, begins_at)
    cost = make_cost_by_context(best.cell, given)
    start = best.params, best.cell.initial_carry((text.batch_size,))
    stretches = [s for s in cost(*start, map(tell, chunks), doubling(every)) if s.score.weight]
    carry = about_carry(f"initial at the start of each stream and every {many(every, 'step')}", data.separate_lines)
    screen.print(summary.context_text(stretches, symbol_noun(best.vocabulary.tokenizer), carry))
    costs = [
        {"first": s.first, "last": s.last, "loss": s.score.nats, "targets": int(s.score.weight)} for s in stretches
    ]
    return {"every": every, "carry": carry, "costs": costs}


def _texts(best: Trained, dataset: Dataset, cut: Callable[..., Streams], text: Streams) -> Texts:
    """The run's own texts beside the one that is scored; standard input, opened already, is not there a second time."""
    if "train" not in dataset.ids:
        _, dataset = open_text(best.config, best.run)
    valid = validation_ids(best.config, dataset)
    return Texts(cut(dataset.ids["train"], name="training text"), cut(valid, name="validation text"), text)


def _parser() -> Parser:
    """What a user may ask for."""
    usage = "RUN [--split SPLIT | --text FILE] [--streams N] [--dynamic] [--cache] [--json]"
    parser = Parser("jaxrnn evaluate", usage, "Score a trained model, and say by what protocol.", EXAMPLES)
    parser.add_argument("run", type=path, metavar="RUN", help="the run's folder")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--split", choices=SPLITS, help="a split of the run's own text [test]")
    text.add_argument("--text", metavar="FILE", help="another text: a file, a folder, a .gz, or - for standard input")
    parser.add_argument("--streams", type=int, metavar="N", help="streams side by side (batch size) [the run's]")
    parser.add_argument("--steps", type=int, metavar="N", help="time steps in a chunk [the run's chunk_length]")
    parser.add_argument("--drop-tail", action="store_true", help="score full chunks only, as some published figures do")
    parser.add_argument("--dynamic", action="store_true", help="dynamic evaluation: also score it while it learns")
    parser.add_argument("--cache", action="store_true", help="continuous cache: also score it with past hidden states")
    parser.add_argument("--by-context", type=int, metavar="N", help="loss by length of context, reset every N steps")
    return parser


def _opened(asked: Namespace, best: Trained) -> tuple[str, str, Dataset]:
    """What is scored, in words; the split that it is; and the texts opened for it: the run's own, or another one.

    The run's own text must not have changed. All of another text is scored, with the vocabulary of the run.
    """
    if asked.text is None:
        split = asked.split or "test"
        corpus, dataset = open_text(best.config, best.run, command="evaluate")
        own = {"valid": best.config.data.valid, "test": best.config.data.test}.get(split)
        return own or f"{split} text of {corpus.name}", split, dataset
    name, _, dataset = open_other(asked.text, best.vocabulary)
    return name, "text", dataset


main = make_command(_parser, _evaluate)

if __name__ == "__main__":
    sys.exit(main())
