"""Score a trained model, and say by what protocol: `python -m jaxrnn.evaluate RUN`."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxrnn.command import Parser, make_command
from jaxrnn.data.corpora import whole_text
from jaxrnn.data.dataset import prepare
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.errors import InputError
from jaxrnn.running import summary
from jaxrnn.running.experiment import open_text
from jaxrnn.running.scorer import evaluation_streams, make_score
from jaxrnn.running.trained import Trained, load_trained

EXAMPLES = """\
  jaxrnn evaluate runs/stdlib-lstm-1                       the test split of the text that it was trained on
  jaxrnn evaluate runs/stdlib-lstm-1 --split valid         the validation split
  jaxrnn evaluate runs/stdlib-lstm-1 --text script.py      any text of yours (a file, a folder, a .gz, - for stdin)
  jaxrnn evaluate runs/stdlib-lstm-1 --streams 1           as one long stream: slower, and a little better
  jaxrnn evaluate runs/stdlib-lstm-1 --json | jq .bits_per_character

The best parameters of the run are scored, those with the lowest validation loss. Every symbol of the text but the first
is predicted, from all that came before it in its stream.
"""
SPLITS = ("train", "valid", "test")


def _evaluate(asked: Namespace, screen: Console) -> tuple[int, dict[str, Any]]:
    """Read the model and the text, score, and say what came out."""
    if asked.streams is not None and asked.streams < 1:
        raise InputError(f"--streams {asked.streams}: expected 1 or more")
    best = load_trained(asked.run)
    what, ids = _whole(best, asked.text) if asked.text else _split(best, asked.split or "test")
    streams, chunk_length = asked.streams or evaluation_streams(best.config.data), best.config.data.chunk_length
    with screen.status("scoring ..."):
        evaluation = make_score(best.cell, streams, chunk_length, drop_tail=asked.drop_tail)(best.params, ids, what)
    result = summary.Result(evaluation, summary.characters(best.vocabulary, ids), best.vocabulary)
    screen.print(f"{what}, parameters of {best.snapshot}:")
    screen.print(summary.result_text(result))
    about = {"run": str(best.run.folder), "snapshot": best.snapshot.name, "text": what}
    return 0, summary.result_json(result) | about


def _parser() -> Parser:
    """What a user may ask for."""
    usage = "RUN [--split train|valid|test | --text FILE] [--streams N] [--drop-tail] [--json]"
    parser = Parser("jaxrnn evaluate", usage, "Score a trained model, and say by what protocol.", EXAMPLES)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--split", choices=SPLITS, help="a split of the run's own text [test]")
    text.add_argument("--text", metavar="FILE", help="another text: a file, a folder, a .gz, or - for standard input")
    parser.add_argument("--streams", type=int, metavar="N", help="streams side by side [the run's]")
    parser.add_argument("--drop-tail", action="store_true", help="score full chunks only, as some published figures do")
    return parser


def _split(best: Trained, split: str) -> tuple[str, np.ndarray, int]:
    """A split of the text that the run was trained on, which must not have changed; and how much of it is unknown."""
    corpus, dataset = open_text(best.config, best.run)
    return f"{split} text of {corpus.name}", dataset.ids[split], dataset.unseen[split]


def _whole(best: Trained, source: str) -> tuple[str, np.ndarray, int]:
    """All of another text, with the vocabulary of the run, and how many of its symbols are not in it."""
    tokenizer = TOKENIZERS[best.vocabulary.tokenizer]
    dataset = prepare(whole_text(source), tokenizer, vocabulary=best.vocabulary)
    return f"text of {source}", dataset.ids["text"], dataset.unseen["text"]


main = make_command(_parser, _evaluate)

if __name__ == "__main__":
    sys.exit(main())
