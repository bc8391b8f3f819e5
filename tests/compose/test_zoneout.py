"""Zoneout: a unit keeps its old value or takes the new one; in evaluation it takes the mean of both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, random_like, random_params
from jaxrnn.cells import elstm, gru, lstm
from jaxrnn.compose import activation_penalty, stack, temporal_penalty, zoneout
from jaxrnn.errors import InputError
from jaxrnn.fused import trace
from jaxrnn.stepwise import from_step

STEPS, ROWS, INPUT, HIDDEN = 8, 10, 3, 60  # so many units that two equal masks are no chance
XS = np.random.default_rng(0).normal(size=(STEPS, ROWS, INPUT))
RATES = {"h": 0.2, "c": 0.6}
CELL = zoneout(lstm(INPUT, HIDDEN), RATES["h"], RATES["c"])
PARAMS = random_params(1, CELL)


def test_each_unit_keeps_its_value_or_takes_the_new_one():
    """The old value to the bit, or the new one. Shares are within 5 standard deviations, no two draws are alike."""
    noise, start = random_like(2, CELL.initial_carry(ROWS, jax.random.key(0)))
    seen = jax.jit(lambda carry: trace(CELL, PARAMS, carry, XS))((noise, start))
    masks, both = [], True
    for name, first, after in zip("hc", start, seen.carries[1], strict=True):
        after, made = np.asarray(after), np.asarray(seen.notes[name])
        before = np.concatenate([first[None], after[:-1]])
        kept = after == before
        new = np.isclose(after, made, rtol=1e-12, atol=1e-12)  # compilers may compute it twice, once for the note
        np.testing.assert_array_equal(new, ~kept)
        rate = RATES[name]
        for axes in ((0, 1, 2), (1, 2), (0, 2), (0, 1)):
            n = np.prod([kept.shape[axis] for axis in axes])
            assert np.abs(kept.mean(axes) - rate).max() < 5 * (rate * (1 - rate) / n) ** 0.5
        both = both & kept
        masks += [row.tobytes() for step in kept for row in step]
    assert len(set(masks)) == 2 * STEPS * ROWS
    share = RATES["h"] * RATES["c"]  # of units that keep both: the states draw apart
    assert abs(both.mean() - share) < 5 * (share * (1 - share) / both.size) ** 0.5
    assert_close(seen.outputs, seen.carries[1][0], tolerance=0)


def test_evaluation_takes_the_expectation():
    """In plain NumPy: `s' = rate s + (1 - rate) s'`, and the output is that h."""
    carry = start = random_like(2, lstm(INPUT, HIDDEN).initial_carry(ROWS))
    outputs = []
    for x in XS:
        made, _ = reference.lstm().forward(PARAMS, carry, x)
        carry = tuple(r * s + (1 - r) * m for r, s, m in zip(RATES.values(), carry, made, strict=True))
        outputs.append(carry[0])
    quiet, _ = CELL.initial_carry(ROWS)
    (_, last), ys = jax.jit(CELL.unroll)(PARAMS, (quiet, start), XS)
    assert quiet == (None, None)
    assert_close((last, ys), (carry, np.array(outputs)))


@pytest.mark.parametrize("key", [None, 0])
def test_at_rate_zero_it_is_the_cell_and_at_rate_one_nothing_changes(key):
    core = gru(INPUT, HIDDEN)
    params, h = random_params(3, core), random_like(4, core.initial_carry(ROWS))
    ours = {rate: zoneout(core, rate) for rate in (0.0, 1.0)}
    noise, _ = ours[0.0].initial_carry(ROWS, None if key is None else jax.random.key(key))
    (_, last), ys = jax.jit(ours[0.0].unroll)(params, (noise, h), XS)
    assert_close((last, ys), jax.jit(core.unroll)(params, h, XS))
    (_, last), ys = jax.jit(ours[1.0].unroll)(params, (noise, h), XS)
    assert_close((last, ys), (h, np.broadcast_to(h, ys.shape)), tolerance=0)


def test_an_output_that_is_no_state_is_left_as_it_is():
    core = elstm(INPUT, HIDDEN)
    cell, params, c = zoneout(core, 1.0), random_params(5, core), random_like(6, core.initial_carry(ROWS))
    (_, kept), y = cell.step(params, (cell.initial_carry(ROWS)[0], c), XS[0])
    assert_close((kept, y), (c, core.step(params, c, XS[0])[1]))


@pytest.mark.parametrize("shape", [(), (3,), (3, 40)])
def test_a_state_of_any_shape_has_a_mask_for_each_row_and_number(shape):
    core = from_step(
        init=lambda key: {},
        initial_carry=lambda batch_shape, key=None: jnp.zeros((*batch_shape, *shape)),
        step=lambda params, h, x: (h + x.reshape(*x.shape[:1], *[1] * len(shape)),) * 2,
    )
    cell = zoneout(core, 0.5)
    carry, xs = cell.initial_carry(3, jax.random.key(0)), np.ones((60, 3))
    (_, last), ys = jax.jit(cell.unroll)({}, carry, xs)
    grown = np.diff(np.asarray(ys), axis=0, prepend=0)
    assert last.shape == (3, *shape) and set(grown.ravel()) == {0, 1} and 0.3 < grown.mean() < 0.7
    series = {one.tobytes() for one in np.moveaxis(grown, 0, -1).reshape(-1, 60)}
    assert len(series) == last.size  # no two share a mask
    alone = jax.jit(cell.unroll)({}, jax.tree.map(lambda leaf: leaf[:1], carry), xs[:, :1])[1]
    np.testing.assert_array_equal(alone, ys[:, :1])


def test_rates_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="zoneout: the number of rates is 1; it must be 2, one for each state"):
        zoneout(lstm(INPUT, HIDDEN), 0.1)
    with pytest.raises(InputError, match="zoneout: a rate is 1.5"):
        zoneout(gru(INPUT, HIDDEN), 1.5)


def test_a_cell_that_has_more_states_with_noise_is_refused():
    with pytest.raises(
        InputError, match="zoneout: the number of the cell's states with noise is 3; .*each layer by itself"
    ):
        zoneout(stack(lstm(3, 4), temporal_penalty(4, 0.1)), 0.1, 0.2)


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_an_output_with_a_penalty_comes_out_of_zoneout_too(rate):
    """The output is the carry after it, in training as in evaluation."""
    cell = zoneout(stack(gru(INPUT, HIDDEN), activation_penalty(1.0)), rate)
    params = random_params(1, cell)
    noisy, quiet = (random_like(2, cell.initial_carry(ROWS, key)) for key in (jax.random.key(0), None))
    (_, (h, _)), y = cell.step(params, noisy, XS[0])
    np.testing.assert_array_equal(y.y, h)
    assert np.all(y.penalty > 0)
    (_, (h, _)), y = cell.step(params, quiet, XS[0])
    np.testing.assert_array_equal(y, h)
