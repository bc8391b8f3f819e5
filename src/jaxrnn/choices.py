"""What a user chooses by name or by value, and the refusals that say what to choose instead."""

import difflib
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
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
    """Say that there is no such name, which one was probably meant, and which ones there are.

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
    return f"no {name!r}{nearest(name, known)} (expected one of: {', '.join(known)})"


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant.

    Args:
        name: a name that is not known.
        known: those that are, such as cells, keys or options; of `section.key` the key alone may be meant.

    Returns:
        The end of an error message; empty where nothing is near.

    Example:
        >>> nearest("model.hiden_size", ["model.hidden_size", "model.cell"])
        "; did you mean 'model.hidden_size'?"
        >>> nearest("hidden_size", ["model.hidden_size", "model.cell"])
        "; did you mean 'model.hidden_size'?"
    """
    name, known = str(name).casefold(), list(known)
    whole = {other.casefold(): other for other in known}
    last = {other.rpartition(".")[2].casefold(): other for other in known}
    for wanted, names in ((name, whole), (name.rpartition(".")[2].lstrip("-"), last)):
        if close := difflib.get_close_matches(wanted, names, n=1, cutoff=0.5):
            return f"; did you mean {names[close[0]]!r}?"
    return ""


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


def is_whole(value: Any, least: int = 1) -> bool:
    """Tell whether a value is a whole number, of Python or of NumPy, and not too small.

    Args:
        value: anything.
        least: the least that will do.

    Returns:
        True or False.

    Example:
        >>> is_whole(3), is_whole(0), is_whole(2.0), is_whole("3")
        (True, False, False, False)
    """
    return isinstance(value, Integral) and int(value) >= least


def is_number(value: Any) -> bool:
    """Tell whether a value is one number: what may be compared with another.

    Args:
        value: anything.

    Returns:
        True or False.

    Example:
        >>> is_number(0.5), is_number("0.5"), is_number(None)
        (True, False, False)
    """
    return isinstance(value, Real) or getattr(value, "shape", None) == ()
