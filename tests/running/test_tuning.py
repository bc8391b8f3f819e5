"""Help is chosen where it does best on the validation text, and the other text has no say."""

import math

import pytest

from jaxrnn.evaluation import CARRY, Evaluation, Protocol, Score
from jaxrnn.running.tuning import Texts, _choose

LOSSES = {"valid": {"a": 3.0, "b": math.nan, "c": 1.0, "d": 2.0}, "scored": {"a": 0.0, "b": 0.0, "c": 9.0, "d": 0.0}}


def score(text, ways):
    return [Evaluation(Score(2 * LOSSES[text][way], 2.0), Protocol(1, CARRY, "", 2), None) for way in ways]


@pytest.mark.parametrize("grid", ["abcd", "cab", "bdca"])
def test_the_best_on_the_validation_text_is_chosen(grid):
    helped = _choose(score, Texts("train", "valid", "scored"), list(grid))
    assert (helped.choice, helped.valid.nats, helped.evaluation.score.nats) == ("c", 1.0, 9.0)


def test_where_all_went_astray_that_is_what_is_said():
    helped = _choose(score, Texts("train", "valid", "scored"), ["b", "b"])
    assert helped.choice == "b" and math.isnan(helped.valid.nats)
