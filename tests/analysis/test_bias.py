"""The bias of truncation is that of its definition: one big gradient with `stop_gradient` where credit is cut."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import random_like, random_params
from jaxrnn.analysis.bias import Bias, Horizon, answer, chosen_horizon, truncation_bias
from jaxrnn.cells import lstm
from jaxrnn.compose import language_model, locked_dropout, stack
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk
from jaxrnn.gradients.decay import certify, credit_by_lag, mean_credit
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.stepwise import from_step
from jaxrnn.trees import join, split_carry

STEPS, ROWS, WINDOWS, SYMBOLS = 24, 2, 3, 5
LINEAR = from_step(
    init=lambda key: {"a": jnp.asarray(0.9)},
    initial_carry=lambda batch_shape, key=None: jnp.full((*batch_shape, 1), 10.0),
    step=lambda params, h, x: (params["a"] * h + x,) * 2,
)


@pytest.fixture(autouse=True)
def compiled_in_haste():
    """What `truncation_bias` compiles runs a few times only."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def slopes(outputs, targets):
    """A linear loss: the targets are its slopes."""
    return jnp.sum(outputs * targets, axis=-1)


def recurrent(grads):
    return grads["core"]


def model():
    cell = language_model(lstm(2, 3), SYMBOLS)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, SYMBOLS, (2, STEPS, ROWS))
    weight = rng.random((STEPS, ROWS)) * (rng.random((STEPS, ROWS)) < 0.8)
    return cell, random_params(1, cell), random_like(2, cell.initial_carry(ROWS)), Chunk(ids[0], ids[1], weight)


def gradient_by_definition(cell, loss, params, carry, chunk):
    """A function of where credit is cut and which steps' losses count, bool `[T]` each."""

    def total(params, cut, counts):
        def body(carry, now):
            cut, counts, x, target, weight = now
            floats, others = split_carry(carry)
            floats = jax.tree.map(lambda a: jnp.where(cut, jax.lax.stop_gradient(a), a), floats)
            carry, y = cell.step(params, join(floats, others), x)
            return carry, jnp.sum(counts * weight * loss(y[None], target[None])[0])

        return jnp.sum(jax.lax.scan(body, carry, (cut, counts, *chunk))[1])

    gradient = jax.jit(lambda cut, counts: recurrent(jax.grad(total)(params, cut, counts)))
    return lambda cut, counts: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient(cut, counts))])


def test_bias_cosine_and_deviation_are_those_of_the_definition():
    """Among them a horizon that does not divide the window, and one as long as it."""
    cell, params, carry, chunk = model()
    done = []
    found = truncation_bias(
        cell,
        softmax_cross_entropy,
        params,
        carry,
        chunk,
        [8, 1, 3],
        windows=WINDOWS,
        select=recurrent,
        segment_length=5,
        progress=lambda *counts: done.append(counts),
    )
    gradient = gradient_by_definition(cell, softmax_cross_entropy, params, carry, chunk)
    steps, everything, length = np.arange(STEPS), np.ones(STEPS), STEPS // WINDOWS
    exact = gradient(steps < 0, everything)
    size = np.linalg.norm(exact)
    assert [row.horizon for row in found.rows] == [1, 3, 8]
    for row in found.rows:
        cut = steps % length % row.horizon == 0
        each = np.stack([gradient(cut, (steps // length == n).astype(float)) for n in range(WINDOWS)])
        whole = each.sum(axis=0)
        np.testing.assert_allclose(whole, gradient(cut, everything), rtol=0, atol=1e-12)
        assert row.relative_bias == pytest.approx(np.linalg.norm(whole - exact) / size, abs=1e-12)
        assert row.cosine == pytest.approx(whole @ exact / size / np.linalg.norm(whole), abs=1e-12)
        spread = np.sqrt(each.var(axis=0, ddof=1).sum()) / (size / WINDOWS)
        assert row.deviation == pytest.approx(spread, abs=1e-12)
        assert row.relative_bias > 1e-3 and row.seconds_per_step > 0
    assert found.rows[0].temp_bytes < found.rows[-1].temp_bytes
    assert (found.steps, found.windows, found.exact.horizon) == (STEPS, WINDOWS, STEPS)
    assert done == [(n, 5) for n in range(1, 6)]


def test_the_certificate_is_that_of_credit_from_where_each_window_really_is():
    """The longest horizon is shorter than a window, so that the carry has to be carried on to where credit begins."""
    cell, params, carry, chunk = model()
    found = truncation_bias(cell, softmax_cross_entropy, params, carry, chunk, [1, 3, 5], windows=WINDOWS)
    credits, length = [], STEPS // WINDOWS
    follow = jax.jit(partial(credit_by_lag, cell, softmax_cross_entropy))
    for end in range(length, STEPS + 1, length):
        if np.any(chunk.weight[end - 1]):
            start = cell.unroll(params, carry, chunk.inputs[: end - 5])[0]
            starts, inputs = jax.tree.map(lambda a: a[None], (start, chunk.inputs[end - 5 : end]))
            last = chunk.targets[end - 1], chunk.weight[end - 1]
            credits.append(follow(params, starts, inputs, last))
    assert len(credits) > 1
    bounds = np.asarray(certify(mean_credit(credits)).bounds)
    for row in found.rows:
        assert row.bound == pytest.approx(bounds[np.arange(length) % row.horizon].mean(), rel=1e-12)


def test_the_certificate_of_the_scalar_linear_network():
    """With j steps the share `0.9^(j-1)` of the credit is lost, and a piece has losses of 1 to k steps."""
    steps = 400
    chunk = Chunk(np.ones((steps, 1, 1)), np.ones((steps, 1, 1)), np.ones((steps, 1)))
    carry = LINEAR.initial_carry(1)
    found = truncation_bias(LINEAR, slopes, LINEAR.init(None), carry, chunk, [1, 20, 200], windows=2)
    bounds = np.array([row.bound for row in found.rows])
    k = np.array([1, 20])
    # The tail from 0.9 * 200 steps on is counted twice: 0.9^180, about 6e-9.
    np.testing.assert_allclose(bounds[:2], (1 - 0.9**k) / (0.1 * k), rtol=0, atol=1e-7)
    assert all(row.relative_bias < row.bound for row in found.rows)
    assert found.rows[0].deviation == pytest.approx(0, abs=1e-12)
    # With one step of credit a gradient is 10 a step; the exact one of loss t is the sum of 10 * 0.9^j over j <= t.
    exact = sum(10 * (1 - 0.9 ** (t + 1)) / 0.1 for t in range(steps))
    assert found.rows[0].relative_bias == pytest.approx(1 - 10 * steps / exact, abs=1e-12)
    assert found.rows[0].cosine == pytest.approx(1, abs=1e-15)


def test_the_certificate_of_horizons_that_do_not_divide_the_window():
    """The last piece of a window is shorter: its losses have less credit, and lose more."""
    steps, window = 200, 100
    chunk = Chunk(np.ones((steps, 1, 1)), np.ones((steps, 1, 1)), np.ones((steps, 1)))
    zero = jnp.zeros((1, 1))
    found = truncation_bias(LINEAR, slopes, LINEAR.init(None), zero, chunk, [20, 60, 64, 70], windows=2)
    for row in found.rows:
        lost = [0.9 ** (t % row.horizon) for t in range(window)]
        assert (
            row.relative_bias < row.bound == pytest.approx(np.mean(lost), abs=1e-3)
        )  # the tail from lag 90 on counts twice


def test_losses_that_do_not_count_are_not_certified():
    steps = 8
    weight = np.ones((steps, 1))
    weight[[3, 7]] = 0.0  # the last of each window
    chunk = Chunk(np.ones((steps, 1, 1)), np.ones((steps, 1, 1)), weight)
    found = truncation_bias(LINEAR, slopes, LINEAR.init(None), LINEAR.initial_carry(1), chunk, [2], windows=2)
    assert found.rows[0].bound == math.inf


def row(k, cosine, temp_bytes=1000, seconds=1e-6):
    return Horizon(k, 0.25, cosine, 1.0, 1.0, temp_bytes, seconds)


EXACT = row(1024, 1.0, 9000, 2e-6)


def test_the_answer_is_the_shortest_horizon_from_which_on_all_are_good():
    """Of these, k = 4 is good by chance, for k = 8 is not."""
    rows = (row(4, 0.995), row(8, 0.9), row(16, 0.991), row(32, 0.998, 3000, 3e-6))
    first, second, third = answer(Bias(rows, EXACT, 1024, 8)).splitlines()
    assert (
        first
        == "k = 16 keeps 99 % of the gradient's direction: its cosine with the exact one is 0.9910, its bias 25 %."
    )
    assert second == (
        "Above it you pay, at k = 32, 3.0 times the memory and 3.0 times the time a step for a cosine of 0.9980."
    )
    exact = "Beside k = 16, the exact gradient over 1,024 steps takes 9.0 times the memory and "
    assert third == exact + "2.0 times the time a step."
    about_as_long = EXACT._replace(seconds_per_step=1.3e-6)
    assert answer(Bias(rows, about_as_long, 1024, 8)).splitlines()[2] == exact + "about the same time a step."
    far = [each._replace(relative_bias=1.31) for each in rows]
    assert "its bias 131 %." in answer(Bias(tuple(far), EXACT, 1024, 8))
    assert answer(Bias(rows, EXACT, 1024, 8), keep=0.8).startswith("k = 4 keeps 80 %")
    without = [each._replace(temp_bytes=None) for each in rows]
    assert "memory" not in answer(Bias(tuple(without), EXACT, 1024, 8))


def test_a_cosine_that_is_none_keeps_nothing():
    rows = (row(1, 0.5), row(2, math.nan), row(4, 0.999))
    assert chosen_horizon(Bias(rows, EXACT, 1024, 8)).horizon == 4
    assert answer(Bias(rows[:2], EXACT, 1024, 8)).startswith("No k up to 2 keeps")


def test_the_answer_says_where_no_horizon_is_enough():
    first, last = answer(Bias((row(4, 0.5), row(8, 0.7), row(16, 0.6)), EXACT, 1024, 8)).splitlines()
    assert first.startswith("No k up to 16 keeps 99 % of the gradient's direction. The best is k = 8: its cosine")
    assert last.startswith("Beside k = 8, the exact gradient over 1,024 steps takes 9.0 times the memory")


def test_refusals():
    cell, params, carry, chunk = model()
    for options, message in (
        ({"windows": 5}, "windows is 5; it must be a whole number that divides the 24 steps"),
        ({"windows": 3, "horizons": [9]}, r"horizons is \[9\]; it must be one or more whole numbers from 1 to 8"),
        ({"windows": 3, "horizons": []}, "horizons is"),
    ):
        options = {"horizons": [1]} | options
        with pytest.raises(InputError, match=message):
            truncation_bias(cell, softmax_cross_entropy, params, carry, chunk, **options)
    noisy = stack(locked_dropout(0.5), lstm(2, 3))
    xs = chunk._replace(inputs=np.ones((STEPS, ROWS, 2)))
    with pytest.raises(InputError, match="carry is 'one with random keys'; it must be initial_carry without a key"):
        start = noisy.initial_carry(ROWS, jax.random.key(0))
        truncation_bias(noisy, softmax_cross_entropy, random_params(1, noisy), start, xs, [1], windows=1)
    nothing = chunk._replace(weight=np.zeros((STEPS, ROWS)))
    with pytest.raises(InputError, match="the norm of the exact gradient is 0.0; it must be above 0"):
        truncation_bias(cell, softmax_cross_entropy, params, carry, nothing, [1], windows=1)
    with pytest.raises(InputError, match="keep is 1; it must be a cosine"):
        answer(Bias((row(1, 1.0),), EXACT, 1024, 8), keep=1)
