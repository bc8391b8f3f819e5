"""Penalties on activations: by hand, however time is cut, past the layers above, and in training only."""

import jax
import numpy as np
import pytest

from agreement import assert_close
from jaxrnn.compose import activation_penalty, dense, stack, temporal_penalty, with_penalties
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import squared_error
from jaxrnn.types import Marked, Penalized

STEPS, ROWS, SIZE = 6, 4, 3
ALPHA, BETA = 2.0, 0.5
RNG = np.random.default_rng(0)
XS = RNG.normal(size=(STEPS, ROWS, SIZE))
KEY = jax.random.key(0)


def changes(xs, first):
    """`mean((x_t - x_{t-1})^2)`, `[T, B]`, where `first` [B, H] stands before the first step."""
    return np.square(np.diff(np.concatenate([first[None], xs]), axis=0)).mean(-1)


def test_sizes_and_changes_by_hand():
    first = RNG.normal(size=(ROWS, SIZE))
    size, change = activation_penalty(ALPHA), temporal_penalty(SIZE, BETA)
    _, measured = size.unroll({}, size.initial_carry(ROWS, KEY), XS)
    assert_close(measured, Penalized(XS, ALPHA * np.square(XS).mean(-1)))
    start = change.initial_carry(ROWS, KEY)
    assert not np.any(start.previous)
    last, measured = jax.jit(change.unroll)({}, start._replace(previous=first), XS)
    assert_close((last.previous, measured), (XS[-1], Penalized(XS, BETA * changes(XS, first))))


def test_the_penalty_of_a_change_does_not_depend_on_how_time_is_cut():
    layer = temporal_penalty(SIZE, BETA)
    carry, parts = layer.initial_carry(ROWS, KEY), []
    for piece in np.split(XS, [1, 4]):
        carry, measured = layer.unroll({}, carry, piece)
        parts.append(measured.penalty)
    assert_close(np.concatenate(parts), BETA * changes(XS, np.zeros((ROWS, SIZE))))


def test_a_reset_forgets_the_output_before_and_padding_is_stepped_over():
    reset, keep = np.zeros((2, STEPS, ROWS), bool)
    reset[3, :2], keep[:], keep[2:4, 1:3] = True, True, False
    layer = temporal_penalty(SIZE, BETA)
    _, measured = layer.unroll({}, layer.initial_carry(ROWS, KEY), Marked(XS, reset, keep))
    expected = np.zeros((STEPS, ROWS))
    for row in range(ROWS):
        before = np.zeros(SIZE)
        for t in range(STEPS):
            before = np.zeros(SIZE) if reset[t, row] else before
            if keep[t, row]:
                expected[t, row], before = BETA * np.square(XS[t, row] - before).mean(), XS[t, row]
    assert_close(measured, Penalized(np.where(keep[..., None], XS, 0), expected))
    size = activation_penalty(ALPHA)
    _, measured = size.unroll({}, size.initial_carry(ROWS, KEY), Marked(XS, reset, keep))
    assert_close(measured.penalty, np.where(keep, ALPHA * np.square(XS).mean(-1), 0))


CELL = stack(temporal_penalty(SIZE, BETA), activation_penalty(ALPHA), dense(SIZE, 2), names=("tar", "ar", "readout"))
PARAMS = {"tar": {}, "ar": {}, "readout": {"w": RNG.normal(size=(SIZE, 2)), "b": RNG.normal(size=2)}}


def test_a_stack_carries_penalties_past_the_layers_above_and_adds_them_up():
    penalty = ALPHA * np.square(XS).mean(-1) + BETA * changes(XS, np.zeros((ROWS, SIZE)))
    ys = XS @ PARAMS["readout"]["w"] + PARAMS["readout"]["b"]
    carry = CELL.initial_carry(ROWS, KEY)
    assert_close(jax.jit(CELL.unroll)(PARAMS, carry, XS)[1], Penalized(ys, penalty))
    # The recurrence of a stack, as `trace` and cells around it use it, does the same.
    _, measured = CELL.recurrence.recur(PARAMS, carry, XS[0], lambda a, w: a @ w, lambda name, value: value)
    assert_close(measured, Penalized(ys[0], penalty[0]))

    weight = RNG.random((STEPS, ROWS))
    targets = RNG.normal(size=ys.shape)
    estimator = bptt(CELL, with_penalties(squared_error))
    chunk = Chunk(XS, targets, weight)
    found, _ = jax.jit(lambda: estimator.estimate(PARAMS, estimator.init(None, PARAMS, carry, chunk), chunk))()
    assert_close(found.loss, np.asarray(np.sum(weight * (np.square(ys - targets).sum(-1) + penalty))))


def test_without_a_key_there_is_no_penalty():
    carry = CELL.initial_carry(ROWS)
    assert carry == ((), (), ())
    last, ys = CELL.unroll(PARAMS, carry, XS)
    assert last == carry
    assert_close(ys, XS @ PARAMS["readout"]["w"] + PARAMS["readout"]["b"])
    targets = np.zeros_like(ys)
    assert_close(with_penalties(squared_error)(ys, targets), squared_error(ys, targets), tolerance=0)


def test_sizes_that_do_not_fit_are_refused():
    layer = temporal_penalty(1, BETA)
    with pytest.raises(AssertionError, match="temporal_penalty: the input x .* must end in an axis of size 1"):
        layer.step({}, layer.initial_carry(ROWS, KEY), XS[0])
    with pytest.raises(InputError, match="expects inputs of size 2, but cell '0' below it gives outputs of size 3"):
        stack(dense(2, SIZE), temporal_penalty(2, BETA))
    with pytest.raises(InputError, match="temporal_penalty: size is 0; it must be a whole number"):
        temporal_penalty(0, BETA)


def test_negative_weights_are_refused():
    with pytest.raises(InputError, match="activation_penalty: weight is -1"):
        activation_penalty(-1)
    with pytest.raises(InputError, match="temporal_penalty: weight is nan"):
        temporal_penalty(SIZE, float("nan"))
