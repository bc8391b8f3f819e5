"""The search for units: what is planted is found on one text and scored on another, and chance is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import random_params
from jaxrnn.analysis import findings
from jaxrnn.analysis.findings import Labelled, choose, find, score_choice, with_moved
from jaxrnn.analysis.gates import saturation
from jaxrnn.analysis.probes import RIDGES, fit, moments, probe
from jaxrnn.analysis.scores import correlations, score
from jaxrnn.analysis.states import (
    RUN_UP,
    STATES,
    Quantity,
    States,
    _read,
    blocks,
    carry_norms,
    observe,
    places,
    quantities,
)
from jaxrnn.analysis.units import Unit, choose_units
from jaxrnn.cells import gru, lstm
from jaxrnn.compose import dropout, language_model, stack
from jaxrnn.errors import InputError
from jaxrnn.fused import trace
from jaxrnn.stepwise import from_step

N = 2000
SYMBOLS = 7


@pytest.fixture(scope="module")
def planted():
    """Noise in 60 units, and three of them that know something."""
    rng = np.random.default_rng(1)
    truth, number = np.sin(np.arange(N) / 30) > 0.3, np.cos(np.arange(N) / 17)
    values = {Quantity(layer, name): rng.normal(size=(N, 10)) for layer in (1, 2) for name in ("h", "c", "f")}
    values[Quantity(2, "c")][:, 4] -= 3 * truth
    values[Quantity(1, "f")][:, 7] += number
    states = States({quantity: seen.astype(np.float32) for quantity, seen in values.items()}, np.zeros(N))
    return states, {"truth": truth, "number": number}


def test_what_is_planted_is_found(planted):
    states, labels = planted
    best = choose_units(states.values, labels, top=5)
    truth, number = best["truth"][0], best["number"][0]
    assert truth.unit == Unit(2, "c", 4) and truth.sign == -1
    assert truth.chosen == pytest.approx(
        1 - score(states.values[Quantity(2, "c")][:, [4]], labels["truth"])[0], abs=1e-15
    )
    assert number.unit == Unit(1, "f", 7) and number.sign == 1
    assert [one.chosen for one in best["truth"]] == sorted((one.chosen for one in best["truth"]), reverse=True)
    assert choose_units(states.values, {"truth": labels["truth"]}, top=5)["truth"] == best["truth"]  # each by itself


def test_the_fit_is_ridge_regression():
    """Against the normal equations written out on standardised columns; the sums of two texts are those of both."""
    rng = np.random.default_rng(2)
    x, ridge = rng.normal(2.0, 3.0, size=(N, 5)), 0.03
    label = x[:, 0] / 3 - x[:, 4] + rng.normal(size=N) > 0
    scale = x.std(axis=0)
    z = (x - x.mean(axis=0)) / scale
    w = np.linalg.solve(z.T @ z + ridge * N * np.eye(5), z.T @ (label - label.mean()))
    parts = [moments(x[span], {"label": label[span]}) for span in (slice(700), slice(700, None))]
    np.testing.assert_allclose(fit(parts[0] + parts[1], ridge)["label"], w / scale, rtol=1e-10)


def test_the_ridge_is_the_one_that_does_best_on_the_later_part():
    """Few places for many units: the weakest ridge fits the noise, and the later part says so."""
    rng = np.random.default_rng(3)
    x, truth = rng.normal(size=(160, 40)), rng.normal(size=40) / 10
    label = x @ truth + rng.normal(size=160)
    early, late = ({"y": label[span]} for span in (slice(60), slice(60, None)))
    first, later = moments(x[:60], early), moments(x[60:], late)
    tried = [correlations((x[60:] @ fit(first, ridge)["y"])[:, None], late["y"][:, None]).item() for ridge in RIDGES]
    best = int(np.argmax(tried))
    assert best > 0 and tried[best] > tried[0] + 1e-3
    np.testing.assert_array_equal(probe(first, later, x[60:], late)["y"], fit(first + later, RIDGES[best])["y"])


def test_a_unit_that_never_varies_does_no_harm():
    values = np.concatenate([np.ones((N, 1)), np.arange(N)[:, None] % 2], axis=1)
    number = {"number": (np.arange(N) % 2).astype(float)}
    sums = moments(values, number)
    np.testing.assert_allclose(fit(sums, 1e-9)["number"], [0, 1], atol=1e-6)
    best = choose_units({Quantity(1, "h"): values}, number, top=2)["number"]
    assert best[0].unit.number == 1 and best[0].chosen == pytest.approx(1.0, abs=1e-12)
    assert np.isnan(best[1].chosen)


@pytest.fixture(scope="module")
def model():
    cell = language_model(stack(lstm(3, 4), dropout(0.5), gru(4, 5)), SYMBOLS)
    return cell, random_params(1, cell)


def test_quantities_are_those_of_every_layer_states_first(model):
    found = [(*quantity, width) for quantity, width in quantities(*model).values()]
    assert found == [
        *((1, name, 4) for name in ("h", "c", "f", "g", "i", "o")),
        *((2, name, 5) for name in ("h", "n", "r", "z")),
    ]


def test_states_are_those_of_the_trace_of_each_row(model):
    """Row by row, with the run-up; and what a symbol cost is what the step before it said."""
    rng = np.random.default_rng(4)
    cell, params = model
    ids = rng.integers(0, SYMBOLS, size=RUN_UP + 1100)
    states, length = observe(cell, params, ids, rows=2), 500
    record = jax.jit(lambda ids: trace(cell, params, cell.initial_carry((1,)), ids))
    assert len(states.nats) == places(len(ids), 2) == 2 * length
    for row in range(2):
        part = ids[row * length : row * length + RUN_UP + length]
        seen = record(part[:, None])
        span = slice(row * length, (row + 1) * length)
        for quantity, note in ((Quantity(1, "f"), "core/0/f"), (Quantity(2, "h"), "core/2/h")):
            expected = np.asarray(seen.notes[note])[RUN_UP:, 0]
            np.testing.assert_allclose(states.values[quantity][span], expected, rtol=0, atol=1e-7)  # kept in float32
        logits = np.asarray(seen.outputs)[RUN_UP - 1 : -1, 0]
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        cost = -log_p[np.arange(length), part[RUN_UP:]]
        np.testing.assert_allclose(states.nats[span], cost, rtol=0, atol=1e-6)  # kept in float32


@pytest.fixture(scope="module")
def texts():
    """Two texts longer than one row takes, and what holds after each symbol."""
    rng = np.random.default_rng(5)

    def text(size):
        ids = rng.integers(0, SYMBOLS, size=size)
        return Labelled(ids, {"even": ids % 2 == 0, "sum": np.append(0, ids[1:] + ids[:-1]).astype(float)})

    return text(RUN_UP + 6400), text(RUN_UP + 7100)


def _seen(model, text):
    """All units over a text, read as the search reads it, with the labels of these places."""
    states = observe(*model, text.ids, rows=2)
    return states, {name: label[RUN_UP : RUN_UP + len(states.nats)] for name, label in text.labels.items()}


@pytest.mark.parametrize("every", range(1, 42))
def test_units_are_chosen_on_one_place_of_each_stretch_and_on_all_parts_of_a_line_of_any_length(every):
    """A fixed stride would see but one place of each line of as many symbols, and of some labels nothing."""
    drawn = findings._one_of_each(every, 20_000)
    assert (drawn // every).tolist() == list(range(20_000 // every))
    for line in (*range(2, 42), 81, every * every):
        kinds = set((drawn % line).tolist())
        assert len(kinds) == line or len(drawn) < 20 * line


@pytest.mark.parametrize(("enough", "every"), [(20_000, 1), (100, 20)])
def test_units_are_chosen_on_one_text_and_scored_on_the_other(model, texts, monkeypatch, enough, every):
    """Against the same done at once on all that was kept of both texts; of a short one every place counts."""
    monkeypatch.setattr(findings, "_ENOUGH", enough)
    found = find(*model, *texts, top=3)
    (here, labels), (there, later) = (_seen(model, text) for text in texts)
    assert found.choice.places == len(here.nats) and found.scores.places == len(there.nats)
    assert found.scores.bits == pytest.approx(there.nats.mean(dtype=float) / np.log(2), rel=1e-6)
    some = found.choice.sample.at - RUN_UP
    assert (some // every).tolist() == list(range(len(here.nats) // every))
    sample = States({name: seen[some] for name, seen in here.values.items()}, here.nats[some])
    expected = choose_units(sample.values, {name: label[some] for name, label in labels.items()}, top=3)
    for finding in found.findings:
        best, label = expected[finding.label], later[finding.label]
        assert [(one.unit, one.sign) for one in finding.units] == [(one.unit, one.sign) for one in best]
        assert [one.chosen for one in finding.units] == pytest.approx([one.chosen for one in best], abs=1e-12)
        assert finding.mean == texts[1].labels[finding.label].mean()
        for one in finding.units:
            column = there.values[Quantity(one.unit.layer, one.unit.name)][:, [one.unit.number]]
            again = score(column * one.sign, label)[0]
            assert one.held_out == pytest.approx(again, abs=1e-12)
    even, total = found.findings
    assert (even.measure, total.measure) == ("AUC", "correlation")
    assert all(finding.probe > finding.units[0].held_out for finding in found.findings)
    assert abs(even.moved - 0.5) < 0.1 and abs(even.moved_probe - 0.5) < 0.1 and abs(total.moved_probe) < 0.1


def test_the_reading_is_fitted_on_all_of_the_first_text(model, texts):
    (here, labels), (there, later) = (_seen(model, text) for text in texts)
    x, y = (
        np.concatenate([seen for name, seen in states.values.items() if name.name in STATES], axis=1)
        for states in (here, there)
    )
    choice = choose(*model, texts[0], top=1)
    scores = score_choice(*model, texts[1], choice)
    for name, weights in choice.weights.items():
        each = [fit(moments(x.astype(float), labels), ridge)[name] for ridge in RIDGES]
        assert min(np.abs(weights - one).max() / np.abs(one).max() for one in each) < 1e-2  # sums in float32, ill-posed
        reading = (y @ weights)[:, None]
        assert scores.probes[name] == pytest.approx(score(reading, later[name])[0], abs=1e-6)


def test_a_label_far_from_0_is_fitted_as_well(model, texts):
    here, there = (text._replace(labels={"sum": text.labels["sum"]}) for text in texts)
    far, beyond = (text._replace(labels={"sum": text.labels["sum"] + 1e8}) for text in (here, there))
    near, moved = (find(*model, one, other).findings[0].probe for one, other in ((here, there), (far, beyond)))
    assert moved == pytest.approx(near, abs=1e-5)  # the sums of a probe are in float32


def test_a_model_that_notes_no_state_is_refused():
    core = from_step(
        lambda key: {},
        lambda batch, key=None: jnp.zeros((*batch, 3)),
        lambda params, h, x: (h + x, h),
        input_size=3,
        output_size=3,
    )
    cell = language_model(core, 5)
    text = Labelled(np.arange(1000) % 5, {"even": np.arange(1000) % 2 == 0})
    with pytest.raises(InputError, match="choose: what the cell notes is .*; it must be one of h, c, its states"):
        find(cell, cell.init(jax.random.key(0)), text, text)


def test_a_text_without_a_symbol_has_nothing_to_find(model):
    nothing = Labelled(np.zeros(0, int), {"even": np.zeros(0, bool)})
    with pytest.raises(InputError, match="at least"):
        find(*model, nothing, nothing)


def test_what_tells_one_text_only_is_not_flattered(model, texts):
    """A label made of what one unit did in the first text: chosen there with 1, and nothing in the other."""
    rng = np.random.default_rng(6)
    here, _ = _seen(model, texts[0])
    gate = here.values[Quantity(2, "z")][:, 3]
    label = np.zeros(len(texts[0].ids), bool)
    label[RUN_UP : RUN_UP + len(gate)] = gate > np.median(gate)
    noise = rng.random(len(texts[1].ids)) > 0.5
    (found,) = find(*model, texts[0]._replace(labels={"it": label}), texts[1]._replace(labels={"it": noise})).findings
    assert found.units[0].unit == Unit(2, "z", 3) and found.units[0].chosen > 0.999
    assert abs(found.units[0].held_out - 0.5) < 0.03


def test_a_label_of_one_text_only_is_left_out(model, texts):
    first, second = texts
    never = np.zeros(len(second.ids), bool)
    more = first._replace(labels=dict(first.labels) | {"mine": first.labels["even"], "never": first.labels["even"]})
    found = find(*model, more, second._replace(labels=dict(second.labels) | {"never": never}), top=1)
    assert [finding.label for finding in found.findings] == ["even", "sum"]


def test_where_no_label_varies_there_is_nothing_to_find_and_the_rest_is_seen(model, texts):
    first, second = (text._replace(labels={"never": np.zeros(len(text.ids), bool)}) for text in texts)
    found = find(*model, first, second)
    assert found.findings == [] and found.scores.places == places(len(second.ids), 2)
    whole = find(*model, *texts, top=1)
    assert found.scores.bits == pytest.approx(whole.scores.bits, rel=1e-12)
    assert len(found.choice.sample.nats) == len(whole.choice.sample.nats)


def test_the_logits_of_one_step_are_there_at_a_time():
    """By the compiled program's own account: those of 250 steps would be 250 times as much."""
    cell, rows, symbols = language_model(gru(2, 3), 2000), 4, 2000
    ids = np.zeros((250, rows), np.int32)
    program = _read.lower(cell, ("core/h",), random_params(1, cell), cell.initial_carry((rows,)), ids, ids)
    one_step = rows * symbols * np.dtype(float).itemsize
    assert program.compile().memory_analysis().temp_size_in_bytes < 20 * one_step


def test_less_may_be_read_spread_over_the_text(model, texts):
    ids = texts[0].ids
    whole = list(blocks(*model, ids, rows=2))
    some = list(blocks(*model, ids, rows=2, most=1300))
    assert len(some) == 3 < len(whole) and len(np.concatenate([block.at for block in some])) == 1500
    for one, other in zip(some, whole, strict=False):
        np.testing.assert_array_equal(one.at, other.at)
        np.testing.assert_array_equal(one.nats, other.nats)
    assert min(block.at.min() for block in some) == RUN_UP and max(block.at.max() for block in some) > len(ids) // 2


def test_where_nothing_of_the_last_quarter_is_read_it_is_refused(model, texts):
    """Each of two rows is left after a quarter of its places."""
    with pytest.raises(InputError, match="choose: most 1300: of the last quarter of the text nothing is read"):
        choose(*model, texts[0], top=1, most=1300)


def test_where_memory_is_short_units_are_chosen_on_fewer_places(model, texts, monkeypatch):
    some = len(choose(*model, texts[0], top=1).sample.nats)
    monkeypatch.setattr(findings, "_MEMORY", 4 * 44 * 200)  # 44 units at 200 places
    assert 150 <= len(choose(*model, texts[0], top=1).sample.nats) <= 200 < some


def test_moved_labels_keep_their_runs():
    moved = with_moved({"a": np.array([True, True, False, False, False, False])})["moved: a"]
    assert moved.tolist() == [False, False, False, True, True, False]


def test_the_size_of_the_carry_is_that_of_its_floats(model):
    rng = np.random.default_rng(7)
    cell, params = model
    ids = rng.integers(0, SYMBOLS, size=205)
    norms = carry_norms(cell, params, ids, rows=2, every=25)
    assert norms.shape == (4, 2)
    carry, _ = jax.jit(cell.unroll)(params, cell.initial_carry((2,)), ids[:200].reshape(2, 100).T)
    leaves = np.concatenate([np.asarray(leaf) for leaf in jax.tree.leaves(carry)], axis=1)
    np.testing.assert_allclose(norms[-1], np.sqrt((leaves**2).mean(axis=1)), rtol=1e-12)


def test_a_text_too_short_is_refused(model):
    with pytest.raises(InputError, match="at least 750 symbols for 2 rows"):
        observe(*model, np.zeros(700, int), rows=2)


def test_saturation_counts_places_beyond_the_thresholds():
    values = np.array([[0.95, 0.05, 0.9], [0.91, 0.5, 0.1], [0.2, 0.09, 0.1]])
    shares = saturation({Quantity(1, "f"): values, Quantity(1, "h"): values})
    assert list(shares) == [Quantity(1, "f")]
    np.testing.assert_array_equal(shares[Quantity(1, "f")].open * 3, [2, 0, 0])
    np.testing.assert_array_equal(shares[Quantity(1, "f")].shut * 3, [0, 2, 0])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.zeros(5, bool), r"label 'mine': the shape is \(5,\); it must be \(1000,\), one a symbol"),
        (np.append(np.zeros(999), np.nan), "label 'mine': a value is nan; it must be bool, or a finite number"),
    ],
)
def test_a_label_that_does_not_fit_its_text_is_refused(label, message):
    cell = language_model(gru(2, 3), SYMBOLS)
    text = Labelled(np.arange(1000) % SYMBOLS, {"mine": label})
    for call in (
        lambda: find(cell, None, text, text),
        lambda: choose(cell, None, text, top=1),
        lambda: score_choice(cell, None, text, findings.Choice({}, {}, None, 0)),
    ):
        with pytest.raises(InputError, match=message):
            call()
