"""The brute-force check of the horizon page: it agrees with the page on a small model, and would say if it did not."""

import numpy as np
import pytest

pytest.importorskip("tyro", reason="the benchmarks are commands: pip install -e '.[bench]'")

from benchmarks import horizon

from agreement import random_params
from jaxrnn.analysis.bias import answer, chosen_horizon
from jaxrnn.cells import lstm
from jaxrnn.compose import language_model
from jaxrnn.gradients import Chunk

STEPS, ROWS, WINDOWS, SYMBOLS = 96, 2, 4, 5
GRID = [1, 3, 4, 8, 16, 24]


@pytest.fixture(scope="module")
def both():
    """What the page says, and what brute force says, of one model whose credit reaches far."""
    cell = language_model(lstm(3, 4, forget_bias=2.0), SYMBOLS)
    params, rng = random_params(1, cell), np.random.default_rng(0)
    ids = rng.integers(0, SYMBOLS, (2, STEPS, ROWS))
    chunk = Chunk(ids[0], ids[1], rng.random((STEPS, ROWS)))
    found = horizon.page(cell, params, chunk, GRID, WINDOWS, np.float64)
    return found, horizon.brute_force(params, chunk, GRID, WINDOWS)


def test_bias_and_cosine_are_those_of_the_chain_rule_written_out(both):
    found, truth = both
    assert [row.horizon for row in found.rows] == GRID
    for row in found.rows:
        assert row.relative_bias == pytest.approx(truth[row.horizon][0], abs=1e-12)
        assert row.cosine == pytest.approx(truth[row.horizon][1], abs=1e-12)
    assert truth[1][0] > 10 * truth[24][0] > 1e-6


@pytest.mark.parametrize("keep", [0.8, 0.9, 0.99, 0.999])
def test_the_horizon_of_the_answer_is_the_one_found_by_brute_force(both, keep):
    found, truth = both
    cosines = {k: cosine for k, (_, cosine) in truth.items()}
    known = horizon.least(cosines, keep)
    assert chosen_horizon(found, keep).horizon == (known or max(cosines, key=cosines.__getitem__))
    said = f"k = {known} keeps" if known else f"No k up to {GRID[-1]} keeps"
    assert answer(found, keep=keep).startswith(said)


def test_a_horizon_is_enough_only_if_all_longer_ones_are():
    assert horizon.least({4: 0.995, 8: 0.9, 16: 0.991, 32: 1.0}) == 16
    assert horizon.least({4: 0.5}) is None
