"""Let a trained model write: `python -m jaxrnn.sample RUN --prompt TEXT`."""

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from jaxrnn.command import Parser, check_positive, make_command, path
from jaxrnn.config import Sampling
from jaxrnn.data.vocabulary import decode, unknown_id
from jaxrnn.errors import InputError, naming_refusals
from jaxrnn.novelty import longest_copied
from jaxrnn.running.devices import prepare_one
from jaxrnn.running.progress import show
from jaxrnn.running.run_text import open_text
from jaxrnn.running.trained import Trained, load_trained
from jaxrnn.running.wording import many, symbol_noun
from jaxrnn.running.writer import Text, Writer, make_writer
from jaxrnn.sampling import never
from jaxrnn.settings import resolve

EXAMPLES = """\
  jaxrnn sample runs/stdlib-lstm-1                                   begin a new line, and go on from there
  jaxrnn sample runs/stdlib-lstm-1 --prompt "def main(" --length 300
  jaxrnn sample runs/stdlib-lstm-1 --temperature 0.5                 safer; 1 = as learned, 0 = always the likeliest
  jaxrnn sample runs/stdlib-lstm-1 --top-k 5 --top-p 0.9             choose among the likeliest symbols only
  jaxrnn sample runs/stdlib-lstm-1 --seed 2                          another text; the same seed, the same text
  jaxrnn sample runs/stdlib-lstm-1 --samples 10 --novelty            ten at once; is any of it learned by heart?
  jaxrnn sample runs/stdlib-lstm-1 --prompt "def " --stop "def "     up to the next definition
  jaxrnn sample runs/stdlib-lstm-1 --stop $'\\n'                      up to the end of a line, as bash and zsh spell it
  jaxrnn sample runs/ptb-lstm-1 --no-unknown                         no <unk>, which stands for rare words
  jaxrnn sample runs/stdlib-lstm-1 --beam 10 --length 40             nothing drawn: the likeliest text that is found
  jaxrnn sample runs/stdlib-lstm-1 --interactive                     a prompt a line, until Ctrl-D
  echo "import os" | jaxrnn sample runs/stdlib-lstm-1 --prompt -     the prompt from standard input

Options that are left out have the values of the run's configuration. One newline at the end of a prompt from standard
input is dropped, since echo adds it.
"""
_KEYS = {name: f"sampling.{name}" for name in ("prompt", "length", "temperature", "top_k", "top_p")} | {"seed": "seed"}


def _sample(asked: Namespace, screen: Console) -> tuple[int, dict[str, Any]]:
    """Read the model and the prompt, and write on from it."""
    _check(asked)
    prepare_one()
    best = load_trained(asked.run)
    choice, seed = _choice(asked, best)
    writer = make_writer(_without_unknown(best) if asked.no_unknown else best)
    learnt = open_text(best.config, best.run)[1].ids["train"] if asked.novelty else None
    how = msgspec.structs.asdict(choice) | {"seed": seed, "stop": asked.stop, "no_unknown": asked.no_unknown}
    more: dict[str, Any] = {}
    if asked.interactive:
        written, lines = _converse(writer, choice, seed, asked.stop, screen)
        texts, more = [line["text"] for line in lines if "text" in line], {"lines": lines}
        del how["prompt"]  # each line has its own
    elif asked.beam:
        found = writer.likeliest(choice, asked.beam)[: asked.samples]
        written, more = [text for text, _ in found], {"log_probabilities": [score for _, score in found]}
        texts = _show_all(screen, written, [f"log probability {score:.2f}" for _, score in found])
        how = {key: how[key] for key in ("prompt", "length", "no_unknown")}  # nothing else was read
    elif asked.samples > 1:
        written = writer.batch(choice, seed, asked.samples, asked.stop)
        texts = _show_all(screen, written, list(map(str, range(1, 1 + len(written)))))
    else:
        written = [writer.stream(choice, seed, asked.stop)]
        texts = [show(screen, written[0].pieces)]
    answer = {"run": str(best.run.folder), "snapshot": best.snapshot.name} | how
    answer |= {"text": texts[0] if texts else "", "texts": texts} | more
    return 0, answer | ({} if learnt is None else {"novelty": _novelty(best, written, learnt, screen)})


def _without_unknown(best: Trained) -> Trained:
    """The model, which never writes its unknown symbol."""
    unknown = unknown_id(best.vocabulary)
    if unknown is None:
        raise InputError("--no-unknown: the model has no unknown symbol, and writes none; leave it out")
    return best._replace(cell=never(best.cell, unknown))


def _parser() -> Parser:
    """What a user may ask for. Values stay text: they are read as those of `sampling` in a configuration are."""
    usage = "RUN [--prompt TEXT] [--length N] [--temperature X] [--samples N] [--interactive] [--json]"
    parser = Parser("jaxrnn sample", usage, "Let a trained model write.", EXAMPLES)
    parser.add_argument("run", type=path, metavar="RUN", help="the run's folder")
    parser.add_argument("--prompt", metavar="TEXT", help="go on from this; '' begins a line; - reads standard input")
    parser.add_argument("--length", metavar="N", help="symbols to write")
    parser.add_argument("--temperature", metavar="X", help="1 = as learned, lower = safer, 0 = always the likeliest")
    parser.add_argument("--top-k", metavar="K", help="choose among the k likeliest symbols only")
    parser.add_argument("--top-p", metavar="P", help="nucleus sampling: only the likeliest, of this total probability")
    parser.add_argument("--seed", metavar="S", help="seed of the draws [the run's]")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="how many texts, made side by side [1]")
    parser.add_argument("--beam", type=int, metavar="N", help="beam search of width N for the likeliest text")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before TEXT; may be repeated")
    parser.add_argument("--no-unknown", action="store_true", help="never write the unknown symbol, such as <unk>")
    parser.add_argument("--interactive", action="store_true", help="read a prompt from each line of standard input")
    parser.add_argument("--novelty", action="store_true", help="find the longest run copied from the training text")
    return parser


def _check(asked: Namespace) -> None:
    """Refuse what does not go together, before anything is read."""
    check_positive(asked, "samples", "beam")
    drawn = [name for name in ("temperature", "top_k", "top_p", "seed") if getattr(asked, name) is not None]
    if asked.beam and (drawn or asked.interactive):
        others = ", ".join(f"--{name.replace('_', '-')}" for name in drawn) or "--interactive"
        raise InputError(f"--beam: it looks for the likeliest texts, and draws none; leave out {others}")
    if "" in asked.stop:
        raise InputError("--stop '': expected some text to stop at; leave it out to stop at the length only")
    if asked.beam and asked.stop:
        raise InputError("--beam: it compares texts of one length; leave out --stop")
    if asked.beam and asked.samples > asked.beam:
        raise InputError(f"--samples {asked.samples}: expected at most {asked.beam}, as many as --beam keeps")
    if asked.interactive and (asked.prompt is not None or asked.samples > 1):
        raise InputError("--interactive: each line that comes is a prompt; leave out --prompt and --samples")


def _show_all(screen: Console, written: Sequence[Text], heads: Sequence[str]) -> list[str]:
    """Show texts as they come, beneath a head each where there are several."""
    texts = []
    for head, text in zip(heads, written, strict=True):
        if len(written) > 1:
            screen.print(f"--- {head}")
        texts.append(show(screen, text.pieces))
    return texts


def _converse(
    writer: Writer, choice: Sampling, seed: int, stops: list[str], screen: Console
) -> tuple[list[Text], list[dict[str, Any]]]:
    """Write on from each line that comes; an empty one begins a line. Every text has a seed of its own.

    Beside the texts it gives what became of each line: its prompt with the seed and the text, or with the error.
    """
    written, lines = [], []
    for line in _lines(screen):
        prompted = msgspec.structs.replace(choice, prompt=line or None)
        its_seed = (seed + len(written)) % 2**32
        try:
            text = writer.stream(prompted, its_seed, stops)
        except InputError as error:
            screen.print(f"error: {error}")
            lines.append({"prompt": prompted.prompt, "error": str(error)})
            continue
        lines.append({"prompt": prompted.prompt, "seed": its_seed, "text": show(screen, text.pieces)})
        written.append(text)
    return written, lines


def _lines(screen: Console) -> Iterator[str]:
    """The lines of standard input, asked for where somebody is there to see it."""
    while True:
        if sys.stdin is not None and sys.stdin.isatty():
            screen.print("> ", end="")
        line = _heard("readline")
        if not line:
            return
        yield line.removesuffix("\n")


def _novelty(best: Trained, written: list[Text], learnt: np.ndarray, screen: Console) -> list[dict[str, Any]]:
    """For what was written after each prompt, the longest run that stands in the training text as well.

    It is looked for in the ids that were drawn: read back, two words side by side would be one, and `<unk>` three.
    """
    found = []
    for number, text in enumerate(written, start=1):
        ids = np.array(text.drawn, np.int32)
        copied = longest_copied(ids, learnt)
        run = decode(best.vocabulary, ids[copied.start : copied.start + copied.length])
        found.append({"copied": copied.length, "symbols": len(ids), "place": copied.place, "run": run})
        noun = many(len(ids), symbol_noun(best.vocabulary.tokenizer))
        screen.print(f"text {number}: the longest run copied from training is {copied.length} of {noun}: {run!r}")
    return found


def _choice(asked: Namespace, best: Trained) -> tuple[Sampling, int]:
    """The run's own way to sample and its seed, but for what was asked for."""
    given = {key: getattr(asked, name) for name, key in _KEYS.items() if getattr(asked, name) is not None}
    if asked.prompt == "-":
        given["sampling.prompt"] = _heard("read").removesuffix("\n")
    config = resolve(best.run.config, given)
    return config.sampling, config.seed


def _heard(how: str) -> str:
    """What comes from standard input, `read` or by `readline`, if it is text."""
    if sys.stdin is None:
        raise InputError("standard input is closed; give a text to it")
    try:
        with naming_refusals("standard input", "give a text to it", "cannot be read"):
            return getattr(sys.stdin, how)()
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} ({error.object[error.start]:#04x})"
        raise InputError(f"standard input: {byte} is not {error.encoding.upper()}; expected text") from None


main = make_command(_parser, _sample)

if __name__ == "__main__":
    sys.exit(main())
