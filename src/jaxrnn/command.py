"""What the commands share: how each begins and ends, arguments refused in one line, and what the exit codes mean.

| code | meaning                                                                        |
|------|--------------------------------------------------------------------------------|
| 0    | done                                                                           |
| 2    | something given was wrong: one line says what, and nothing half-written is left |
| 130  | stopped by Ctrl-C; a training that is under way is saved first                 |
| 143  | stopped by SIGTERM, in the same way                                            |
| 129  | by SIGHUP, when its terminal went away; with `nohup` it goes on                |
"""

import argparse
import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
from rich.console import Console

from jaxrnn.choices import nearest
from jaxrnn.errors import InputError
from jaxrnn.jsonable import jsonable
from jaxrnn.running.progress import console, send_nowhere

INTERRUPTED = 130
_UNWRITABLE = errno.ENOSPC, errno.EDQUOT, errno.EIO


def _wide(prog: str) -> argparse.HelpFormatter:
    """A formatter that leaves descriptions as they are, with room for the longest keys."""
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=36, width=110)


class Parser(argparse.ArgumentParser):
    """The standard parser, except that it raises `InputError`, and names the option that was probably meant.

    Every command has `--json`.
    """

    def __init__(self, prog: str, usage: str, description: str, examples: str):
        """Make a parser whose help ends with examples.

        Args:
            prog: the command, as it is typed.
            usage: what may come after it.
            description: what it does.
            examples: lines to copy, with a word on each.
        """
        super().__init__(
            prog=prog,
            usage=f"{prog} {usage}",
            description=description,
            epilog=f"examples:\n{examples}",
            formatter_class=_wide,
            allow_abbrev=False,
        )
        self.add_argument("--json", action="store_true", help="end with a line of JSON; all words go to standard error")

    def parse_args(self, args=None, namespace=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Parse, after a look at the names of all options.

        An unknown option is found before anything else: the word after it would otherwise pass for an argument.
        """
        args = list(sys.argv[1:] if args is None else args)
        known = [name for action in self._actions for name in action.option_strings]
        places = [str(action.metavar or action.dest) for action in self._actions if not action.option_strings]
        for word in args:
            name = word.partition("=")[0]
            if word.startswith("--") and name not in ("--", *known) and " " not in name:  # one with a space is a value
                bare = name.lstrip("-").casefold()
                place = next((it for it in places if bare in (it.casefold(), it.casefold().partition(".")[0])), None)
                meant = f"; it is given by itself: {self.prog} {place}" if place else nearest(name, known)
                raise InputError(f"{name}: no such option{meant} (see {self.prog} --help)")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise InputError(f"{message} (see {self.prog} --help)")


def path(word: str) -> Path:
    """Read a path, where `~` is the user's home in whatever place: a shell leaves it alone in `--run=~/mine`.

    Args:
        word: as it was typed.

    Returns:
        The path.

    Raises:
        ValueError: for a name that is not Unicode, which could not be written down.

    Example:
        >>> path("~no such user/mine").as_posix()
        '~no such user/mine'
    """
    word.encode()  # bytes that are no text: argparse names the option
    return Path(os.path.expanduser(word))


def check_positive(asked: argparse.Namespace, *names: str) -> None:
    """Refuse numbers below 1, and those that no array has room for: an index has 32 bits.

    Args:
        asked: what a user asked for.
        *names: of the options that are whole numbers, as Python has them; those left out are None.

    Raises:
        InputError: naming the option.
    """
    for name in names:
        value = getattr(asked, name)
        option = f"--{name.replace('_', '-')} {value}"
        if value is not None and value < 1:
            raise InputError(f"{option}: expected 1 or more")
        if value is not None and value >= 2**31:
            raise InputError(f"{option}: expected at most {2**31 - 1}; choose a smaller number")


def make_command(
    make_parser: Callable[[], Parser], work: Callable[[argparse.Namespace, Console], tuple[int, Any]]
) -> Callable[..., int]:
    """Make a command: it reads the words, does the work, and ends with the answer where JSON was asked for.

    Args:
        make_parser: what a user may ask for.
        work: `(asked, screen) -> (exit code, answer)`. All words go to the screen, which is standard error beside JSON;
            the answer is what JSON can hold, or None.

    Returns:
        `main(argv=None) -> exit code`; without arguments it takes the words from the process. See `run`.
    """

    def main(argv: Sequence[str]) -> int:
        asked = make_parser().parse_args(argv)
        code, answer = work(asked, console(stderr=asked.json))
        if asked.json and answer is not None:
            print(json.dumps(jsonable(answer)), flush=True)
        return code

    return lambda argv=None: run(main, argv) if argv is not None else ended(run(main))


def ended(code: int) -> int:
    """End the process if it was interrupted, at once: Python would first take away what XLA still works with.

    Args:
        code: the exit code.

    Returns:
        The code, where the process may end by itself.
    """
    if code == INTERRUPTED:
        _flush()
        os._exit(code)
    return code


def run(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a command: whatever a user can mend ends as one line on standard error and code 2.

    Any other exception is a fault of the program and keeps its traceback.

    Args:
        main: takes the words after the command's name, returns the exit code.
        argv: these words; None takes them from the process.

    Returns:
        The exit code.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = main(sys.argv[1:] if argv is None else argv)
        _flush()
        return code
    except InputError as error:
        return _refused(str(error))
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _refused("there is not so much memory; choose smaller sizes")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe went away, as `| head` does: nothing is left to say to it
        send_nowhere(sys.stdout)
        return 0
    except OSError as error:  # of a stream: those of files have become an `InputError` where they came up
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        send_nowhere(sys.stdout)
        return _refused(f"the output cannot be written ({error.strerror}); send it elsewhere")


def _refused(what: str) -> int:
    """Say in one line what was wrong."""
    print(f"error: {' '.join(what.split())}", file=sys.stderr)
    return 2


def _flush() -> None:
    """Let out what is left in the buffers; a stream that was closed before the start is None."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """Print a warning as a user reads it: one line, without the place in the source."""
    del category, filename, lineno, file, line
    print(f"warning: {message}", file=sys.stderr)
