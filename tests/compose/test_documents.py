"""Documents told apart by the inputs: each is what it would be by itself, in values, gradients and in every rule."""

from typing import Any

import jax
import numpy as np
import pytest

from agreement import all_gradients, assert_close, random_like, random_params, scanned
from jaxrnn.cells import gru, lstm
from jaxrnn.compose import documents, dropout, embedding, language_model, stack, zoneout
from jaxrnn.compose.language_model import language_trunk, readout_of
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, bptt, rtrl, truncated_bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.types import Marked, Told

STEPS, ROWS, VOCABULARY, END = 9, 3, 5, 0
RNG = np.random.default_rng(0)
IDS, TARGETS = RNG.integers(0, VOCABULARY, (2, STEPS, ROWS))
IDS[[2, 3, 7]] = END
RESET, KEEP = RNG.random((2, STEPS, ROWS)) < 0.5


def begins(ids):
    return ids == END


def cells():
    plain = stack(embedding(VOCABULARY, 4), lstm(4, 5), gru(5, 3))
    return plain, documents(plain, begins)


@pytest.mark.parametrize("marked", [False, True], ids=["plain", "marked"])
def test_marks_by_hand_are_the_same(marked):
    """Where inputs are marked already both kinds of mark hold, and padding begins nothing."""
    plain, cell = cells()
    params, carry = random_params(1, plain), random_like(2, plain.initial_carry(ROWS))
    assert begins(IDS[~KEEP]).any() and begins(IDS[KEEP]).any()
    xs = Marked(IDS, RESET, KEEP) if marked else IDS
    by_hand = Marked(IDS, (begins(IDS) & KEEP) | RESET, KEEP) if marked else Marked(IDS, begins(IDS))

    def results(unroll, xs):
        return jax.jit(lambda: all_gradients(lambda params, carry: unroll(params, carry, xs), 3, params, carry))()

    found = results(cell.unroll, xs)
    assert_close(found, results(plain.unroll, by_hand))
    assert_close(found, results(scanned(cell), xs))


def test_a_document_is_what_it_is_by_itself():
    plain, cell = cells()
    params, carry = random_params(1, plain), random_like(2, plain.initial_carry(ROWS))
    _, ys = cell.unroll(params, carry, IDS)
    for row in range(ROWS):
        starts = np.flatnonzero(begins(IDS[:, row]))
        assert len(starts) > 1
        for start, stop in zip(starts, [*starts[1:], STEPS], strict=True):
            alone = plain.unroll(params, plain.initial_carry(1), IDS[start:stop, row : row + 1])[1]
            assert_close(ys[start:stop, row], alone[:, 0])


@pytest.mark.parametrize("rule", [rtrl, lambda *its: truncated_bptt(*its, horizon=3)], ids=["rtrl", "truncated"])
def test_rules_that_take_the_cell_apart_see_where_documents_begin(rule):
    """Every third step begins one, so that no credit is lost by a horizon of three."""
    model = documents(language_model(gru(3, 4), VOCABULARY), begins)
    ids = np.where(np.arange(STEPS)[:, None] % 3 == 0, END, np.maximum(IDS, 1))
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS))
    chunk: Any = Chunk(ids, TARGETS, np.ones(ids.shape))

    def estimate(estimator):
        state = estimator.init(jax.random.key(0), params, carry, chunk)
        return jax.jit(lambda: estimator.estimate(params, state, chunk)[0])()

    assert_close(estimate(rule(model, softmax_cross_entropy)), estimate(bptt(model, softmax_cross_entropy)))


@pytest.mark.parametrize("block", [None, 2], ids=["whole", "blocks"])
@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
def test_a_language_model_begins_anew_with_its_logits_its_losses_and_its_trunk(tie, block):
    sizes = {"vocabulary_size": VOCABULARY, "above": dropout(0.5)}
    model = language_model(gru(4, 4), tie=tie, vocabulary_block=block, begins_at=END, **sizes)
    plain = language_model(gru(4, 4), tie=tie, vocabulary_block=block, **sizes)
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS))
    after, logits = model.unroll(params, carry, IDS)
    assert_close((after, logits), plain.unroll(params, carry, Marked(IDS, begins(IDS))))
    assert_close(model.unroll(params, carry, Told(IDS, TARGETS)), (after, softmax_cross_entropy(logits, TARGETS)))
    trunk = language_trunk(gru(4, 4), begins_at=END, **sizes)
    w, b = readout_of(params)
    assert_close(np.asarray(trunk.unroll(params, carry[:-1], IDS)[1]) @ w + b, np.asarray(logits))


def test_noise_goes_on_across_a_beginning():
    cell = documents(stack(embedding(VOCABULARY, 40), dropout(0.5)), begins)
    carry = cell.initial_carry(ROWS, jax.random.key(0))
    _, ys = cell.unroll({"0": {"w": np.ones((VOCABULARY, 40))}, "1": {}}, carry, np.zeros((STEPS, ROWS), int))
    assert len({step.tobytes() for step in np.asarray(ys)}) == STEPS


@pytest.mark.parametrize("marks", [{}, {"keep": KEEP}, {"reset": RESET}], ids=["plain", "keep", "reset"])
def test_a_model_that_is_told_its_targets_sees_where_documents_begin(marks):
    """Beginnings are looked for in the input, without the target beside it."""
    model = documents(language_model(gru(3, 4), VOCABULARY), begins)
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS))
    after, logits = model.unroll(params, carry, Marked(IDS, **marks))
    losses = np.where(marks.get("keep", True), softmax_cross_entropy(logits, TARGETS), 0)
    told = Marked(Told(IDS, TARGETS), **marks) if marks else Told(IDS, TARGETS)
    assert_close(model.unroll(params, carry, told), (after, losses))


@pytest.mark.parametrize("key", [None, jax.random.key(0)], ids=["evaluation", "training"])
@pytest.mark.parametrize("around", [False, True], ids=["within zoneout", "around zoneout"])
def test_units_that_stay_do_not_cross_a_beginning(around, key):
    """At a rate of 1 all units stay: zero, from the first beginning on, and with marks of nothing as without."""

    def positive(xs):
        return xs[..., 0] > 0

    cell = documents(zoneout(gru(1, 4), 1.0), positive) if around else zoneout(documents(gru(1, 4), positive), 1.0)
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(ROWS, key))
    xs = RNG.normal(size=(STEPS, ROWS, 1))
    begun = np.logical_or.accumulate(positive(xs))
    after, ys = cell.unroll(params, carry, xs)
    np.testing.assert_array_equal(ys, np.where(begun[..., None], 0, carry[1]))
    assert_close(cell.unroll(params, carry, Marked(xs)), (after, ys), tolerance=0)
    (_, h), _ = cell.unroll(params, carry, Marked(xs, keep=np.zeros(begun.shape, bool)))
    np.testing.assert_array_equal(h, carry[1])  # padding begins nothing


def test_what_begins_is_an_array():
    cell = documents(gru(1, 4), lambda xs: False)
    with pytest.raises(InputError, match=r"documents: begins\(x\) is False; it must be an array of booleans"):
        cell.unroll(random_params(1, cell), cell.initial_carry(ROWS), Marked(np.ones((STEPS, ROWS, 1)), keep=KEEP))
