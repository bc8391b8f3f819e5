"""What a user chooses by name or by value, and the refusals that say what to choose instead."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from jaxrnn.errors import InputError

Entry = TypeVar("Entry")


def look_up(what: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """Find an entry of a table by its name.

    Args:
        what: how the user knows the choice, such as "optimizer".
        name: the name chosen.
        table: the entries by name.

    Returns:
        The entry.

    Raises:
        InputError: for a name that is not in the table, with the nearest that is.

    Example:
        >>> look_up("cell", "lsmt", {"gru": 1, "lstm": 2})
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: cell: no 'lsmt'; did you mean 'lstm'? (expected one of: gru, lstm)
    """
    if name not in table:
        raise InputError(f"{what}: {unknown(name, table)}")
    return table[name]


def unknown(name: str, known: Iterable[str]) -> str:
    """Say that there is no such name, which one was probably meant and which ones there are.

    Args:
        name: the name that is not known.
        known: those that are.

    Returns:
        The end of an error message.

    Example:
        >>> unknown("lsmt", ["gru", "lstm"])
        "no 'lsmt'; did you mean 'lstm'? (expected one of: gru, lstm)"
    """
    known = list(known)
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
    guess = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"no {name!r}{guess} (expected one of: {', '.join(known)})"


def require(good: Any, what: str, value: Any, expected: str) -> None:
    """Refuse a value that is out of range.

    Args:
        good: whether it is in range. NaN compares false with everything, so that `0 <= nan` refuses it.
        what: how the user knows the value, such as "sampling.temperature".
        value: the value.
        expected: what it must be.

    Raises:
        InputError: where it is not good.

    Example:
        >>> require(-1 >= 0, "sampling.temperature", -1, "0 or more")
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: sampling.temperature is -1; it must be 0 or more
    """
    if not good:
        raise InputError(f"{what} is {value!r}; it must be {expected}")
