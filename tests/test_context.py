"""Costs by length of context against a plain NumPy loop that starts anew for every stretch of text."""

import numpy as np
import pytest

import reference
from agreement import random_params
from jaxrnn.cells.elman import elman
from jaxrnn.compose import language_model
from jaxrnn.context import doubling, make_cost_by_context, reset_at, reset_every
from jaxrnn.data.chunks import make_streams, number_of_chunks, read
from jaxrnn.errors import InputError
from jaxrnn.evaluation import make_evaluate
from jaxrnn.gradients import Chunk
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.types import Marked

V, B = 5, 2
IDS = np.random.default_rng(0).integers(V, size=46)  # 45 targets: rows of 23 and 22
CELL = language_model(elman(3, 4), V)
PARAMS, CARRY = random_params(1, CELL), CELL.initial_carry((B,))
cost = make_cost_by_context(CELL, softmax_cross_entropy)


def chunks_of(chunk_length):
    text = make_streams(IDS, B, chunk_length, drop_tail=False)
    return [read(text, index) for index in range(number_of_chunks(text))]


def plain_costs(every):
    """The losses of all targets with each length of context."""
    by_length: dict[int, list[float]] = {}
    for row in np.array_split(np.arange(len(IDS) - 1), B):
        for start in range(0, len(row), every):
            part = row[start : start + every]
            hs = reference.unroll(
                reference.elman(), PARAMS["core"], (np.zeros((1, 4)),), PARAMS["embedding"]["w"][IDS[part]][:, None]
            )[1]
            logits = (hs @ PARAMS["readout"]["w"] + PARAMS["readout"]["b"])[:, 0]
            for n, (a, target) in enumerate(zip(logits, IDS[part + 1], strict=True), start=1):
                by_length.setdefault(n, []).append(np.log(np.exp(a).sum()) - a[target])
    return by_length


@pytest.mark.parametrize("chunk_length", [1, 4, 50])
@pytest.mark.parametrize("every", [1, 6, 100])
def test_each_length_costs_what_the_plain_loop_says(chunk_length, every):
    expected = plain_costs(every)
    stretches = cost(PARAMS, CARRY, reset_every(chunks_of(chunk_length), every), range(1, 1 + max(expected)))
    for stretch in stretches:
        assert stretch.first == stretch.last
        np.testing.assert_allclose(stretch.score.loss_sum, np.sum(expected[stretch.first]), rtol=1e-12)
        assert stretch.score.weight == len(expected[stretch.first])


def test_stretches_add_up_to_the_whole_score():
    whole = make_evaluate(CELL, softmax_cross_entropy)(PARAMS, CARRY, chunks_of(4)).score
    stretches = cost(PARAMS, CARRY, chunks_of(4), doubling(23))
    assert [(s.first, s.last) for s in stretches] == [(1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 23)]
    np.testing.assert_allclose(sum(s.score.loss_sum for s in stretches), whole.loss_sum, rtol=1e-12)
    assert sum(s.score.weight for s in stretches) == whole.weight
    fewer = cost(PARAMS, CARRY, chunks_of(4), doubling(8))  # what lies beyond is left out
    assert fewer == stretches[:4]


@pytest.mark.parametrize("lasts", [[], [0, 1], [2, 2]])
def test_ends_that_do_not_rise_are_refused(lasts):
    with pytest.raises(InputError, match="context: lasts"):
        cost(PARAMS, CARRY, chunks_of(4), lasts)
    with pytest.raises(InputError, match="context: the longest"):
        doubling(0)


@pytest.mark.parametrize("steps", [0, 2.5])
def test_resets_every_no_steps_are_refused(steps):
    with pytest.raises(InputError, match=f"context: steps is {steps}; it must be a whole number"):
        next(reset_every(chunks_of(4), steps))


def test_a_stretch_without_targets_costs_no_number():
    reached, beyond = cost(PARAMS, CARRY, reset_every(chunks_of(4), 4), [4, 8])
    assert reached.score.weight == len(IDS) - 1 and np.isfinite(reached.score.nats)
    assert beyond.score.weight == 0 and np.isnan(beyond.score.nats)


def test_contexts_are_counted_from_the_symbol_that_begins_a_document_too():
    by_hand: dict[int, int] = {}
    for row in np.array_split(np.arange(len(IDS) - 1), B):
        read = 0
        for t, here in enumerate(row):
            read = 1 if t % 7 == 0 or IDS[here] == 2 else read + 1
            by_hand[read] = by_hand.get(read, 0) + 1
    stretches = cost(PARAMS, CARRY, reset_at(reset_every(chunks_of(4), 7), 2), range(1, 8))
    assert {s.first: s.score.weight for s in stretches if s.score.weight} == by_hand
    assert len(by_hand) > 3


def test_padding_is_no_context():
    """The text in chunks of three, each with two steps of padding after them."""
    for part in (lambda chunks: chunks, lambda chunks: reset_at(chunks, 2)):
        whole, apart = (cost(PARAMS, CARRY, part(text), doubling(23)) for text in (chunks_of(3), padded(chunks_of(3))))
        assert [s.score.weight for s in whole] == [s.score.weight for s in apart]
        np.testing.assert_allclose([s.score.loss_sum for s in whole], [s.score.loss_sum for s in apart], rtol=1e-12)


def padded(chunks):
    more = ((0, 2), (0, 0))
    for chunk in chunks:
        keep = np.pad(np.ones(chunk.weight.shape, bool), more)
        ids, targets, weight = (np.pad(part, more) for part in chunk)
        yield Chunk(Marked(ids, keep=keep), targets, weight)


def test_a_weight_weighs():
    halves = [chunk._replace(weight=chunk.weight / 2) for chunk in chunks_of(4)]
    for whole, half in zip(cost(PARAMS, CARRY, chunks_of(4), [1, 8]), cost(PARAMS, CARRY, halves, [1, 8]), strict=True):
        np.testing.assert_allclose(half.score.loss_sum, whole.score.loss_sum / 2, rtol=1e-12)
        np.testing.assert_allclose(half.score.nats, whole.score.nats, rtol=1e-12)
