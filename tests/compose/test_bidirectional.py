"""Two directions with lengths, against a Python loop for each row."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, random_like, random_params
from jaxrnn.cell import Cell
from jaxrnn.cells import gru, lstm
from jaxrnn.compose import activation_penalty, bidirectional, dropout, stack
from jaxrnn.errors import InputError

STEPS, ROWS, INPUT, HIDDEN = 6, 4, 3, 4
LENGTHS = np.array([STEPS, 4, 0, 1])
BOTH = bidirectional(lstm(INPUT, HIDDEN), gru(INPUT, HIDDEN + 1))
XS = np.random.default_rng(0).normal(size=(STEPS, ROWS, INPUT))


def params_of(both):
    """Random parameters; a bidirectional layer has an `init` as a cell has."""
    return random_params(1, Cell(both.init, *[None] * 4))


def by_hand(params, xs, lengths):
    """Each row alone, from the left and from the right, outputs and cotangents of `sum(d_ys * ys)`."""
    ys, d_ys = np.zeros((STEPS, ROWS, 2 * HIDDEN + 1)), random_like(2, np.zeros((STEPS, ROWS, 2 * HIDDEN + 1)))
    d_params, d_xs = jax.tree.map(np.zeros_like, params), np.zeros_like(xs)
    directions = (
        ("forward", reference.lstm(), slice(0, HIDDEN), 1),
        ("backward", reference.gru_reset_after(), slice(HIDDEN, None), -1),
    )
    for row, length in ((row, length) for row, length in enumerate(lengths) if length):
        for name, cell, units, order in directions:
            start = tuple(np.zeros((1, ys[0, 0, units].size)) for _ in range(cell.states))
            _, hs, tape = reference.unroll(cell, params[name], start, xs[:length, row : row + 1][::order])
            ys[:length, row, units] = hs[::order].reshape(length, -1)
            d_hs = d_ys[:length, row : row + 1, units][::order]
            d_here, _, d_x = reference.bptt(cell, params[name], tape, start, d_hs)
            d_params[name] = jax.tree.map(np.add, d_params[name], d_here)
            d_xs[:length, row] += d_x[::order].reshape(length, -1)
    return ys, d_ys, (d_params, d_xs)


@cache
def with_cotangents():
    """`(params, xs, d_ys) -> (ys, (d_params, d_xs))`, compiled once: what fills up the rows is data."""

    def run(params, xs, d_ys):
        outputs, pull = jax.vjp(lambda params, xs: BOTH.apply(params, xs, jnp.asarray(LENGTHS)), params, xs)
        return outputs, pull(d_ys)

    return jax.jit(run)


@pytest.mark.parametrize("filler", [0.0, np.nan])
def test_values_and_gradients_are_those_of_the_loops(filler):
    """With rows of several lengths, one of length zero; what stands beyond a length does not matter."""
    params = params_of(BOTH)
    ys, d_ys, gradients = by_hand(params, XS, LENGTHS)
    xs = np.where(np.arange(STEPS)[:, None, None] < LENGTHS[:, None], XS, filler)
    assert_close(with_cotangents()(params, xs, d_ys), (ys, gradients))


def test_without_lengths_rows_are_whole():
    params = params_of(BOTH)
    whole = jax.jit(lambda: BOTH.apply(params, XS))()
    assert_close(whole, by_hand(params, XS, [STEPS] * ROWS)[0])


def test_the_two_directions_have_parameters_of_their_own():
    same = bidirectional(lstm(INPUT, HIDDEN), lstm(INPUT, HIDDEN)).init(jax.random.key(0))
    assert np.abs(same["forward"]["w_hh"] - same["backward"]["w_hh"]).max() > 0.1


def test_noise_acts_where_there_is_a_key():
    noisy = bidirectional(stack(lstm(INPUT, HIDDEN), dropout(0.5)), stack(lstm(INPUT, HIDDEN), dropout(0.5)))
    params, key = params_of(noisy), jax.random.key(1)
    plain, once, again = (np.asarray(noisy.apply(params, XS, LENGTHS, key)) for key in (None, key, key))
    assert np.array_equal(once, again)
    real = np.arange(STEPS)[:, None, None] < LENGTHS[:, None]
    dropped = np.broadcast_to(real, plain.shape) & (once == 0)
    np.testing.assert_allclose(once, np.where(dropped, 0, 2 * plain), rtol=1e-12)
    assert 0 < dropped.sum() < real.sum() * 2 * HIDDEN
    assert not np.array_equal(dropped[..., :HIDDEN], dropped[..., HIDDEN:])  # each direction draws for itself


def test_penalties_are_refused():
    both = bidirectional(stack(lstm(INPUT, HIDDEN), activation_penalty(1.0)), lstm(INPUT, HIDDEN))
    with pytest.raises(InputError, match="bidirectional: forward: penalties have no place here"):
        both.apply(params_of(both), XS, None, jax.random.key(0))


def test_one_sequence_without_an_axis_of_rows_is_refused():
    with pytest.raises(InputError, match=r"bidirectional: expected inputs \[T, B, I\]"):
        BOTH.apply(params_of(BOTH), XS[:, 0])


@pytest.mark.parametrize("lengths", [LENGTHS[:-1], LENGTHS.astype(float), LENGTHS[:, None]])
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(InputError, match=r"bidirectional: lengths is .*; expected int \[4\]"):
        BOTH.apply(params_of(BOTH), XS, lengths)
