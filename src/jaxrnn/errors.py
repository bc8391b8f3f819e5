"""The one error that a user can cause and mend, and assertions that begin with our own words."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class InputError(ValueError):
    """Something a user gave is wrong: a file, a key, a value, an argument's shape.

    The message is one line that names the culprit, says what was expected and what to do. The commands print it
    and exit with code 2; from Python it is an ordinary `ValueError`.

    Example:
        >>> raise InputError("data.corpus: no file 'boks.txt'; give a text file, a folder or a corpus name")
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: data.corpus: no file 'boks.txt'; give a text file, a folder or a corpus name
    """


def expect(message: str, assertion: Callable[..., None], *arguments: Any) -> None:
    """Make an assertion, such as one of chex's; where it fails, the message comes first, and what it found after.

    Args:
        message: what the argument must be.
        assertion: raises an AssertionError where something does not hold.
        *arguments: its arguments.

    Raises:
        AssertionError: in one line.

    Example:
        >>> import chex
        >>> expect("gate: weight must be []", chex.assert_rank, 1.0, 1)
        Traceback (most recent call last):
            ...
        AssertionError: gate: weight must be [] (Error in rank compatibility check: input 0 has rank 0 (shape ()) but \
expected 1.)
    """
    try:
        assertion(*arguments)
    except AssertionError as error:
        words = " ".join(str(error).split())
        raise AssertionError(f"{message} ({words.partition(' failed: ')[2] or words})") from None


@contextmanager
def naming_refusals(place: object, remedy: str, what: str = "cannot be written") -> Iterator[None]:
    """Say in one line what the system refuses, where something is read or written.

    Args:
        place: a file or a folder, as the user knows it.
        remedy: what to do about it.
        what: what cannot be done.

    Raises:
        InputError: for an error of the operating system.

    Example:
        >>> with naming_refusals("full", "choose another"):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: full: cannot be written (No space left on device); choose another
    """
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename and not str(place).endswith(str(error.filename)) else ""
        raise InputError(f"{place}: {what} ({error.strerror or error}{where}); {remedy}") from None
