"""Dropped weights: one mask for all rows and steps of a chunk, none in evaluation; the parameters stay as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params, scanned
from jaxrnn.cells import elstm, gru, lstm
from jaxrnn.compose import stack, weight_drop, with_readout, zoneout
from jaxrnn.errors import InputError
from jaxrnn.stepwise import from_step
from jaxrnn.trees import renew_keys, split_carry

STEPS, ROWS, INPUT, HIDDEN, RATE = 5, 3, 3, 6, 0.4
XS = np.random.default_rng(0).normal(size=(STEPS, ROWS, INPUT))
CORE = lstm(INPUT, HIDDEN)
CELL = weight_drop(CORE, RATE)
PARAMS = random_params(1, CORE)
NOISE, START = random_like(2, CELL.initial_carry(ROWS, jax.random.key(0)))


def gradient(cell, params, carry):
    """Of the sum of squares of all outputs, and the outputs."""

    def loss(params):
        ys = cell.unroll(params, carry, XS)[1]
        return jnp.sum(ys**2), ys

    return jax.jit(jax.grad(loss, has_aux=True))(params)


def test_it_is_the_cell_with_one_set_of_weights_missing():
    """The gradient shows which: with these left out by hand, outputs and gradient of the plain cell are the same."""
    grads, ys = gradient(CELL, PARAMS, (NOISE, START))
    there = np.asarray(grads["w_hh"] != 0)
    assert abs(there.mean() - (1 - RATE)) < 5 * (RATE * (1 - RATE) / there.size) ** 0.5
    thinned = PARAMS | {"w_hh": np.where(there, PARAMS["w_hh"] / (1 - RATE), 0)}
    expected, expected_ys = gradient(CORE, thinned, START)
    assert_close(ys, expected_ys)
    assert_close(grads, expected | {"w_hh": np.where(there, expected["w_hh"] / (1 - RATE), 0)})


def test_the_mask_is_the_same_however_time_is_cut_and_new_for_each_chunk():
    def whole(carry):
        return CELL.unroll(PARAMS, carry, XS)[1]

    def cut(carry):
        carry, first = CELL.unroll(PARAMS, carry, XS[:2])
        carry, second = CELL.step(PARAMS, carry, XS[2])
        return jnp.concatenate([first, second[None], CELL.unroll(PARAMS, carry, XS[3:])[1]])

    def both(carry):
        return whole(carry), cut(carry), whole(renew_keys(carry))

    together, apart, later = jax.jit(both)((NOISE, START))
    assert_close(apart, together)
    assert np.abs(later - together).max() > 1e-2


def test_without_a_key_or_a_rate_it_is_the_cell():
    assert CELL.initial_carry(ROWS)[0] == (None, None)
    quiet, never = (None, None), weight_drop(CORE, 0.0)
    expected = jax.jit(CORE.unroll)(PARAMS, START, XS)[1]
    cases = ((CELL, type(NOISE)(*quiet)), (never, NOISE))
    for cell, noise in cases:
        assert_close(jax.jit(cell.unroll)(PARAMS, (noise, START), XS)[1], expected, tolerance=0)


def test_every_layer_of_a_stack_has_a_mask_of_its_own():
    cell = weight_drop(stack(zoneout(gru(INPUT, HIDDEN), 0.0), gru(HIDDEN, HIDDEN)), RATE)
    params = random_params(3, cell)
    grads, _ = gradient(cell, params, cell.initial_carry(ROWS, jax.random.key(1)))
    there = [np.asarray(grads[layer]["w_hh"] != 0) for layer in ("0", "1")]
    assert np.any(there[0] != there[1]) and all(0 < mask.mean() < 1 for mask in there)
    assert all(np.all(grads[layer]["w_ih"] != 0) for layer in ("0", "1"))


def test_the_key_is_one_for_all_rows():
    """A batch split over devices draws the same mask on each: the key has no axis of rows."""
    assert NOISE.key.shape == () and NOISE.count is None
    half = jax.jit(CELL.unroll)(PARAMS, (NOISE, jax.tree.map(lambda a: a[:1], START)), XS[:, :1])[1]
    assert_close(half, jax.jit(CELL.unroll)(PARAMS, (NOISE, START), XS)[1][:, :1])
    assert len(jax.tree.leaves(split_carry((NOISE, START))[0])) == 2


def test_a_string_is_one_name():
    """And not all names that are a part of it, such as the readout's "w"."""
    cells = [weight_drop(with_readout(CORE, 2), RATE, names=names) for names in ("w_hh", ["w_hh"])]
    params, carry = random_params(1, cells[0]), cells[0].initial_carry(ROWS, jax.random.key(0))
    one, other = (cell.step(params, carry, XS[0])[1] for cell in cells)
    assert_close(one, other, tolerance=0)


def test_what_cannot_be_dropped_is_refused():
    with pytest.raises(InputError, match=r"weight_drop: names is \('w_h',\)"):
        weight_drop(CORE, RATE, names="w_h")
    with pytest.raises(InputError, match=r"weight_drop: names is \('w_hh', 'w_h'\)"):
        weight_drop(CORE, RATE, names=("w_hh", "w_h"))
    with pytest.raises(InputError, match=r"weight_drop: names is \('w_hh',\); .*'w_c', 'w_co', 'w_ih'"):
        weight_drop(elstm(INPUT, HIDDEN), RATE)
    with pytest.raises(InputError, match="weight_drop: rate is 1"):
        weight_drop(CORE, 1)


def test_within_a_noisy_recurrence_its_gradient_is_that_of_the_scan_of_step():
    """The weight then depends on a key that rides in the carry, and is none that a fused loop may take out."""
    cell = zoneout(weight_drop(CORE, RATE), 0.3, 0.2)
    carry = random_like(2, cell.initial_carry(ROWS, jax.random.key(0)))
    grads, ys = gradient(cell, PARAMS, carry)
    expected, expected_ys = gradient(cell._replace(unroll=scanned(cell)), PARAMS, carry)
    assert_close(ys, expected_ys)
    assert_close(grads, expected)
    assert np.any(np.asarray(grads["w_hh"]) == 0) and np.all(np.asarray(grads["w_ih"]) != 0)


def test_parameters_in_a_list_have_numbers_for_names():
    cell = from_step(lambda key: [jnp.ones((2, 2))], lambda shape, key=None: jnp.zeros((2, 2)), lambda p, c, x: (c, x))
    assert weight_drop(cell, 0.5, names="0").init(jax.random.key(0))[0].shape == (2, 2)
    with pytest.raises(InputError, match="weight_drop: names"):
        weight_drop(cell, 0.5)
