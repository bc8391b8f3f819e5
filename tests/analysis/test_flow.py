"""Credit by lag: the closed form of linear networks, and Jacobians by brute force for all others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params
from jaxrnn.analysis.flow import lag_at, lag_norms, lag_norms_over_time, summarize
from jaxrnn.analysis.layers import layers
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.compose import dropout, language_model, stack, with_readout
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk
from jaxrnn.losses import softmax_cross_entropy, squared_error
from jaxrnn.stepwise import from_step
from jaxrnn.trees import join, split_carry
from jaxrnn.types import Marked

STEPS, ROWS = 7, 3
LINEAR = from_step(
    init=lambda key: jnp.ones(()),
    initial_carry=lambda batch_shape, key=None: jnp.zeros((batch_shape, 1)),
    step=lambda a, h, x: (a * h + x,) * 2,
)


def slopes(outputs, targets):
    """A linear loss: the targets are its slopes."""
    return jnp.sum(outputs * targets, axis=-1)


@pytest.mark.parametrize("a", [0.5, 0.9, -0.7, 1.1, 1.0])
def test_scalar_linear_network(a):
    """`log(|d| |a|^k)`, over 3,000 steps, where 0.5^k has long underflowed and 1.1^k is near 1e124."""
    steps, d = 3000, np.array([3.0, -0.25])
    chunk = Chunk(np.ones((steps, 2, 1)), np.broadcast_to(d[:, None], (steps, 2, 1)), np.ones((steps, 2)))
    found = LINEAR_NORMS(jnp.asarray(a), chunk)
    expected = np.log(np.abs(d)) + np.arange(1, steps + 1)[:, None, None] * np.log(abs(a))
    assert_close(found, jnp.asarray(expected), tolerance=1e-13)


LINEAR_NORMS = jax.jit(lambda a, chunk: lag_norms(LINEAR, slopes, a, jnp.zeros((2, 1)), chunk))


def test_linear_network_of_many_units():
    """`|W^k d|` of a symmetric W, by its eigenvectors; the direction of the largest eigenvalue grows with it alone."""
    rng = np.random.default_rng(0)
    values, vectors = np.array([1.1, -0.9, 0.4, 0.01]), np.linalg.qr(rng.normal(size=(4, 4)))[0]
    cell = elman(4, 4, activation=lambda z: z)
    params = random_params(0, cell) | {"w_hh": vectors * values @ vectors.T}
    d = np.stack([vectors[:, 0], rng.normal(size=4)])
    chunk = Chunk(rng.normal(size=(60, 2, 4)), np.broadcast_to(d, (60, 2, 4)), np.ones((60, 2)))
    found = jax.jit(lambda: lag_norms(cell, slopes, params, jnp.zeros((2, 4)), chunk))()[:, 0]
    lags = np.arange(1, 61)
    expected = np.log(np.linalg.norm(values ** lags[:, None, None] * (d @ vectors), axis=-1))
    assert_close(found, jnp.asarray(expected))
    assert_close(found[:, 0], jnp.asarray(lags * np.log(1.1)))


def symbols_or_vectors(cell, seed):
    """A chunk for a cell, with a loss."""
    rng = np.random.default_rng(seed)
    if cell.input_size is None:
        draw = rng.integers(0, 5, (2, STEPS, ROWS))
        return Chunk(draw[0], draw[1], rng.random((STEPS, ROWS))), softmax_cross_entropy
    inputs = rng.normal(size=(STEPS, ROWS, cell.input_size))
    return Chunk(inputs, rng.normal(size=(STEPS, ROWS, cell.output_size)), rng.random((STEPS, ROWS))), squared_error


def by_brute_force(cell, loss, params, carry, chunk):
    """For each float leaf `[K, B, H]`, lag 1 first: a row's last loss, differentiated in what is added to a carry."""

    def last_losses(shifts):
        running = carry
        for t in range(len(chunk.weight)):
            floats, others = split_carry(running)
            floats = jax.tree.map(lambda a, shift, t=t: a + shift[t], floats, shifts)
            running, y = cell.step(params, join(floats, others), jax.tree.map(lambda a, t=t: a[t], chunk.inputs))
        return chunk.weight[-1] * loss(y[None], chunk.targets[-1][None])[0]

    shifts = jax.tree.map(lambda a: jnp.zeros((len(chunk.weight), *a.shape)), split_carry(carry)[0])
    found = jax.tree.leaves(jax.jit(jax.jacobian(last_losses))(shifts))  # [B, K, B, H]
    for leaf in found:
        assert all(np.all(leaf[b, :, c] == 0) for b in range(ROWS) for c in range(ROWS) if b != c)
    return [np.stack([leaf[b, ::-1, b] for b in range(ROWS)], axis=1) for leaf in found]


CELLS = {
    "tanh": elman(2, 3),
    "gru": gru(2, 3),
    "lstm": lstm(2, 3),
    "stack": with_readout(stack(lstm(2, 3), dropout(0.4), gru(3, 4)), 2),
    "language model": language_model(stack(gru(3, 3), lstm(3, 4)), 5),
}


@pytest.mark.parametrize("name", CELLS)
def test_equals_jacobians_of_a_plain_loop(name):
    cell = CELLS[name]
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(ROWS, jax.random.key(5)))
    chunk, loss = symbols_or_vectors(cell, 3)
    found = jax.jit(lambda: lag_norms(cell, loss, params, carry, chunk))()
    leaves = by_brute_force(cell, loss, params, carry, chunk)
    groups = layers(cell, params, carry, jax.tree.map(lambda a: a[0], chunk.inputs)).values()
    joined = [np.concatenate([leaves[number] for number in numbers], axis=-1) for numbers in groups]
    expected = np.stack([np.log(np.linalg.norm(leaf, axis=-1)) for leaf in joined], axis=1)
    assert found.shape == (STEPS, 1 if name in ("tanh", "gru", "lstm") else 2, ROWS)
    assert_close(found, jnp.asarray(expected))


def test_states_may_be_measured_one_by_one():
    cell = CELLS["lstm"]
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(ROWS))
    chunk, loss = symbols_or_vectors(cell, 3)
    groups = {"h": (0,), "c": (1,), "both": (0, 1)}
    found = jax.jit(lambda: lag_norms(cell, loss, params, carry, chunk, groups=groups))()
    h, c, both = np.moveaxis(found, 1, 0)
    assert_close(jnp.asarray(np.logaddexp(2 * h, 2 * c) / 2), jnp.asarray(both))


def test_many_losses_are_followed_one_after_the_other():
    cell = CELLS["gru"]
    params, start = random_params(1, cell), random_like(2, cell.initial_carry(ROWS))
    chunk, loss = symbols_or_vectors(cell, 3)
    follow = jax.jit(lambda carry, chunk: lag_norms(cell, loss, params, carry, chunk))
    found = jax.jit(lambda: lag_norms_over_time(cell, loss, params, start, chunk, lags=3))()
    assert found.shape == (2, 3, 1, ROWS)
    for n, carry in enumerate((start, cell.unroll(params, start, chunk.inputs[:3])[0])):
        assert_close(found[n], follow(carry, jax.tree.map(lambda a, n=n: a[3 * n : 3 * n + 3], chunk)), tolerance=1e-13)
    with pytest.raises(InputError, match="lags is 8; it must be a whole number from 1 to 7"):
        lag_norms_over_time(cell, loss, params, start, chunk, lags=8)


def test_no_credit_is_minus_infinity():
    """Before a reset, for a loss of weight 0, and for one that is not finite but does not count."""
    cell = CELLS["tanh"]
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(ROWS))
    chunk, loss = symbols_or_vectors(cell, 3)
    reset = np.zeros((STEPS, ROWS), bool)
    reset[3, 0] = True  # so the carry before step 3, at lag 4, has no credit
    weight, targets = np.ones((STEPS, ROWS)), np.array(chunk.targets)
    weight[-1, 1], targets[-1, 1] = 0.0, np.nan
    chunk = Chunk(Marked(chunk.inputs, reset), targets, weight)
    found = np.asarray(jax.jit(lambda: lag_norms(cell, loss, params, carry, chunk))())[:, 0]
    assert np.all(np.isfinite(found[:3, 0])) and np.all(found[3:, 0] == -np.inf)
    assert np.all(found[:, 1] == -np.inf) and np.all(np.isfinite(found[:, 2]))


def test_the_summary_is_that_of_numpy():
    rng = np.random.default_rng(0)
    logs = rng.normal(size=(2, 5, 3, 4))
    logs[1, 3:, 0, 2] = -np.inf
    decay = jax.jit(summarize)(logs)
    for lag in range(5):
        for layer in range(3):
            values = logs[:, lag, layer].ravel()
            some = values[np.isfinite(values)]
            assert decay.mean_log[lag, layer] == pytest.approx(some.mean(), abs=1e-13)
            assert decay.spread[lag, layer] == pytest.approx(some.std(), abs=1e-13)
            assert decay.log_mean[lag, layer] == pytest.approx(np.log(np.exp(values).mean()), abs=1e-13)
            assert decay.alive[lag, layer] == len(some) / len(values)


def test_what_is_no_number_is_seen():
    logs = jnp.array([[0.0, 0.0, 0.0], [-1.0, np.nan, -9.0], [-9.0, np.nan, np.nan]])[:, None]
    decay = summarize(logs)
    for value in (decay.mean_log, decay.log_mean, decay.spread):
        assert np.isnan(value[:, 0]).tolist() == [False, True, True]
    assert (decay.alive == 1).all()
    np.testing.assert_array_equal(lag_at(logs, 0.01)[0], [3, np.nan, 2])


def test_the_lag_of_a_share_is_the_first_that_has_fallen_so_far():
    a = np.array([0.5, 0.9, 1.1, 0.0, 0.999])
    with np.errstate(divide="ignore"):
        logs = jnp.asarray(np.log(3.0) + np.arange(1, 201)[:, None] * np.log(a))[:, None]
    expected = [1 + np.ceil(np.log(0.01) / np.log(b)) for b in a[:2]]
    np.testing.assert_array_equal(lag_at(logs, 0.01)[0], [*expected, np.inf, np.nan, np.inf])
    again = jnp.array([0.0, -3.0, 1.0, -9.0])[:, None, None]  # it may rise again
    assert [lag_at(again, share).item() for share in (1.0, 0.1, 0.01)] == [1, 2, 4]
    assert lag_at(jnp.stack([logs, logs]), 0.01).shape == (2, 1, 5)
    with pytest.raises(InputError, match="share is 0; it must be above 0"):
        lag_at(logs, 0)
