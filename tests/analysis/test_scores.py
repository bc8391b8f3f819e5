"""Areas under the curve against all pairs, correlations against NumPy's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from jaxrnn.analysis.scores import areas, correlations, oriented, score

RNG = np.random.default_rng(1)


def area_by_pairs(values, label):
    """Every pair of a place with the label and one without."""
    with_label, without = values[label][:, None], values[~label][None]
    return np.mean((with_label > without) + 0.5 * (with_label == without))


@given(some.lists(some.tuples(some.integers(-3, 3), some.booleans()), min_size=1, max_size=30))
def test_the_area_is_that_of_all_pairs_ties_and_all(places):
    values, label = np.array([value for value, _ in places], float), np.array([truth for _, truth in places])
    found = areas(values[:, None], label[:, None])
    if label.all() or not label.any():
        assert np.isnan(found).all()
    else:
        assert found.item() == pytest.approx(area_by_pairs(values, label), abs=1e-14)


def test_many_units_and_labels_at_once():
    values = RNG.normal(size=(301, 150)).astype(np.float32)
    values[:, ::2] = values[:, ::2].round(1)  # with ties
    labels = RNG.random((301, 3)) < [0.5, 0.1, 0.9]
    expected = [[area_by_pairs(column, label) for label in labels.T] for column in values.T]
    np.testing.assert_allclose(areas(values, labels), expected, rtol=0, atol=1e-14)


def test_the_area_of_a_hundred_thousand_places_is_exact():
    """The sum of ranks is far beyond what float32 counts."""
    label = np.arange(100_000) % 3 == 0
    values = np.arange(100_000, dtype=np.float32)[:, None]
    below = np.cumsum(~label)[label].sum()  # for each place with the label, those without and below it
    assert areas(values, label[:, None]).item() == below / (label.sum() * (~label).sum())


def test_what_is_no_number_tells_nothing():
    values, label = np.array([[1.0, np.nan], [2.0, 2.0], [np.nan, 1.0]]), np.array([True, False, True])
    assert np.isnan(score(values, label)).all() and np.isnan(score(values, label.astype(float))).all()


def test_labels_of_few_bits_are_correlated_in_float64():
    label = RNG.integers(0, 200, size=(1000, 1)) * 300
    expected = correlations(label + 0.0, label.astype(float))
    np.testing.assert_allclose(correlations(label + 0.0, label.astype(np.float16)), expected, rtol=1e-6)
    assert np.isnan(correlations(RNG.normal(size=(1000, 1)), np.full((1000, 1), 0.1, np.float32))).all()


def test_correlations_are_those_of_numpy():
    values, labels = RNG.normal(size=(200, 70)), RNG.normal(size=(200, 2))
    expected = np.corrcoef(values.T, labels.T)[:70, 70:]
    np.testing.assert_allclose(correlations(values, labels), expected, rtol=0, atol=1e-13)


def test_what_does_not_vary_has_no_correlation():
    assert np.isnan(correlations(np.ones((5, 2)), np.arange(5.0)[:, None])).all()
    assert np.isnan(correlations(np.arange(5.0)[:, None], np.ones((5, 1)))).all()


def test_a_score_turned_round_is_that_of_the_negative_value():
    values, truth, number = RNG.normal(size=(50, 4)), RNG.random(50) < 0.5, RNG.normal(size=50)
    for label in (truth, number):
        turned = oriented(score(values, label), -1, truth=label.dtype == bool)
        np.testing.assert_allclose(score(-values, label), turned, rtol=0, atol=1e-14)


def test_a_constant_that_binary_floats_only_come_near_does_not_vary():
    """The mean of a thousand times 0.1 is not quite 0.1."""
    constant, label = np.full((1000, 1), 0.1), RNG.normal(size=(1000, 1))
    assert np.isnan(correlations(constant, label)).all() and np.isnan(correlations(label, constant)).all()
    assert np.isfinite(correlations(1e-30 * label, label)).all()
