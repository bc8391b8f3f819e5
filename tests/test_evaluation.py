"""Scores against a plain loop, independent of the chunks, and unnoticed by training."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.cells.lstm import lstm
from jaxrnn.compose import dropout, language_model
from jaxrnn.data.chunks import make_streams, number_of_chunks, read
from jaxrnn.errors import InputError
from jaxrnn.evaluation import Score, make_evaluate
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.optimizers import optimizer
from jaxrnn.stepwise import from_step
from jaxrnn.training import init, make_train_step, stack_chunks

V, B = 6, 3
IDS = np.random.default_rng(0).integers(V, size=48)
CELL = language_model(lstm(3, 5), V)
PARAMS = jax.tree.map(lambda w: 2.0 * w, CELL.init(jax.random.key(0)))
evaluate = make_evaluate(CELL, softmax_cross_entropy)


def chunks_of(chunk_length, batch_size=B):
    streams = make_streams(IDS, batch_size, chunk_length, drop_tail=False)
    return [read(streams, index) for index in range(number_of_chunks(streams))]


def plain_score(batch_size):
    """Stream by stream and symbol by symbol, in NumPy but for the cell's step."""
    step = jax.jit(CELL.step)
    total, start = 0.0, 0
    for length in [len(part) for part in np.array_split(IDS[1:], batch_size)]:
        carry = CELL.initial_carry((1,))
        for t in range(start, start + length):
            carry, logits = step(PARAMS, carry, IDS[t : t + 1].astype(np.int32))
            logits = np.asarray(logits[0])
            total += np.log(np.sum(np.exp(logits - logits.max()))) + logits.max() - logits[IDS[t + 1]]
        start += length
    assert start == len(IDS) - 1
    return total / (len(IDS) - 1)


@pytest.mark.parametrize("batch_size", [1, B])
def test_a_score_equals_the_plain_loop_whatever_the_chunk_length(batch_size):
    expected = plain_score(batch_size)
    for chunk_length in (1, 5, 16, 100):
        result = evaluate(PARAMS, CELL.initial_carry((batch_size,)), chunks_of(chunk_length, batch_size))
        np.testing.assert_allclose(result.score.nats, expected, rtol=1e-12)
        assert result.score.weight == result.protocol.targets == len(IDS) - 1
        assert result.protocol.streams == batch_size


def test_the_carry_is_passed_on_and_handed_back():
    chunks, carry = chunks_of(5), CELL.initial_carry((B,))
    whole = evaluate(PARAMS, carry, chunks)
    first = evaluate(PARAMS, carry, chunks[:1])
    rest = evaluate(PARAMS, first.carry, chunks[1:])
    np.testing.assert_allclose(first.score.loss_sum + rest.score.loss_sum, whole.score.loss_sum, rtol=1e-12)
    jax.tree.map(np.testing.assert_array_equal, rest.carry, whole.carry)
    anew = evaluate(PARAMS, carry, chunks[1:])
    assert abs(anew.score.loss_sum - rest.score.loss_sum) > 1e-3  # a carry set to zero would be noticed


def test_padding_counts_for_nothing():
    def scramble(chunk):
        return chunk._replace(
            inputs=np.where(chunk.weight == 0, V - 1, chunk.inputs),
            targets=np.where(chunk.weight == 0, 1, chunk.targets),
        )

    chunks, carry = chunks_of(10), CELL.initial_carry((B,))
    whole, other = (evaluate(PARAMS, carry, some) for some in (chunks, map(scramble, chunks)))
    assert whole.score == other.score
    assert whole.protocol.tail == "13 places of padding"  # 2 chunks of 10 steps, 3 streams, 47 targets


def test_units():
    score = Score(loss_sum=6 * math.log(8), weight=6)
    np.testing.assert_allclose([score.nats, score.bits, score.perplexity], [math.log(8), 3, 8], rtol=1e-15)
    assert Score(1e6, 1).perplexity == math.inf
    assert math.isnan(Score(math.nan, 1).perplexity)
    nothing = Score(0.0, 0.0)
    assert all(map(math.isnan, (nothing.nats, nothing.bits, nothing.perplexity)))


def test_weights_weigh():
    chunk = chunks_of(16)[0]
    heavy = chunk._replace(weight=np.array([[2.0, 0.5, 0.5]]) * chunk.weight)
    rows = [
        evaluate(PARAMS, CELL.initial_carry((1,)), [jax.tree.map(lambda a, i=i: a[:, [i]], chunk)]) for i in range(B)
    ]
    sums = [row.score.loss_sum for row in rows]
    weighed = evaluate(PARAMS, CELL.initial_carry((B,)), [heavy]).score
    np.testing.assert_allclose(weighed.loss_sum, 2 * sums[0] + sum(sums[1:]) / 2, rtol=1e-12)
    assert weighed.weight == 2 * 16 + (16 + 15) / 2


@pytest.mark.parametrize("chunks", [[], [chunks_of(5)[0]._replace(weight=np.zeros((5, B), np.float32))]])
def test_nothing_to_score_is_refused(chunks):
    with pytest.raises(InputError, match="number of targets is 0; it must be more than 0"):
        evaluate(PARAMS, CELL.initial_carry((B,)), chunks)


def test_training_does_not_notice_an_evaluation():
    model = language_model(lstm(3, 5), V, above=dropout(0.3))  # with noise, whose keys an evaluation must not touch
    estimator, adam, key = bptt(model, softmax_cross_entropy), optimizer("adam", 0.01, clip_norm=1.0), jax.random.key(1)
    chunks, train_step = chunks_of(5), make_train_step(bptt(model, softmax_cross_entropy), adam)
    look = partial(make_evaluate(model, softmax_cross_entropy), carry=model.initial_carry((B,)), chunks=chunks)

    def train(looking):
        state = init(estimator, adam, key, model.init(key), model.initial_carry((B,), key), chunks[0])
        for chunk in chunks:
            if looking:
                look(state.params)
            state, _ = train_step(state, stack_chunks([chunk]))
        return state

    def bits(leaf):
        keys = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if keys else leaf).tobytes()

    alone, watched = train(looking=False), train(looking=True)
    assert jax.tree.map(bits, alone) == jax.tree.map(bits, watched)


@pytest.mark.parametrize("weight", [[1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5], [2.0, 2.0, 0.5, 0.5]])
def test_errors_may_be_counted_as_truth_values_or_as_numbers(weight):
    """Two rows of four are wrong; each counts for its weight, whatever the loss is made of."""
    oracle = from_step(lambda key: {}, lambda shape, key=None: jnp.zeros(shape), lambda params, carry, x: (carry, x))
    wrong = np.array([[0, 0, 1, 1]])
    chunk = Chunk(wrong, np.zeros_like(wrong), np.array([weight]))
    for kind in (bool, int, float):
        loss = lambda outputs, targets, kind=kind: (outputs != targets).astype(kind)  # noqa: E731
        score = make_evaluate(oracle, loss)({}, oracle.initial_carry((4,)), [chunk]).score
        assert score.nats == pytest.approx(sum(weight[2:]) / sum(weight), rel=1e-12)
