"""The one console command: `jaxrnn train`, `jaxrnn evaluate`, `jaxrnn sample`, `jaxrnn analyze`."""

import sys
from collections.abc import Sequence

from jaxrnn import __version__, analyze, evaluate, sample, train
from jaxrnn.choices import nearest
from jaxrnn.command import ended, run
from jaxrnn.errors import InputError

COMMANDS = {"train": train.main, "evaluate": evaluate.main, "sample": sample.main, "analyze": analyze.main}

HELP = """\
usage: jaxrnn train|evaluate|sample|analyze ...

Recurrent language models in JAX.

  jaxrnn train                         train a character LSTM on the source of Python's standard library
  jaxrnn evaluate RUN                  score it on text that it has not seen
  jaxrnn sample RUN --prompt "def "    let it write
  jaxrnn analyze RUN                   see what it has learned, and how: one page to open

jaxrnn COMMAND --help says more about each; jaxrnn --version says which jaxrnn this is.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names.

    Args:
        argv: the words after `jaxrnn`; None takes them from the process.

    Returns:
        The exit code.
    """
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "--version"):
        print(f"jaxrnn {__version__}\n" if name == "--version" else HELP, end="")
        return 0
    code = COMMANDS[name](rest) if name in COMMANDS else run(_refuse, [name])
    return code if argv is not None else ended(code)


def _refuse(argv: Sequence[str]) -> int:
    """There is no such command."""
    guess = nearest(argv[0], COMMANDS)
    raise InputError(f"{argv[0]}: no such command{guess} (expected one of: {', '.join(COMMANDS)})")


if __name__ == "__main__":
    sys.exit(main())
