"""Let a trained model write: `python -m jaxrnn.sample RUN --prompt TEXT`."""

import select
import stat
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from jaxrnn.command import Parser, make_command
from jaxrnn.config import Sampling
from jaxrnn.running.progress import show
from jaxrnn.running.trained import Trained, load_trained
from jaxrnn.running.writer import write_on
from jaxrnn.settings import resolve

EXAMPLES = """\
  jaxrnn sample runs/stdlib-lstm-1                                   begin a line, and write on
  jaxrnn sample runs/stdlib-lstm-1 --prompt "def main(" --length 300
  jaxrnn sample runs/stdlib-lstm-1 --temperature 0.5                 safer; 1 = as learned, 0 = always the likeliest
  jaxrnn sample runs/stdlib-lstm-1 --top-k 5 --top-p 0.9             choose among few
  jaxrnn sample runs/stdlib-lstm-1 --seed 2                          another text; the same seed, the same text
  echo "import os" | jaxrnn sample runs/stdlib-lstm-1 --prompt -     the prompt from standard input

What is left out is taken from the run's configuration. One line end at the end of a prompt from standard input is
dropped, since echo adds it.
"""
_PATIENCE = 0.2
_KEYS = {name: f"sampling.{name}" for name in ("prompt", "length", "temperature", "top_k", "top_p")} | {"seed": "seed"}


def _sample(asked: Namespace, screen: Console) -> tuple[int, dict[str, Any]]:
    """Read the model and the prompt, and write on from it."""
    best = load_trained(asked.run)
    choice, seed = _choice(asked, best)
    text = show(screen, write_on(best.cell, best.params, best.vocabulary, choice, seed))
    about = {"run": str(best.run.folder), "snapshot": best.snapshot.name, "seed": seed}
    return 0, msgspec.structs.asdict(choice) | about | {"text": text}


def _parser() -> Parser:
    """What a user may ask for. Values stay text: they are read as those of `sampling` in a configuration are."""
    usage = "RUN [--prompt TEXT] [--length N] [--temperature X] [--top-k K] [--top-p P] [--seed S] [--json]"
    parser = Parser("jaxrnn sample", usage, "Let a trained model write.", EXAMPLES)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--prompt", metavar="TEXT", help="the text to go on from; - reads it from standard input")
    parser.add_argument("--length", metavar="N", help="symbols to write")
    parser.add_argument("--temperature", metavar="X", help="1 = as learned, lower = safer, 0 = always the likeliest")
    parser.add_argument("--top-k", metavar="K", help="choose among the k likeliest symbols only")
    parser.add_argument("--top-p", metavar="P", help="choose among the likeliest that have this probability together")
    parser.add_argument("--seed", metavar="S", help="seed of the draws [the run's]")
    return parser


def _choice(asked: Namespace, best: Trained) -> tuple[Sampling, int]:
    """The run's own way to sample and its seed, but for what was asked for."""
    given = {key: getattr(asked, name) for name, key in _KEYS.items() if getattr(asked, name) is not None}
    prompt = _standard_input(wait=asked.prompt == "-") if asked.prompt in (None, "-") else None
    if prompt is not None:
        given["sampling.prompt"] = prompt
    config = resolve(best.run.config, given)
    return config.sampling, config.seed


def _standard_input(*, wait: bool) -> str | None:
    """What is piped in, without its last line end; None where nothing is.

    Where nobody asked for it, a pipe that stays silent must not hold up the command.
    """
    if not wait and not _something_is_piped():
        return None
    text = sys.stdin.read()
    return text.removesuffix("\n") if wait or text else None


def _something_is_piped() -> bool:
    """Whether standard input is a file, or a pipe with something in it."""
    try:
        mode = Path(f"/dev/fd/{sys.stdin.fileno()}").stat().st_mode
        if stat.S_ISREG(mode):
            return True
        return stat.S_ISFIFO(mode) and bool(select.select([sys.stdin], [], [], _PATIENCE)[0])
    except (OSError, ValueError):
        return False


main = make_command(_parser, _sample)

if __name__ == "__main__":
    sys.exit(main())
