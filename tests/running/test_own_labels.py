"""Labels of the user's own: found in a file or a module, and refused in one line where they are no numbers."""

import numpy as np
import pytest

from jaxrnn.errors import InputError
from jaxrnn.running.own_labels import load_label

SOURCE = """
import numpy as np

def in_capitals(text):
    return [letter.isupper() for letter in text]

def place(text):
    return np.arange(len(text))

ragged = lambda text: [[1, 2], [3]]
words = lambda text: list(text)
endless = lambda text: np.full(len(text), np.inf)
torn = lambda text: 1 / 0
leaving = lambda text: exit(3)
number = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "mine_alone.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "mine_alone.py"


def test_a_function_of_a_file_or_a_module_is_a_label(file):
    (name, values), *_ = load_label(f"{file}:in_capitals")("aBC").items()
    assert name == "in capitals" and values.dtype == bool and values.tolist() == [False, True, True]
    (name, values), *_ = load_label("mine_alone:place")("aBC").items()
    assert name == "place" and values.dtype == np.float64 and values.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("ragged", r"failed on a text of 3 characters \(ValueError: setting an array element with a sequence"),
        ("words", "gave values of <U1; expected bool, or finite numbers"),
        ("endless", "gave inf; expected bool, or finite numbers"),
        ("leaving", r"failed on a text of 3 characters \(SystemExit: 3, line 14 of mine_alone\.py\)"),
        (
            "torn",
            r"failed on a text of 3 characters \(ZeroDivisionError: division by zero, line 13 of mine_alone\.py\)",
        ),
    ],
)
def test_what_a_label_must_not_give(file, function, message):
    with pytest.raises(InputError, match=message):
        load_label(f"{file}:{function}")("aBC")


def test_what_is_not_there_is_named(file):
    (file.parent / "broken.py").write_text("import nowhere_to_be_found\n")
    (file.parent / "leaving.py").write_text("def f(text):\n    return [True] * len(text)\n\nraise SystemExit(0)\n")
    for spec, message in (
        ("in_capitals", "expected FILE.py:function or module:function"),
        (f"{file}:", "expected FILE.py:function"),
        (f"{file}:in_capital", "no 'in_capital'; did you mean 'in_capitals'"),
        (f"{file}:number", "'number' is no function"),
        (f"{file.parent}/other.py:f", "no file .*other.py"),
        ("nowhere_to_be_found:f", r"cannot be run \(ModuleNotFoundError"),
        (f"{file.parent}/broken.py:f", r"cannot be run \(ModuleNotFoundError"),
        (f"{file.parent}/leaving.py:f", r"cannot be run \(SystemExit: 0\)"),
    ):
        with pytest.raises(InputError, match=message):
            load_label(spec)
