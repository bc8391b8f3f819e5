"""A model that is told its targets: the loss and gradient are those from its logits, which are never all there."""

from functools import partial

import jax
import numpy as np
import pytest

from agreement import all_gradients, assert_close, quick_jit, random_like, random_params, scanned
from jaxrnn.cell import product
from jaxrnn.cells import elman, gru
from jaxrnn.compose import activation_penalty, dropout, language_model, stack, with_penalties
from jaxrnn.fused import trace
from jaxrnn.gradients import Chunk, bptt, given, rtrl, tell, told
from jaxrnn.gradients.budget import compiled_memory
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.types import Marked, Penalized

STEPS, ROWS, HIDDEN, VOCABULARY = 5, 2, 4, 7
RNG = np.random.default_rng(0)
IDS, TARGETS = RNG.integers(0, VOCABULARY, (2, STEPS, ROWS))
RESET, KEEP = RNG.random((STEPS, ROWS)) < 0.3, RNG.random((STEPS, ROWS)) < 0.7
WEIGHT = RNG.random((STEPS, ROWS)) * KEEP
NOISY = stack(dropout(0.3), activation_penalty(0.5))
BUILD = partial(language_model, gru(HIDDEN, HIDDEN), VOCABULARY, above=NOISY, vocabulary_block=3)


@pytest.mark.parametrize(("rule", "tie"), [(bptt, True), (rtrl, False)], ids=["by_unroll-tied", "by_step-untied"])
def test_estimates_are_those_from_the_logits(rule, tie):
    """With marks, noise and a penalty; in blocks where the estimator unrolls, whole where it steps."""
    model = BUILD(tie=tie)
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS, jax.random.key(0)))
    chunk = Chunk(Marked(IDS, RESET, KEEP), TARGETS, WEIGHT)
    by_logits = rule(model, with_penalties(softmax_cross_entropy))
    by_itself = told(rule(model, with_penalties(given)))

    @quick_jit
    def both(params, carry):
        return [each.estimate(params, each.init(None, params, carry, chunk), chunk) for each in (by_itself, by_logits)]

    (ours, our_state), (theirs, their_state) = both(params, carry)
    assert_close(ours, theirs)
    assert_close(our_state, their_state)


@pytest.mark.parametrize("marks", [False, True], ids=["plain", "marked"])
def test_unroll_is_the_scan_of_step(marks):
    model = BUILD()
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS, jax.random.key(0)))
    inputs = tell(Chunk(Marked(IDS, RESET, KEEP) if marks else IDS, TARGETS, WEIGHT)).inputs

    @quick_jit
    def both(params, carry):
        return [all_gradients(f, 3, params, carry, inputs) for f in (model.unroll, scanned(model))]

    unrolled, defined = both(params, carry)
    assert_close(unrolled, defined)
    (_, measured), _ = unrolled
    assert isinstance(measured, Penalized) and measured.y.shape == (STEPS, ROWS)
    assert not marks or not np.any(np.asarray(measured.y)[~KEEP])


@pytest.mark.parametrize("block", [None, 3])
def test_who_is_not_told_gives_logits_and_whose_recurrence_is_used_gives_the_same(block):
    model = language_model(gru(HIDDEN, HIDDEN), VOCABULARY, vocabulary_block=block)
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS))
    inputs = tell(Chunk(IDS, TARGETS, WEIGHT)).inputs
    last, logits = model.unroll(params, carry, IDS)
    assert logits.shape == (STEPS, ROWS, VOCABULARY)
    assert_close(model.unroll(params, carry, inputs), (last, softmax_cross_entropy(logits, TARGETS)))
    first = jax.tree.map(lambda a: a[0], inputs)
    noted = []
    recur = partial(model.recurrence.recur, dot=product, note=lambda name, value: noted.append(name) or value)
    for x in (IDS[0], first):
        assert_close(recur(params, carry, model.recurrence.project(params, x)), model.step(params, carry, x))
    assert noted and noted == 2 * noted[: len(noted) // 2]  # the same, told or not


def test_the_trace_of_a_model_begins_anew_where_its_unroll_does():
    model = language_model(gru(HIDDEN, HIDDEN), VOCABULARY, begins_at=0)
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS))
    ids = np.array(IDS) % 3
    assert (ids[1:] == 0).any()
    seen = quick_jit(lambda params, carry: trace(model, params, carry, ids))(params, carry)
    assert_close((seen.carry, seen.outputs), quick_jit(model.unroll)(params, carry, ids))


def test_the_memory_of_an_estimate_does_not_grow_with_the_vocabulary():
    """But for one copy of the embedding, whose gradient is scattered; the logits alone are many times that."""
    steps, rows = 32, 8

    def temporary(words, block):
        model = language_model(elman(4, 4), words, vocabulary_block=block)
        estimator = told(bptt(model, given)) if block else bptt(model, softmax_cross_entropy)
        ids = np.zeros((steps, rows), int)
        params = jax.eval_shape(model.init, jax.random.key(0))
        return compiled_memory(estimator, params, model.initial_carry(rows), Chunk(ids, ids, np.ones((steps, rows))))

    embedding, logits = 4 * 1000 * 8, steps * rows * 1000 * 8
    small, large, whole = (temporary(words, block) for words, block in ((3000, 50), (4000, 50), (4000, None)))
    assert large - small <= embedding < logits / 50
    assert whole > 4 * logits > 5 * large
