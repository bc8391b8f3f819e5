"""The oracle's own oracle: its hand-written backward loops against finite differences of its forward loops."""

import numpy as np
import pytest

import reference
import reference_further

CELLS = {
    "elman_tanh": reference.elman(),
    "elman_relu": reference.elman("relu"),
    "lstm": reference.lstm(),
    "gru_reset_after": reference.gru_reset_after(),
    "gru_reset_before": reference.gru_reset_before(),
    "peephole_lstm": reference_further.peephole_lstm(),
    "coupled_lstm": reference_further.coupled_lstm(),
    "projection_lstm": reference_further.projection_lstm(3),
    "layer_norm_lstm": reference_further.layer_norm_lstm(),
    "layer_norm_gru": reference_further.layer_norm_gru(),
    "mgu": reference_further.mgu(),
    "min_gru": reference_further.min_gru(),
}


def directional_derivatives(loss, array, gradient, direction, width=1e-5):
    """The gradient along a direction, by the gradient and by a central difference (the array is moved and put back)."""
    kept = array.copy()
    array[...] = kept + width * direction
    above = loss()
    array[...] = kept - width * direction
    below = loss()
    array[...] = kept
    return np.sum(gradient * direction), (above - below) / (2 * width)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_backward_loop_is_the_derivative_of_the_forward_loop(cell):
    rng = np.random.default_rng(0)
    params, carry = reference.random_params(rng, cell, 3, 4), reference.random_carry(rng, cell, 2, 4)
    xs, targets, weight = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, *carry[0].shape)), rng.random((5, 2))
    d_last = reference.random_carry(rng, cell, 2, 4)

    def loss():
        last, ys, _ = reference.unroll(cell, params, carry, xs)
        error = reference.squared_error(ys, targets, weight)[0]
        return error + sum(np.sum(d * state) for d, state in zip(d_last, last, strict=True))

    _, ys, tape = reference.unroll(cell, params, carry, xs)
    d_ys = reference.squared_error(ys, targets, weight)[1]
    d_params, d_carry, d_xs = reference.bptt(cell, params, tape, d_last, d_ys)
    pairs = [(params[name], d_params[name]) for name in params]
    for array, gradient in [*pairs, *zip(carry, d_carry, strict=True), (xs, d_xs)]:
        by_hand, by_difference = directional_derivatives(loss, array, gradient, rng.normal(size=array.shape))
        # A central difference of width 1e-5 is good to about 1e-10 of the loss here.
        np.testing.assert_allclose(by_hand, by_difference, rtol=1e-7, atol=1e-8)


def test_language_model_by_hand():
    rng = np.random.default_rng(1)
    cell = reference.lstm()
    params = {
        "embedding": {"w": rng.normal(size=(6, 3))},
        "core": reference.random_params(rng, cell, 3, 4),
        "readout": {"w": rng.normal(size=(4, 6)), "b": rng.normal(size=6)},
    }
    ids, targets, weight = rng.integers(6, size=(5, 2)), rng.integers(6, size=(5, 2)), rng.random((5, 2))
    carry = reference.random_carry(rng, cell, 2, 4)

    def loss():
        return reference.language_model(cell, params, carry, ids, targets, weight)[0]

    _, grads = reference.language_model(cell, params, carry, ids, targets, weight)
    for part, name in (("embedding", "w"), ("core", "w_hh"), ("core", "b_ih"), ("readout", "w"), ("readout", "b")):
        array, gradient = params[part][name], grads[part][name]
        by_hand, by_difference = directional_derivatives(loss, array, gradient, rng.normal(size=array.shape))
        np.testing.assert_allclose(by_hand, by_difference, rtol=1e-7, atol=1e-8)
