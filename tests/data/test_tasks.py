"""Every task against its definition in plain NumPy, its floor against all outcomes or many, and its cuts in time."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_params
from jaxrnn.cells import gru
from jaxrnn.compose import with_readout
from jaxrnn.data.influence_balancing import OPTIMUM, balancing_cell, influence_balancing
from jaxrnn.data.tasks import (
    adding,
    adding_floor,
    copy_memory,
    copy_memory_floor,
    cut,
    join,
    temporal_order,
    temporal_order_floor,
)
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import softmax_cross_entropy, squared_error
from jaxrnn.types import Marked

ROWS = 2000
KEY = jax.random.key(0)


def symbols_of(chunk):
    """The symbols `[T, B]` of one-hot inputs, which must be nothing but ones and zeros."""
    xs = np.asarray(chunk.inputs.x)
    assert np.all(np.sort(xs, axis=-1)[..., :-1] == 0) and np.all(xs.max(axis=-1) == 1)
    return xs.argmax(axis=-1)


def assert_counts_last(chunk, steps):
    """Each row starts anew at its first step and nowhere else, and its loss counts at the last steps only."""
    length = len(chunk.weight)
    assert np.array_equal(chunk.inputs.reset, np.arange(length)[:, None] + np.zeros(chunk.weight.shape[1]) == 0)
    assert np.array_equal(chunk.weight, (np.arange(length) >= length - steps)[:, None] * np.ones(chunk.weight.shape[1]))


def is_uniform(counts):
    """Whether counts are those of equally likely outcomes, within five standard deviations."""
    n, p = counts.sum(), 1 / counts.size
    return np.all(np.abs(counts - n * p) < 5 * math.sqrt(n * p * (1 - p)))


@pytest.mark.parametrize(("delay", "symbols", "alphabet"), [(1, 1, 2), (7, 3, 4)])
def test_copy_memory(delay, symbols, alphabet):
    chunk = copy_memory(KEY, ROWS, delay=delay, symbols=symbols, alphabet=alphabet)
    seen, targets = symbols_of(chunk), np.asarray(chunk.targets)
    assert seen.shape == targets.shape == (delay + 2 * symbols, ROWS)
    for row in range(ROWS):
        blanks, (shown, told) = [alphabet], (seen[:symbols, row], targets[symbols + delay :, row])
        assert np.array_equal(shown, told) and shown.max() < alphabet
        waiting = [*blanks * (delay - 1), alphabet + 1, *blanks * symbols]
        assert seen[symbols:, row].tolist() == waiting
    assert is_uniform(np.bincount(seen[:symbols].ravel(), minlength=alphabet))
    assert_counts_last(chunk, symbols)


def test_the_floor_of_copy_memory():
    """Over all sequences there are, the best guess at each step told, which sees a blank, costs log A."""
    alphabet, symbols = 3, 2
    told = np.array(list(itertools.product(range(alphabet), repeat=symbols)))
    for at_step in told.T:
        p = np.bincount(at_step, minlength=alphabet) / len(at_step)
        assert -np.mean(np.log(p[at_step])) == pytest.approx(copy_memory_floor(alphabet), rel=1e-12)


def test_adding():
    chunk = adding(KEY, ROWS, steps=9)
    numbers, marks = np.moveaxis(np.asarray(chunk.inputs.x), -1, 0)
    targets = np.asarray(chunk.targets)
    for row in range(ROWS):
        first, second = np.flatnonzero(marks[:, row])
        assert first < 4 <= second and set(marks[:, row]) == {0, 1}
        assert targets[-1, row] == pytest.approx(numbers[first, row] + numbers[second, row], rel=1e-12)
    assert is_uniform(marks[:4].sum(axis=1)) and is_uniform(marks[4:].sum(axis=1))
    assert numbers.min() >= 0 and numbers.max() < 1 and is_uniform(np.histogram(numbers, 10, (0, 1))[0])
    assert_counts_last(chunk, 1)


def test_the_floor_of_adding():
    """All pairs of the middles of n intervals have the variance (1 - 1 / n^2) / 6; and so has what is drawn."""
    n = 200
    middles = (np.arange(n) + 0.5) / n
    assert np.var(middles[:, None] + middles) == pytest.approx(adding_floor() * (1 - n**-2), rel=1e-12)
    targets = np.asarray(adding(KEY, 20_000, steps=4).targets[-1])
    assert np.mean((targets - 1) ** 2) == pytest.approx(adding_floor(), abs=5 * np.std((targets - 1) ** 2) / 141)


@pytest.mark.parametrize("steps", [10, 34])
def test_temporal_order(steps):
    chunk = temporal_order(KEY, ROWS, steps=steps)
    seen, targets = symbols_of(chunk), np.asarray(chunk.targets)
    for row in range(ROWS):
        relevant = np.flatnonzero(seen[:, row] >= 4)
        assert [10 * t // steps for t in relevant] == [1, 5] or steps % 10
        assert len(relevant) == 2 and relevant[0] < 0.2 * steps <= 0.5 * steps - 1 <= relevant[1] < 0.6 * steps
        order = ["XX", "XY", "YX", "YY"].index("".join("XY"[seen[t, row] - 4] for t in relevant))
        assert targets[-1, row] == order
    assert is_uniform(np.bincount(seen[seen < 4]))
    assert_counts_last(chunk, 1)


def test_the_floor_of_temporal_order():
    """The four orders are equally frequent, whatever distractor stands at the last step."""
    chunk = temporal_order(KEY, 10 * ROWS, steps=10)
    last, order = symbols_of(chunk)[-1], np.asarray(chunk.targets[-1])
    table = np.stack([np.bincount(order[last == symbol], minlength=4) for symbol in range(4)])
    assert is_uniform(table)
    p = table / table.sum(axis=1, keepdims=True)
    assert -np.mean(np.log(p[last, order])) == pytest.approx(temporal_order_floor(), abs=2e-3)


def test_influence_balancing():
    """Against a loop over units, and at rest: the first unit is -6 theta, so that -1/6 has no loss at all."""
    cell, chunk = balancing_cell(0.3), influence_balancing(2, steps=5)
    params, carry = cell.init(None), cell.initial_carry(2)
    s, by_hand = np.ones(23), []
    for _ in range(5):
        s = np.array([0.5 * s[i] + (0.5 * s[i + 1] if i < 22 else 0) + 0.3 * (1 if i < 10 else -1) for i in range(23)])
        by_hand.append(s[0])
    _, ys = cell.unroll(params, carry, chunk.inputs)
    assert_close(np.asarray(ys), np.broadcast_to(np.array(by_hand)[:, None, None], (5, 2, 1)))
    estimator = bptt(cell, squared_error)
    estimate, _ = estimator.estimate(params, estimator.init(None, params, carry, chunk), chunk)
    assert float(estimate.loss) == pytest.approx(2 * sum(0.5 * (y - 1) ** 2 for y in by_hand), rel=1e-12)
    resting, _ = cell.unroll({"theta": jnp.asarray(OPTIMUM)}, cell.initial_carry(1), jnp.zeros((400, 1, 0)))
    assert float(resting[0, 0]) == pytest.approx(1, abs=1e-12)


def test_draws_are_functions_of_the_key():
    """The same again for the same key, also when compiled, and something else for another one."""
    for draw in (
        lambda key: copy_memory(key, 4, delay=3),
        lambda key: adding(key, 4, steps=8),
        lambda key: temporal_order(key, 4, steps=10),
    ):
        once, again, other = draw(KEY), jax.jit(draw)(KEY), draw(jax.random.key(1))
        assert jax.tree.all(jax.tree.map(np.array_equal, once, again))
        assert not np.array_equal(once.inputs.x, other.inputs.x)
        assert not np.array_equal(once.targets, other.targets)


@pytest.mark.parametrize("length", [1, 4, 5, 7, 30])
def test_a_stream_in_pieces_is_its_sequences(length):
    """Cut anywhere, fed piece by piece with the carry handed on: every sequence has the loss that it has by itself."""
    cell = with_readout(gru(6, 3), 4)
    params, carry = random_params(1, cell), cell.initial_carry(2)
    sequences = jax.vmap(lambda key: temporal_order(key, 2, steps=10))(jax.random.split(KEY, 3))
    stream = join(sequences)
    assert np.array_equal(np.flatnonzero(stream.inputs.reset[:, 0]), [0, 10, 20])
    pieces = cut(stream, length)
    assert pieces.weight.shape == (-(-30 // length), length, 2)
    estimator = bptt(cell, softmax_cross_entropy)

    def losses(chunks):
        start = estimator.init(None, params, carry, jax.tree.map(lambda a: a[0], chunks))

        def one(state, chunk):
            estimate, state = estimator.estimate(params, state, chunk)
            return state, estimate.loss

        return jax.lax.scan(one, start, chunks)[1]

    alone, by_piece = jax.jit(lambda: (losses(sequences), losses(pieces)))()
    ends = [(30 + -30 % length - 30 + 10 * n - 1) // length for n in (1, 2, 3)]  # the piece that each sequence ends in
    expected = np.zeros(len(by_piece))
    np.add.at(expected, ends, np.asarray(alone))
    assert_close(np.asarray(by_piece), expected)


def test_padding_keeps_what_is_already_marked():
    """What was padding stays padding, and what is added in front is marked in all ways."""
    keep = jnp.array([[True], [False], [True]])
    chunk = Chunk(Marked(jnp.ones((3, 1, 2)), keep=keep), jnp.ones((3, 1)), jnp.ones((3, 1)))
    pieces = cut(chunk, 2)
    assert pieces.inputs.keep[..., 0].astype(int).tolist() == [[0, 1], [0, 1]]
    assert pieces.weight[..., 0].tolist() == [[0, 1], [1, 1]] and pieces.inputs.reset is None


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: copy_memory(KEY, 1, delay=0), "copy_memory: delay"),
        (lambda: copy_memory(KEY, 1, delay=2.5), "copy_memory: delay"),
        (lambda: copy_memory(KEY, 1, delay=1, alphabet=0), "copy_memory: alphabet"),
        (lambda: adding(KEY, 1, steps=1), "adding: steps"),
        (lambda: adding(KEY, 2.5, steps=2), "adding: rows"),
        (lambda: temporal_order(KEY, 1, steps=9), "temporal_order: steps"),
        (lambda: temporal_order(KEY, 0, steps=10), "temporal_order: rows"),
        (lambda: cut(adding(KEY, 1, steps=2), 0), "cut: length"),
    ],
)
def test_what_cannot_be_is_refused(call, names):
    with pytest.raises(InputError, match=names):
        call()
