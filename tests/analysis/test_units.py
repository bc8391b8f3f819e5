"""The search for units: what is planted is found, on one part and scored on the other, and chance is not."""

import jax
import numpy as np
import pytest

from agreement import quick_jit, random_params
from jaxrnn.analysis.gates import saturation
from jaxrnn.analysis.probes import STATES, moments, probe, read_moments
from jaxrnn.analysis.scores import areas, score
from jaxrnn.analysis.states import RUN_UP, Quantity, States, carry_norms, observe, places, quantities
from jaxrnn.analysis.units import Unit, best_units, find_units, with_moved
from jaxrnn.cells import gru, lstm
from jaxrnn.compose import dropout, language_model, stack
from jaxrnn.errors import InputError
from jaxrnn.fused import trace

RNG = np.random.default_rng(0)
N, MIDDLE = 2000, 900
SYMBOLS = 7


@pytest.fixture(scope="module")
def planted():
    """Noise in 60 units, and three of them that know something."""
    truth, number = np.sin(np.arange(N) / 30) > 0.3, np.cos(np.arange(N) / 17)
    values = {Quantity(layer, name): RNG.normal(size=(N, 10)) for layer in (1, 2) for name in ("h", "c", "f")}
    values[Quantity(2, "c")][:, 4] -= 3 * truth
    values[Quantity(1, "f")][:, 7] += number
    values[Quantity(1, "h")][:MIDDLE, 3] += 9 * truth[:MIDDLE]  # perfect where it is chosen, nothing elsewhere
    labels = {"truth": truth, "number": number, "never": np.zeros(N, bool)}
    return States({quantity: seen.astype(np.float32) for quantity, seen in values.items()}, np.zeros(N)), labels


def test_what_is_planted_is_found_and_scored_where_it_was_not_chosen(planted):
    states, labels = planted
    truth, number = find_units(states, labels, MIDDLE, top=5)
    assert (truth.label, truth.measure, number.label, number.measure) == ("truth", "AUC", "number", "correlation")
    flattered, true = truth.units[:2]
    assert flattered.unit == Unit(1, "h", 3) and flattered.chosen > 0.99 and abs(flattered.held_out - 0.5) < 0.1
    assert true.unit == Unit(2, "c", 4) and true.sign == -1
    column = states.values[Quantity(2, "c")][:, 4]
    assert true.held_out == pytest.approx(1 - score(column[MIDDLE:, None], labels["truth"][MIDDLE:])[0], abs=1e-15)
    assert number.units[0].unit == Unit(1, "f", 7) and number.units[0].sign == 1
    assert [unit.chosen for unit in truth.units] == sorted((unit.chosen for unit in truth.units), reverse=True)


def test_chance_is_near_a_half(planted):
    states, labels = planted
    noise = States({Quantity(3, "h"): RNG.normal(size=(N, 50))}, np.zeros(N))
    (found,) = find_units(noise, {"truth": labels["truth"]}, MIDDLE)
    assert abs(found.units[0].held_out - 0.5) < 0.08 and abs(found.probe - 0.5) < 0.15
    assert abs(found.moved - 0.5) < 0.08


def test_all_labels_at_once_are_each_by_itself(planted):
    states, labels = planted
    several = best_units(states, {"truth": labels["truth"], "number": labels["number"]}, MIDDLE, top=3)
    assert several["truth"] == best_units(states, {"truth": labels["truth"]}, MIDDLE, top=3)["truth"]


def test_the_probe_is_ridge_regression():
    """Against the normal equations written out on standardised columns, and a label that needs two units at once."""
    parts = [RNG.normal(2.0, 3.0, size=(N, 3)), RNG.normal(size=(N, 2))]
    x = np.concatenate(parts, axis=1)
    label = x[:, 0] / 3 - x[:, 4] + RNG.normal(size=N) > 0
    z = (x - x[:MIDDLE].mean(axis=0)) / x[:MIDDLE].std(axis=0)
    y = label[:MIDDLE] - label[:MIDDLE].mean()
    w = np.linalg.solve(z[:MIDDLE].T @ z[:MIDDLE] + 0.1 * MIDDLE * np.eye(5), z[:MIDDLE].T @ y)
    expected = areas((z @ w)[MIDDLE:, None], label[MIDDLE:, None]).item()
    assert probe(parts, {"label": label}, MIDDLE)["label"] == pytest.approx(expected, abs=1e-13)
    assert expected > 0.8 > max(areas(x[MIDDLE:], label[MIDDLE:, None]).ravel().max(), 0.0)


def test_more_text_is_as_if_it_stood_before(planted):
    """The fit on the sums of two texts is the fit on both of them, one behind the other."""
    states, labels = planted
    labels = {name: labels[name] for name in ("truth", "number")}
    whole = [values.astype(float) for quantity, values in states.values.items() if quantity.name in STATES]
    cut = 700
    first = moments(np.concatenate(whole, axis=1)[:cut], {name: values[:cut] for name, values in labels.items()})
    rest = {name: values[cut:] for name, values in labels.items()}
    later = probe([values[cut:] for values in whole], rest, MIDDLE - cut, first)
    together = probe(whole, labels, MIDDLE)
    assert later == pytest.approx(together, abs=1e-12) and together["truth"] > 0.7
    assert probe([values[cut:] for values in whole], rest, MIDDLE - cut) != pytest.approx(together, abs=1e-6)


def test_a_unit_that_never_varies_does_no_harm():
    values = np.concatenate([np.ones((N, 1)), np.arange(N)[:, None] % 2], axis=1)
    label = np.arange(N) % 2 == 1
    assert probe([values], {"label": label}, MIDDLE)["label"] == 1.0
    states = States({Quantity(1, "h"): values}, np.zeros(N))
    number = label.astype(float)
    best = best_units(states, {"number": number}, MIDDLE, top=2)["number"]
    assert best[0].unit.number == 1 and best[0].held_out == pytest.approx(1.0, abs=1e-12)
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
    cell, params = model
    ids = RNG.integers(0, SYMBOLS, size=RUN_UP + 1100)
    states, length = observe(cell, params, ids, rows=2), 500
    record = quick_jit(lambda ids: trace(cell, params, cell.initial_carry((1,)), ids))
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


def test_the_sums_of_a_text_are_those_of_its_states(model):
    """Each label beside the state at its own place, in every row; the moved ones too."""
    ids = RNG.integers(0, SYMBOLS, size=RUN_UP + 1100)
    label = {"even": ids % 2 == 0, "place": np.arange(len(ids)).astype(float)}
    states = observe(*model, ids, rows=2)
    whole = [values for quantity, values in states.values.items() if quantity.name in STATES]
    span = slice(RUN_UP, RUN_UP + len(states.nats))
    labels = with_moved(label)
    here = {name: values[span] for name, values in labels.items()}
    expected = moments(np.concatenate(whole, axis=1).astype(float), here)
    found = read_moments(*model, ids, labels, rows=2)
    assert found.places == expected.places == 1000 and set(found.labels) == set(labels)
    np.testing.assert_allclose(found.products, expected.products, rtol=0, atol=1e-3)  # in float32, of 1000 places
    np.testing.assert_allclose(found.total, expected.total, rtol=0, atol=1e-3)
    for name, (total, product) in expected.labels.items():
        assert found.labels[name][0] == total
        np.testing.assert_allclose(found.labels[name][1], product, rtol=1e-5, atol=0.2)  # places go up to 1350


def test_the_size_of_the_carry_is_that_of_its_floats(model):
    cell, params = model
    ids = RNG.integers(0, SYMBOLS, size=205)
    norms = carry_norms(cell, params, ids, rows=2, every=25)
    assert norms.shape == (4, 2)
    carry, _ = quick_jit(cell.unroll)(params, cell.initial_carry((2,)), ids[:200].reshape(2, 100).T)
    leaves = np.concatenate([np.asarray(leaf) for leaf in jax.tree.leaves(carry)], axis=1)
    np.testing.assert_allclose(norms[-1], np.sqrt((leaves**2).mean(axis=1)), rtol=1e-12)


def test_a_text_too_short_is_refused(model):
    with pytest.raises(InputError, match="at least 750 symbols for 2 rows"):
        observe(*model, np.zeros(700, int), rows=2)


def test_saturation_counts_places_beyond_the_thresholds():
    values = np.array([[0.95, 0.05, 0.9], [0.91, 0.5, 0.1], [0.2, 0.09, 0.1]])
    shares = saturation(States({Quantity(1, "f"): values, Quantity(1, "h"): values}, np.zeros(3)))
    assert list(shares) == [Quantity(1, "f")]
    np.testing.assert_array_equal(shares[Quantity(1, "f")].open * 3, [2, 0, 0])
    np.testing.assert_array_equal(shares[Quantity(1, "f")].shut * 3, [0, 2, 0])
