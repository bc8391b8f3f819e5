"""Noise that travels in the carry: which keys it takes, how they are renewed, and for which rows it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close
from jaxrnn.cells import gru
from jaxrnn.compose import dropout, embedding, locked_dropout, stack, weight_drop, word_dropout, zoneout
from jaxrnn.errors import InputError
from jaxrnn.trees import renew_keys

ROWS = 4

NOISY = {
    "dropout": dropout(0.5),
    "locked_dropout": locked_dropout(0.5),
    "word_dropout": word_dropout(embedding(5, 3), 0.5),
    "weight_drop": weight_drop(gru(3, 4), 0.5),
    "zoneout": zoneout(gru(3, 4), 0.5),
    "stack": stack(dropout(0.5), gru(3, 4)),
}


def test_renewed_keys_draw_other_masks_and_go_on_by_row():
    carry = dropout(0.5).initial_carry(ROWS, jax.random.key(0))
    new = renew_keys(carry)
    keys = {np.asarray(jax.random.key_data(key)).tobytes() for noise in (carry, new) for key in noise.key}
    assert len(keys) == 2 * ROWS
    part = renew_keys(jax.tree.map(lambda a: a[2:], carry))
    assert_close(part, jax.tree.map(lambda a: a[2:], new))


@pytest.mark.parametrize("name", ["dropout", "locked_dropout"])
def test_a_dropped_unit_lets_no_gradient_through_even_an_infinite_one(name):
    cell, ones = NOISY[name], np.ones((6, ROWS, 50))
    carry = cell.initial_carry(ROWS, jax.random.key(0))
    ys, pull = jax.vjp(lambda xs: cell.unroll({}, carry, xs)[1], jnp.asarray(ones))
    (d_xs,) = pull(jnp.full(ones.shape, jnp.inf))
    assert_close(d_xs, np.where(ys == 0, 0, np.inf))


@pytest.mark.parametrize("name", NOISY)
def test_a_key_that_is_an_array_of_numbers_is_refused(name):
    """It would not be known as one where keys are renewed: one mask would last for ever."""
    with pytest.raises(InputError, match=r"initial_carry: key is .*uint32.*; it must be a typed key of threefry, such"):
        NOISY[name].initial_carry(2, jax.random.PRNGKey(0))


def test_keys_that_draw_the_same_for_all_rows_are_refused():
    """Within `vmap`, those of rbg do."""
    with pytest.raises(InputError, match="initial_carry: key is key<rbg>; it must be a typed key of threefry"):
        dropout(0.5).initial_carry(2, jax.random.key(0, impl="rbg"))


def test_zoneout_looks_into_cells_with_noise_whatever_the_default_of_keys():
    with jax.default_prng_impl("rbg"):
        assert zoneout(stack(dropout(0.5), gru(3, 4)), 0.5).output_size == 4


@pytest.mark.parametrize("name", ["dropout", "locked_dropout", "word_dropout"])
@pytest.mark.parametrize(("rows", "others"), [(1, 3), (3, 1), (2, 3)])
def test_other_rows_than_the_noise_is_for_are_refused(name, rows, others):
    cell = NOISY[name]
    carry = cell.initial_carry(rows, jax.random.key(0))
    x = jnp.zeros((others,), int) if name == "word_dropout" else jnp.ones((others, 3))
    for run, given in ((cell.step, x), (cell.unroll, x[None])):
        with pytest.raises(InputError, match=rf"{name}: the rows of the input is \({others},\); .*\({rows},\)"):
            run(cell.init(jax.random.key(1)), carry, given)
