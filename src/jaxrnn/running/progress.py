"""What a user sees while a run goes on: a bar on a terminal, a plain line now and then in a log file."""

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import IO, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress(NamedTuple):
    """How to tell a user that something moved.

    Attributes:
        update: `(done, note)`: so many steps are done in all; the note says how it goes.
        say: `(text)`: a line that stays.
    """

    update: Callable[[int, str], None]
    say: Callable[[str], None]


class _Screen(Console):
    """A console whose reader may go away, as `| head` does, or a terminal, or the room in a log file."""

    def _check_buffer(self) -> None:
        """Write what is to be written; rich forgives a broken pipe alone."""
        try:
            super()._check_buffer()
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Say no more, and let the work go on to its end: rich would end the process here, and a training unsaved."""
        self.quiet = True
        send_nowhere(self.file)


def send_nowhere(stream: IO[str]) -> None:
    """Let what is written to a stream vanish, what is left in its buffer too.

    Args:
        stream: standard output or error, say, where nobody reads any more.
    """
    with suppress(OSError, AttributeError), open(os.devnull, "w") as nowhere:  # one without a descriptor has no reader
        os.dup2(nowhere.fileno(), stream.fileno())


def console(*, stderr: bool = False) -> Console:
    """Make a console that neither wraps nor colours what it is given, and does without a reader who goes away.

    Args:
        stderr: write to standard error, so that standard output holds nothing but results.

    Returns:
        The console. What its encoding does not have it shows as a question mark.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
    return _Screen(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


def show(screen: Console, pieces: Iterable[str]) -> str:
    """Write text as it comes, as it is, and end the line.

    Args:
        screen: where to.
        pieces: the text.

    Returns:
        The text as a whole.
    """
    text = ""
    for piece in pieces:
        text += piece
        screen.file.write(piece)
        screen.file.flush()
    screen.file.write("\n")
    return text


@contextmanager
def progress(screen: Console, total: int, done: int = 0, every: float = 5.0) -> Iterator[Progress]:
    """Show that something moves, for as long as the `with` block lasts.

    Args:
        screen: where to.
        total: how many steps there are.
        done: how many of them were done before.
        every: seconds between two lines, where the screen is not a terminal. A file gets no control characters.

    Yields:
        The two functions to call.
    """
    display = _bar if screen.is_terminal and not screen.is_dumb_terminal else _lines
    with display(screen, total, done, every) as shown:
        yield shown


@contextmanager
def _bar(screen: Console, total: int, done: int, every: float) -> Iterator[Progress]:
    """Draw a bar that moves, with the time left."""
    del every
    left, note = TimeRemainingColumn(), TextColumn("left  {task.fields[note]}")
    with Bar(BarColumn(bar_width=16), MofNCompleteColumn(), left, note, console=screen, refresh_per_second=4) as bar:
        task = bar.add_task("", total=total, completed=done, note="compiling ...")
        yield Progress(
            update=lambda now, note: bar.update(task, completed=now, note=note),
            say=lambda text: bar.console.print(text),
        )


@contextmanager
def _lines(screen: Console, total: int, done: int, every: float) -> Iterator[Progress]:
    """Print a line at the first step, at the last one, and every few seconds in between."""
    first: tuple[float, int] | None = None  # the clock starts after the first step, which includes the compilation
    shown = -float("inf")

    def update(now: int, note: str) -> None:
        nonlocal first, shown
        moment = time.monotonic()
        first = first or (moment, now)
        if moment - shown < every and now < total:
            return
        shown = moment
        pace = (moment - first[0]) / max(now - first[1], 1)
        left = f"{timedelta(seconds=round(pace * (total - now)))} left" if now > first[1] else "started"
        screen.print(f"{now:>7}/{total}  {now / total:4.0%}  {left}  {note}")

    yield Progress(update=update, say=screen.print)
