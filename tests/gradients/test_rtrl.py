"""RTRL: the influence by its definition, and the gradient of BPTT over the whole past however the chunks are cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params, scanned
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.compose import language_model, stack, with_readout
from jaxrnn.gradients import Chunk, accumulate, bptt, rtrl
from jaxrnn.losses import squared_error
from jaxrnn.types import Marked
from reference import elman as reference_elman

STEPS, ROWS, INPUT, HIDDEN = 7, 2, 2, 3
CELLS = {
    "lstm_with_readout": with_readout(lstm(INPUT, HIDDEN), 2),
    "two_layers": stack(gru(INPUT, HIDDEN), elman(HIDDEN, 2)),
}
RESET = np.zeros((STEPS, ROWS), bool)
RESET[[3, 5], [0, 1]] = True
KEEP = np.ones((STEPS, ROWS), bool)
KEEP[[0, 4, 6], [1, 0, 1]] = False


def prepared(cell, marks=False):
    weight = np.abs(random_like(0, np.zeros((STEPS, ROWS)))) * (np.arange(STEPS) != 2)[:, None]
    inputs, targets = random_like(1, (np.zeros((STEPS, ROWS, INPUT)), np.zeros((STEPS, ROWS, cell.output_size))))
    if marks:
        inputs = Marked(np.where(KEEP[:, :, None], inputs, np.nan), RESET, KEEP)
    return random_params(2, cell), random_like(3, cell.initial_carry(ROWS)), Chunk(inputs, targets, weight)


def estimate(estimator, params, carry, chunk):
    state = estimator.init(jax.random.key(0), params, carry, chunk)
    return jax.jit(estimator.estimate)(params, state, chunk)


@pytest.mark.parametrize("marks", [False, True], ids=["plain", "marked"])
@pytest.mark.parametrize("name", CELLS)
def test_in_chunks_it_is_bptt_of_the_whole(name, marks):
    """With marks: rows start anew in the middle, and padding holds NaN."""
    params, carry, chunk = prepared(CELLS[name], marks)
    exact, last = estimate(bptt(CELLS[name], squared_error), params, carry, chunk)
    forward, state = estimate(accumulate(rtrl(CELLS[name], squared_error), 3), params, carry, chunk)
    assert_close(forward, exact)
    assert_close(state.carry, last.carry)


def test_bptt_in_chunks_is_not():
    """The same comparison fails where credit is cut: it can tell."""
    params, carry, chunk = prepared(CELLS["two_layers"])
    whole, _ = estimate(bptt(CELLS["two_layers"], squared_error), params, carry, chunk)
    cut, _ = estimate(accumulate(bptt(CELLS["two_layers"], squared_error), 3), params, carry, chunk)
    with pytest.raises(AssertionError):
        assert_close(cut.grads, whole.grads, tolerance=1e-3)


def test_the_influence_is_its_recursion_by_hand():
    """S = J S + D in NumPy for the Elman cell: row by row of J and D, pulled back by the derivative written out."""
    cell, by_hand = elman(INPUT, HIDDEN), reference_elman()
    params, h, chunk = prepared(cell)
    influence = {name: np.zeros((ROWS, HIDDEN, *p.shape)) for name, p in params.items()}
    carry = (h,)
    for x in chunk.inputs:
        carry, values = by_hand.forward(params, carry, x)
        for row in range(ROWS):
            of_row = {name: value[row : row + 1] for name, value in values.items()}
            j, d = np.zeros((HIDDEN, HIDDEN)), {name: np.zeros((HIDDEN, *p.shape)) for name, p in params.items()}
            for unit in range(HIDDEN):
                (d_h,), _, d_params = by_hand.backward(params, of_row, (np.eye(HIDDEN)[unit : unit + 1],))
                j[unit] = d_h[0]
                for name in params:
                    d[name][unit] = d_params[name]
            for name in params:
                influence[name][row] = np.tensordot(j, influence[name][row], axes=1) + d[name]
    _, state = estimate(rtrl(cell, squared_error), params, h, chunk)
    assert_close(state.influence, influence)


def test_a_reset_stops_even_an_infinite_influence():
    cell = lstm(INPUT, HIDDEN)
    params, carry, chunk = prepared(cell)
    reset = np.zeros((STEPS, ROWS), bool)
    reset[0, 0] = True
    chunk = chunk._replace(inputs=Marked(chunk.inputs, reset))
    estimator = rtrl(cell, squared_error)
    clean = estimator.init(None, params, carry, chunk)
    exploded = jax.tree.map(lambda s: s.at[0].set(jnp.inf), clean.influence)
    finite, broken = (
        jax.jit(estimator.estimate)(params, clean._replace(influence=s), chunk) for s in (clean.influence, exploded)
    )
    assert_close(broken, finite)


@pytest.mark.usefixtures("default_settings")
def test_the_first_state_takes_numpys_wide_numbers_silently():
    model = language_model(elman(2, HIDDEN), 5)
    ids = np.zeros((STEPS, ROWS), np.int64)
    chunk = Chunk(ids, ids, np.ones(ids.shape))
    rtrl(model, squared_error).init(None, model.init(jax.random.key(0)), model.initial_carry(ROWS), chunk)


def test_what_does_not_reach_the_carry_has_no_influence():
    cell = CELLS["lstm_with_readout"]
    params, carry, chunk = prepared(cell)
    state = rtrl(cell, squared_error).init(None, params, carry, chunk)
    assert state.influence["readout"] == {"w": None, "b": None}
    assert {s.shape[:2] for s in state.influence["cell"].values()} == {(ROWS, 2 * HIDDEN)}


def test_a_chunk_without_weight_moves_the_carry_and_the_influence_only():
    cell = CELLS["two_layers"]
    params, carry, chunk = prepared(cell)
    nothing, state = estimate(rtrl(cell, squared_error), params, carry, chunk._replace(weight=0 * chunk.weight))
    _, weighed = estimate(rtrl(cell, squared_error), params, carry, chunk)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(nothing))
    assert_close(state, weighed)


def test_after_an_update_the_influence_is_that_of_old_parameters():
    """What the docstring warns of: the credit of what is past is that of the parameters which it was measured at."""
    cell = elman(INPUT, HIDDEN)
    params, carry, chunk = prepared(cell)
    first, second = (jax.tree.map(lambda leaf, part=part: leaf[part], chunk) for part in (slice(3), slice(3, None)))
    estimator = rtrl(cell, squared_error)
    _, state = estimate(estimator, params, carry, first)
    moved = jax.tree.map(lambda p: 1.2 * p, params)
    stale, _ = estimator.estimate(moved, state, second)
    fresh = estimator.estimate(moved, estimate(estimator, moved, carry, first)[1], second)[0]
    assert np.abs(stale.grads["w_hh"] - fresh.grads["w_hh"]).max() > 1e-3
    past = jax.jacrev(lambda params: scanned(cell)(params, carry, first.inputs)[0])(params)

    def loss(params, h):
        return jnp.sum(second.weight * squared_error(scanned(cell)(params, h, second.inputs)[1], second.targets))

    direct, d_h = jax.grad(loss, (0, 1))(moved, state.carry)
    assert_close(stale.grads, jax.tree.map(lambda g, s: g + jnp.einsum("bh,bh...->...", d_h, s), direct, past))
