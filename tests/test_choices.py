"""Refusals name the culprit and the way out."""

import math

import pytest

from jaxrnn.choices import look_up, require, unknown
from jaxrnn.errors import InputError


def test_a_known_name_is_found():
    assert look_up("cell", "gru", {"gru": 1, "lstm": 2}) == 1


@pytest.mark.parametrize(
    "name, nearest", [("lsmt", "lstm"), ("LSTM", "lstm"), ("gruu", "gru"), ("", "gru"), (7, "gru")]
)
def test_an_unknown_name_is_answered_with_the_nearest_and_with_all(name, nearest):
    with pytest.raises(InputError) as refused:
        look_up("cell", name, {"gru": 1, "lstm": 2})
    assert nearest in str(refused.value) and "expected one of: gru, lstm" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_is_near_where_there_is_nothing():
    assert unknown("gru", []) == "no 'gru' (expected one of: )"


def test_a_value_out_of_range_is_refused_and_nan_is_in_no_range():
    require(0 <= 1, "model.dropout", 1, "0 or more")
    with pytest.raises(InputError, match="model.dropout is nan; it must be 0 or more"):
        require(0 <= math.nan, "model.dropout", math.nan, "0 or more")
