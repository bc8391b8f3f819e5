"""A model that is told its targets: the loss and gradient are those from its logits, which are never all there."""

from functools import partial

import jax
import numpy as np
import pytest

from agreement import all_gradients, assert_close, random_like, random_params, scanned
from jaxrnn.cell import product
from jaxrnn.cells import elman, gru
from jaxrnn.compose import (
    Noise,
    activation_penalty,
    dropout,
    language_model,
    language_trunk,
    readout_of,
    stack,
    with_penalties,
)
from jaxrnn.errors import InputError
from jaxrnn.fused import trace
from jaxrnn.gradients import Chunk, bptt, given, rtrl, snap1, tell, told, truncated_bptt, uoro
from jaxrnn.gradients.budget import compiled_memory
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.sampled_cross_entropy import sampled_cross_entropy
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

    @jax.jit
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

    @jax.jit
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
    seen = jax.jit(lambda params, carry: trace(model, params, carry, ids))(params, carry)
    assert_close((seen.carry, seen.outputs), jax.jit(model.unroll)(params, carry, ids))


SAMPLED = partial(language_model, gru(HIDDEN, HIDDEN), 40, above=NOISY, vocabulary_sample=10)
MANY_IDS, MANY_TARGETS = RNG.integers(0, 40, (2, STEPS, ROWS))


@pytest.mark.parametrize("block", [None, 7], ids=["whole", "in_blocks"])
@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
def test_a_sample_is_one_for_all_rows_and_steps_however_it_is_run(block, tie):
    """By `unroll`, by `step` and by the equations; and it is the estimate of the readout's parameters and inputs."""
    model = SAMPLED(tie=tie, vocabulary_block=block)
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS, jax.random.key(0)))
    inputs = tell(Chunk(Marked(MANY_IDS, RESET, KEEP), MANY_TARGETS, WEIGHT)).inputs
    trunk = language_trunk(gru(HIDDEN, HIDDEN), 40, above=NOISY)

    @jax.jit
    def all_ways(params, carry):
        unrolled, defined = (all_gradients(f, 3, params, carry, inputs) for f in (model.unroll, scanned(model)))
        by_equations = trace(model, params, carry, inputs)
        *below, noise = carry
        hs = trunk.unroll(params, tuple(below), Marked(MANY_IDS, RESET, KEEP))[1].y
        key = jax.random.fold_in(noise.key, 1)
        losses = sampled_cross_entropy(key, hs, *readout_of(params), MANY_TARGETS, sample=10)
        return unrolled, defined, (by_equations.carry, by_equations.outputs), losses

    unrolled, defined, by_equations, losses = all_ways(params, carry)
    assert_close(unrolled, defined)
    assert_close(unrolled[0], by_equations)
    assert_close(unrolled[0][1].y, np.where(KEEP, losses, 0))


def test_a_sample_is_drawn_anew_for_each_chunk_and_never_in_evaluation():
    model, exact = SAMPLED(), SAMPLED(vocabulary_sample=None)
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS, jax.random.key(0)))
    estimator, chunk = told(bptt(model, with_penalties(given))), Chunk(MANY_IDS, MANY_TARGETS, np.ones((STEPS, ROWS)))

    @jax.jit
    def drawn(params, state):
        """Whose biases move, in three chunks; one whose target it is moves anyway."""
        found = []
        for _ in range(3):
            estimate, state = estimator.estimate(params, state, chunk)
            found.append(estimate.grads["readout"]["b"] != 0)
        return found

    first, second, third = drawn(params, estimator.init(jax.random.key(3), params, carry, chunk))
    assert np.any(first != second) and np.any(second != third) and np.any(first != third)
    assert first.sum() <= 10 + len(np.unique(MANY_TARGETS))
    silent, inputs = model.initial_carry(ROWS), tell(chunk).inputs
    (*_, top), losses = model.unroll(params, silent, inputs)
    assert top == Noise(None, None)
    assert_close(losses, exact.unroll(params, exact.initial_carry(ROWS), inputs)[1])
    assert_close(model.unroll(params, carry, MANY_IDS)[1], exact.unroll(params, (*carry[:-1], ()), MANY_IDS)[1])


@pytest.mark.parametrize(
    "rule", [rtrl, uoro, snap1, partial(truncated_bptt, horizon=2)], ids=["rtrl", "uoro", "snap1", "truncated"]
)
def test_every_kind_of_rule_takes_a_sample(rule):
    """The loss is that of the unrolled chunk; the gradient too, where nothing is truncated or drawn."""
    model = SAMPLED()
    params, carry = random_params(1, model), random_like(2, model.initial_carry(ROWS, jax.random.key(0)))
    chunk = Chunk(MANY_IDS, MANY_TARGETS, np.ones((STEPS, ROWS)))

    @jax.jit
    def both(params, carry):
        rules = (told(each(model, with_penalties(given))) for each in (rule, bptt))
        return [each.estimate(params, each.init(jax.random.key(4), params, carry, chunk), chunk)[0] for each in rules]

    stepped, unrolled = both(params, carry)
    assert_close((stepped.loss, stepped.weight), (unrolled.loss, unrolled.weight))
    assert_close(stepped.grads["readout"], unrolled.grads["readout"])
    if rule is rtrl:
        assert_close(stepped, unrolled)


def test_a_key_that_nothing_would_renew_is_refused():
    with pytest.raises(InputError, match="initial_carry: key"):
        language_model(gru(HIDDEN, HIDDEN), 40, vocabulary_sample=10).initial_carry(ROWS, jax.random.PRNGKey(0))


def test_a_sample_that_no_vocabulary_allows_is_refused_where_the_model_is_built():
    with pytest.raises(InputError, match="sample is 5; it must be a whole number, at least 6 with 40 symbols"):
        SAMPLED(vocabulary_sample=5)


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
