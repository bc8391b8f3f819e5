"""Help is chosen where it does best on the validation text, and the other text has no say."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from jaxrnn.cells import elman
from jaxrnn.config import Config, Data
from jaxrnn.data.chunks import make_streams
from jaxrnn.evaluation import CARRY, Evaluation, Protocol, Score
from jaxrnn.running import tuning
from jaxrnn.running.scorer import ANEW
from jaxrnn.running.tuning import Texts, _choose, with_dynamic

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


def test_the_size_of_gradients_is_that_on_as_much_training_text_as_there_is_to_choose_on(monkeypatch):
    texts = Texts(*(make_streams(np.arange(n), 1, 4, drop_tail=False) for n in (101, 21, 41)))
    monkeypatch.setattr(tuning, "make_mean_squares", lambda _: lambda params, carry, chunks: len(list(chunks)))

    def evaluate(params, carry, chunks, way, squares=None):
        return Evaluation(Score(float(squares), 1.0), Protocol(1, CARRY, "", 1), None)

    monkeypatch.setattr(tuning, "make_dynamic_evaluate", lambda _: evaluate)
    config = Config(data=Data(separate_lines=True))
    helped = with_dynamic(SimpleNamespace(cell=elman(3, 4), params=None, config=config), texts)
    assert helped.valid.nats == 5 and helped.evaluation.protocol.carry == CARRY + ANEW
