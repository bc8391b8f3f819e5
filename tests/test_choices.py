"""Refusals name the culprit and the way out."""

import math

import pytest

from jaxrnn.choices import look_up, nearest, require, unknown
from jaxrnn.errors import InputError
from jaxrnn.settings import KEYS


def test_a_known_name_is_found():
    assert look_up("cell", "gru", {"gru": 1, "lstm": 2}) == 1


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("lsmt", "; did you mean 'lstm'?"),
        ("LSTM", "; did you mean 'lstm'?"),
        ("gruu", "; did you mean 'gru'?"),
        ("", ""),
        (7, ""),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_and_with_all(name, guess):
    with pytest.raises(InputError) as refused:
        look_up("cell", name, {"gru": 1, "lstm": 2})
    assert str(refused.value) == f"cell: no {name!r}{guess} (expected one of: gru, lstm)"


def test_the_nearest_name_is_suggested_only_where_one_is_near():
    assert nearest("model.cel", KEYS) == "; did you mean 'model.cell'?"
    assert nearest("--model.cel", [f"--{name}" for name in KEYS]) == "; did you mean '--model.cell'?"
    assert nearest("--hidden-size", [f"--{name}" for name in KEYS]) == "; did you mean '--model.hidden_size'?"
    assert nearest("xyzzy", KEYS) == ""


def test_nothing_is_near_where_there_is_nothing():
    assert unknown("gru", []) == "no 'gru' (expected one of: )"


def test_a_value_out_of_range_is_refused_and_nan_is_in_no_range():
    require(0 <= 1, "model.dropout", 1, "0 or more")
    with pytest.raises(InputError, match="model.dropout is nan; it must be 0 or more"):
        require(0 <= math.nan, "model.dropout", math.nan, "0 or more")
