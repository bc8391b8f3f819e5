"""Help is chosen where it does best on the validation text, and the other text has no say."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from jaxrnn.cells import elman
from jaxrnn.config import Config, Data
from jaxrnn.data.chunks import make_streams
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.dynamic import Adaptation
from jaxrnn.evaluation import CARRY, Evaluation, Protocol, Score
from jaxrnn.pointer import Pointer
from jaxrnn.running import scorer, tuning
from jaxrnn.running.scorer import ANEW
from jaxrnn.running.summary import Result
from jaxrnn.running.tuning import Texts, _at_edge, _choose, helped_json, helped_text, with_dynamic


def streams(*ids):
    return make_streams(np.concatenate(ids), 1, 4, drop_tail=False)


TEXTS = Texts(*(streams(np.arange(start, start + size)) for start, size in ((0, 101), (300, 21), (200, 41))))
A, B, C, D = (Adaptation(float(rate)) for rate in range(1, 5))
ON_VALID, ON_SCORED = {A: 3.0, B: math.nan, C: 1.0, D: 2.0}, {A: 0.0, B: 0.0, C: 9.0, D: 0.0}


def score(text, ways, doing):
    del doing
    losses = ON_VALID if text is TEXTS.valid else ON_SCORED
    return [Evaluation(Score(2 * losses[way], 2.0), Protocol(1, CARRY, "", 2), None) for way in ways]


@pytest.mark.parametrize("grid", [[A, B, C, D], [C, A, B], [B, D, C, A]])
def test_the_best_on_the_validation_text_is_chosen(grid):
    helped = _choose(score, TEXTS, grid, separate_lines=False)
    assert (helped.choice, helped.valid.nats, helped.evaluation.score.nats) == (C, 1.0, 9.0)
    assert helped.evaluation.protocol.carry == CARRY


def test_where_all_went_astray_that_is_what_is_said():
    helped = _choose(score, TEXTS, [B, B], separate_lines=False)
    assert helped.choice == B and math.isnan(helped.valid.nats)


ADAPTATIONS = [Adaptation(rate, decay) for rate in (1.0, 2.0, 3.0) for decay in (0.0, 0.1, 1.0)]
POINTERS = [Pointer(theta, share, window) for theta in (0.0, 1.0) for share in (0.1, 1.0) for window in (10, 20, 40)]


@pytest.mark.parametrize(
    ("choice", "grid", "named"),
    [
        (Adaptation(2.0, 0.1), ADAPTATIONS, ()),
        (Adaptation(3.0, 0.0), ADAPTATIONS, ("rate",)),  # no decay is less than none
        (Adaptation(1.0, 1.0), ADAPTATIONS, ("rate",)),  # and none more than all of the way back
        (Adaptation(3.0, 0.1), [way for way in ADAPTATIONS if way.decay < 1], ("rate", "decay")),
        (Pointer(0.0, 1.0, 20), POINTERS, ()),
        (Pointer(1.0, 0.1, 10), POINTERS, ("theta", "share", "window")),
        (Pointer(0.0, 1.0, 40), POINTERS, ("window",)),
        (Adaptation(2.0, 0.1), [Adaptation(2.0, 0.1)], ()),  # where nothing else was tried there is no edge
    ],
)
def test_a_choice_at_an_edge_that_could_be_extended_is_named(choice, grid, named):
    assert _at_edge(choice, grid, steps=100) == named


def test_grids_reach_beyond_what_suits_a_model_of_words():
    """What was chosen at the ends of smaller grids lies within these."""
    for choice, grid in ((Adaptation(3e-3, 0.0), tuning.ADAPTATIONS), (Pointer(0.3, 0.1, 2000), tuning.POINTERS)):
        assert choice in grid and _at_edge(choice, grid, steps=10_000) == ()


def test_a_window_that_holds_all_of_a_stream_could_not_be_longer():
    assert _at_edge(Pointer(0.0, 1.0, 40), POINTERS, steps=40) == ()


@pytest.mark.parametrize("more", [0, 20])
def test_a_text_that_is_chosen_on_and_then_scored_is_named(more):
    texts = TEXTS._replace(scored=streams(TEXTS.valid.ids, np.arange(more)))
    apart, one = (_choose(score, each, [A, C, D], separate_lines=False) for each in (TEXTS, texts))
    result = Result(one.evaluation, 40, Vocabulary("character", ("a",)))
    assert [helped_json(helped, result)["chosen_on_scored"] for helped in (apart, one)] == [False, True]
    said = [helped_text("dynamic", helped, result) for helped in (apart, one)]
    assert "part of the text scored" not in said[0] and "part of the text scored here" in said[1]


def test_what_was_chosen_is_said_with_its_protocol():
    helped = _choose(score, TEXTS, [A, C], separate_lines=True)
    result = Result(helped.evaluation, 40, Vocabulary("character", ("a",)))
    said, answer = helped_text("dynamic", helped, result), helped_json(helped, result)
    assert f"carry {CARRY}{ANEW}\n" in said and answer["carry"] == CARRY + ANEW
    assert "rate 3, decay 0, epsilon 0.001; at the edge of what was tried: rate\n" in said
    assert answer["at_edge"] == ("rate",) and "chosen on 2 characters of the validation text" in said


def test_the_size_of_gradients_is_that_on_as_much_training_text_as_there_is_to_choose_on(monkeypatch):
    read, texts_read, log = scorer.read, [], io.StringIO()
    monkeypatch.setattr(scorer, "read", lambda text, index: texts_read.append(text) or read(text, index))
    monkeypatch.setattr(tuning, "make_mean_squares", lambda _: lambda params, carry, chunks: len(list(chunks)))

    def evaluate(params, carry, chunks, way, squares=None):
        return Evaluation(Score(float(squares), 1.0), Protocol(1, CARRY, "", 1), None)

    monkeypatch.setattr(tuning, "make_dynamic_evaluate", lambda _: evaluate)
    config = Config(data=Data(separate_lines=True))
    helped = with_dynamic(SimpleNamespace(cell=elman(3, 4), params=None, config=config), TEXTS, Console(file=log))
    assert helped.valid.nats == 5 and helped.evaluation.protocol.carry == CARRY + ANEW
    assert [text is TEXTS.train for text in texts_read] == [True] * 5  # chunks are counted without being read
    assert f"1/{5 + 5 * len(tuning.ADAPTATIONS) + 10}" in log.getvalue()
