"""Every shape of task is a chunk with weights: against each row by itself, unpadded, its loss where it belongs."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params
from jaxrnn.cells import elman, gru
from jaxrnn.compose import with_readout
from jaxrnn.gradients import Chunk, bptt, checkpointed_bptt
from jaxrnn.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from jaxrnn.types import Marked
from table import ESTIMATORS

INPUT, HIDDEN, STEPS = 2, 3, 5
LENGTHS = (5, 3, 0, 1)  # of the rows of a batch, one of them empty

LOSSES = {"sigmoid": (sigmoid_cross_entropy, 1), "softmax": (softmax_cross_entropy, 3), "square": (squared_error, 2)}

# For a row of n steps, which of them have a loss; how many steps the rows have; and the loss.
SHAPES = {
    "one_to_one": (lambda n: [0], (1, 1), "sigmoid"),
    "one_to_many": (lambda n: range(n), LENGTHS, "softmax"),  # after the first symbol it reads what it is to write
    "many_to_one_binary": (lambda n: [n - 1], LENGTHS, "sigmoid"),
    "many_to_one_classes": (lambda n: [n - 1], LENGTHS, "softmax"),
    "aligned": (lambda n: range(n), LENGTHS, "square"),
    "delayed": (lambda n: range(n // 2, n), LENGTHS, "softmax"),
    "here_and_there": (lambda n: range(0, n, 2), LENGTHS, "square"),
}


def targets_of(loss, shape, rng):
    """Random targets that suit a loss."""
    if loss == "square":
        return rng.normal(size=(*shape, 2))
    return rng.integers(0, 2 if loss == "sigmoid" else 3, shape, dtype=np.int32)


def alone(cell, loss, params, xs, targets, weight):
    """The loss of one row by itself, in a plain loop of steps: `xs [n, I]`, `targets [n, ...]`, `weight [n]`."""
    carry, total = cell.initial_carry(()), jnp.zeros(())
    for t in range(len(xs)):
        carry, y = cell.step(params, carry, xs[t])
        total += weight[t] * loss(y, targets[t])
    return total


@cache
def in_three_ways(loss, lengths):
    """Loss and gradient of rows of such lengths, compiled once: of their weights, row by row and as two estimates."""
    function, output_size = LOSSES[loss]
    cell = with_readout(elman(INPUT, HIDDEN), output_size)
    params, rng = random_params(1, cell), np.random.default_rng(2)
    steps, rows = max(lengths), len(lengths)
    xs, targets = rng.normal(size=(steps, rows, INPUT)), targets_of(loss, (steps, rows), rng)
    keep = np.arange(steps)[:, None] < np.array(lengths)
    chunk = Chunk(Marked(np.where(keep[..., None], xs, np.nan), keep=keep), targets, np.ones((steps, rows)))

    def by_rows(params, weight):
        return sum(
            alone(cell, function, params, xs[:length, row], targets[:length, row], weight[:length, row])
            for row, length in enumerate(lengths)
        )

    def estimating(estimator):
        start = estimator.init(jax.random.key(3), params, cell.initial_carry(rows), chunk)
        estimate = jax.jit(estimator.estimate)
        return lambda weight: estimate(params, start, chunk._replace(weight=weight))[0]

    estimators = bptt(cell, function), checkpointed_bptt(cell, function, segment_length=2)
    return [partial(jax.jit(jax.value_and_grad(by_rows)), params), *map(estimating, estimators)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_padded_chunk_is_its_rows(shape):
    """Loss and gradient of the chunk, by two exact estimators, are the sums over the rows."""
    losing, lengths, loss = SHAPES[shape]
    weight = np.zeros((max(lengths), len(lengths)))
    for row, length in enumerate(lengths):
        weight[list(losing(length)) if length else [], row] = 1
    by_rows, *estimates = in_three_ways(loss, lengths)
    expected = by_rows(weight)
    for estimate in estimates:
        found = estimate(weight)
        assert_close((found.loss, found.grads), expected)
        assert found.weight == weight.sum()


def test_encoder_and_decoder_are_one_cell():
    """Reading to the middle, then decoding from the state alone: two loops, and one chunk with blanks and weights."""
    cell, rng = with_readout(gru(INPUT, HIDDEN), 3), np.random.default_rng(4)
    params, read = random_params(5, cell), rng.normal(size=(STEPS, 2, INPUT))
    targets, blank = rng.integers(0, 3, (STEPS, 2), dtype=np.int32), np.zeros((2, INPUT))

    def encode_then_decode(params):
        carry, total = cell.initial_carry(2), 0.0
        for x in read:
            carry, _ = cell.step(params, carry, x)
        for target in targets:
            carry, y = cell.step(params, carry, blank)
            total += softmax_cross_entropy(y, target).sum()
        return total

    inputs = np.concatenate([read, np.broadcast_to(blank, read.shape)])
    weight = np.repeat([0.0, 1.0], STEPS)[:, None] * np.ones(2)
    chunk = Chunk(inputs, np.concatenate([np.zeros_like(targets), targets]), weight)
    estimator = bptt(cell, softmax_cross_entropy)
    start = estimator.init(jax.random.key(6), params, cell.initial_carry(2), chunk)
    estimate, _ = jax.jit(estimator.estimate)(params, start, chunk)
    assert_close((estimate.loss, estimate.grads), jax.jit(jax.value_and_grad(encode_then_decode))(params))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_chunk_of_no_weight_has_no_gradient(name):
    """Exactly 0, whatever the targets are, and the carry goes on as it does with weights."""
    cell, rng = with_readout(elman(INPUT, HIDDEN), 2), np.random.default_rng(7)
    params, carry = random_params(8, cell), random_like(9, cell.initial_carry(2))
    xs, targets = rng.normal(size=(STEPS, 2, INPUT)), rng.normal(size=(STEPS, 2, 2))
    estimator = ESTIMATORS[name].build(cell, squared_error, 2)
    weighed, silent = (
        Chunk(xs, targets, np.ones((STEPS, 2))),
        Chunk(xs, np.full_like(targets, np.nan), np.zeros((STEPS, 2))),
    )
    start = estimator.init(jax.random.key(10), params, carry, weighed)
    estimate = jax.jit(estimator.estimate)
    (some, expected), (nothing, state) = estimate(params, start, weighed), estimate(params, start, silent)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(nothing))
    assert any(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(some))
    assert_close(state.carry, expected.carry, tolerance=0)


def test_a_target_that_is_missing_reaches_nothing():
    """Where the weight is 0 the target may be NaN, as in a series with gaps: the gradient does not see it."""
    cell, rng = with_readout(gru(INPUT, HIDDEN), 2), np.random.default_rng(11)
    params = random_params(12, cell)
    weight = (rng.random((STEPS, 2)) < 0.5).astype(float)
    assert 0 < weight.sum() < weight.size
    chunk = Chunk(rng.normal(size=(STEPS, 2, INPUT)), rng.normal(size=(STEPS, 2, 2)), weight)
    gaps = chunk._replace(targets=np.where(weight[..., None] == 0, np.nan, chunk.targets))
    estimator = bptt(cell, squared_error)
    estimate = jax.jit(estimator.estimate)
    start = estimator.init(jax.random.key(13), params, cell.initial_carry(2), chunk)
    assert_close(estimate(params, start, gaps)[0], estimate(params, start, chunk)[0], tolerance=0)
