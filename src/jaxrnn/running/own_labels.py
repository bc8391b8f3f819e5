"""A label of the user's own, from the command line: a function in a file or a module that says what holds of a text."""

import importlib
import runpy
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn.analysis.labels import LabelFunction
from jaxrnn.choices import unknown
from jaxrnn.errors import InputError


def load_label(spec: str) -> LabelFunction:
    """Find the function that a user names, and make it a label.

    It takes a text (in Python corpora a whole file) and gives one value for each of its characters: what holds once the
    character has been read. Truth values are scored by the area under the ROC curve, other numbers by correlation.

    Args:
        spec: `FILE.py:function` or `module:function`.

    Returns:
        From a text to the label, under the function's name with blanks for underscores. It raises `InputError` where
        the function fails, or gives something else than truth values or numbers; `read_held_out` sees whether there is
        one for each character.

    Raises:
        InputError: there is no such file, module or function, or it cannot be run.

    Example:
        >>> load_label("string:capwords")("a")
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: --label string:capwords: gave values of <U1; expected bool, or finite numbers
    """
    place, colon, name = spec.rpartition(":")
    if not (place and colon and name):
        raise InputError(f"--label {spec}: expected FILE.py:function or module:function")
    names = _names(spec, place)
    if not callable(names.get(name)):
        functions = [other for other, value in names.items() if callable(value) and not other.startswith("_")]
        what = f"{name!r} is no function" if name in names else unknown(name, functions)
        raise InputError(f"--label {spec}: {place}: {what}")
    return _named(spec, name.replace("_", " "), names[name])


def _names(spec: str, place: str) -> Mapping[str, Any]:
    """What a file or a module defines."""
    try:
        if not place.endswith(".py"):
            return vars(importlib.import_module(place))
        if not Path(place).is_file():
            raise InputError(f"--label {spec}: no file {place}")
        return runpy.run_path(place)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise InputError(f"--label {spec}: {place} cannot be run ({type(error).__name__}: {error})") from error


def _named(spec: str, label: str, function: Callable[[str], Any]) -> LabelFunction:
    """The function as a label, which refuses what is neither truth values nor finite numbers."""

    def labels(text: str) -> dict[str, np.ndarray]:
        try:
            values = np.asarray(function(text))  # which fails where parts of a list are of unequal length
        except (Exception, SystemExit) as error:
            said = f"{type(error).__name__}: {error}{_line(error)}"
            raise InputError(f"--label {spec}: failed on a text of {len(text)} characters ({said})") from error
        if values.dtype.kind not in "biuf":
            raise InputError(f"--label {spec}: gave values of {values.dtype}; expected bool, or finite numbers")
        if not np.isfinite(values).all():
            first = values[~np.isfinite(values)][0]
            raise InputError(f"--label {spec}: gave {first}; expected bool, or finite numbers")
        return {label: values if values.dtype == bool else values.astype(float)}

    return labels


def _line(error: BaseException) -> str:
    """Where in the user's function it was raised, if it was there."""
    below = traceback.extract_tb(error.__traceback__)[1:]
    return f", line {below[0].lineno} of {Path(below[0].filename).name}" if below else ""
