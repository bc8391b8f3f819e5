"""The account of a study says what is in the page and what is not, and no more than is known of the text."""

from types import SimpleNamespace

import numpy as np

from jaxrnn.analysis.states import Quantity, States
from jaxrnn.analysis.text_view import view
from jaxrnn.analysis.units import Unit
from jaxrnn.config import Config
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.running import account
from jaxrnn.running.study import Watched


def watched(values, room):
    """All that is asked of it here is its view, of ten symbols."""
    states = States({quantity: np.zeros((10, width)) for quantity, width in values.items()}, np.zeros(10))
    return Watched([], [], view(states, "a" * 10, [Unit(2, "c", 0)], 0, 10, room=room), {}, {}, 0, [], 0, 0, 0.0, {})


def test_only_of_a_split_of_its_own_it_is_said_that_it_was_not_trained_on():
    assert account._lead("test text of stdlib", "word", True).endswith(": words that it was not trained on.")
    given = account._lead("text of mine.py", "word", False)
    assert "seen on the text of mine.py, which was given:" in given and "not trained" not in given


def test_what_is_not_whole_in_the_page_is_named_with_its_layer():
    widths = {Quantity(layer, name): 3 for layer in (1, 2) for name in ("h", "c")}
    assert account._about_view(watched(widths, room=1000), "character").endswith("the unit's own range.")
    said = account._about_view(watched(widths, room=40), "character")
    assert said.endswith(" Of h (layer 2), c (layer 1, 2), only ranked units are here.")


def test_labels_that_are_not_told_have_a_reason_and_rare_ones_are_named():
    ten, hundred = (np.arange(2000) % (2000 // count) == 0 for count in (10, 100))
    numbers, never = np.arange(2000.0), np.zeros(2000, bool)
    here = {"rare": hundred, "common": hundred, "number": numbers, "silent": hundred, "never": never, "once": hundred}
    there = here | {"rare": ten}
    assert account._about_labels(here, there, ["rare", "common", "number"], ["once"]) == [
        "Labels that do not vary in both texts: never.",
        "Labels that do not vary at the places that units are chosen on, so that none was chosen for them: once.",
        "Labels that no unit tells, for none varies with them: silent.",
        "Labels that hold in fewer than 30 stretches of one of the texts, so that their scores say little: rare (10).",
    ]


def test_symbols_that_are_left_out_are_noted():
    """A vocabulary without a symbol for what it does not know."""
    text = SimpleNamespace(left_out=(), ids=np.zeros(600, int), labels={}, unseen=700)
    best = SimpleNamespace(vocabulary=Vocabulary("character", tuple("abc")), config=Config())
    studied = SimpleNamespace(chosen_on=text, scored_on=text)
    (note,) = account._notes(best, [{}], studied, watched({Quantity(2, "c"): 3}, room=1000), "character")
    assert note == "Of both texts 1,400 characters are left out, for the model does not know them."
