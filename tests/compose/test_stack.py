"""Cells on top of one another, against the same cells by hand, layer by layer."""

import jax
import numpy as np
import pytest

import reference
from agreement import assert_close, random_like, random_params
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.compose import dense, dropout, stack, with_readout
from jaxrnn.errors import InputError
from jaxrnn.fused import trace

STEPS, ROWS, INPUT, HIDDEN = 6, 2, 3, 4
CELL = stack(lstm(INPUT, HIDDEN), gru(HIDDEN, HIDDEN), elman(HIDDEN, HIDDEN), names=("low", "mid", "high"))
BY_HAND = {"low": reference.lstm(), "mid": reference.gru_reset_after(), "high": reference.elman()}
NOTES = {"low": "ifgoch", "mid": "rznh", "high": "h"}


def test_every_gate_of_every_layer_at_every_step_is_that_of_the_loops():
    params, carry = random_params(0, CELL), random_like(1, CELL.initial_carry(ROWS))
    xs = np.random.default_rng(2).normal(size=(STEPS, ROWS, INPUT))
    seen = jax.jit(lambda: trace(CELL, params, carry, xs))()
    expected, ys = {}, xs
    for (name, cell), layer_carry in zip(BY_HAND.items(), carry, strict=True):
        start = layer_carry if isinstance(layer_carry, tuple) else (layer_carry,)
        _, ys, tape = reference.unroll(cell, params[name], start, ys)
        expected |= {f"{name}/{note}": np.array([values[note] for values in tape]) for note in NOTES[name]}
    assert_close((seen.notes, seen.outputs), (expected, ys))


def test_a_stack_of_stacks_is_a_stack():
    flat = stack(lstm(INPUT, HIDDEN), gru(HIDDEN, HIDDEN), elman(HIDDEN, HIDDEN))
    nested = stack(stack(lstm(INPUT, HIDDEN), gru(HIDDEN, HIDDEN)), elman(HIDDEN, HIDDEN))
    params, (low, mid, high) = random_params(0, flat), random_like(1, flat.initial_carry(ROWS))
    xs = np.random.default_rng(2).normal(size=(STEPS, ROWS, INPUT))
    (_, plain), (_, deep) = jax.jit(
        lambda: (
            flat.unroll(params, (low, mid, high), xs),
            nested.unroll({"0": {"0": params["0"], "1": params["1"]}, "1": params["2"]}, ((low, mid), high), xs),
        )
    )()
    assert_close(deep, plain, tolerance=0)


def test_each_layer_starts_from_a_key_of_its_own():
    same = stack(lstm(HIDDEN, HIDDEN), lstm(HIDDEN, HIDDEN))
    low, high = same.init(jax.random.key(0)).values()
    assert np.abs(low["w_hh"] - high["w_hh"]).max() > 0.1
    noisy = stack(dropout(0.5), dropout(0.5)).initial_carry(ROWS, jax.random.key(0))
    keys = [jax.random.key_data(noise.key) for noise in noisy]
    assert len({row.tobytes() for rows in keys for row in np.asarray(rows)}) == 2 * ROWS


@pytest.mark.parametrize(
    ("cells", "names", "message"),
    [
        ((), None, "0 cells"),
        ((lstm(3, 4), lstm(5, 4)), None, "cell '1' expects inputs of size 5, but cell '0' below it gives .* size 4"),
        ((lstm(3, 4), dropout(0.1), gru(5, 4)), ("a", "b", "c"), "cell 'c' expects .* size 5, but cell 'a' .* size 4"),
        ((lstm(3, 4), lstm(4, 4)), ("a",), "2 cells and names"),
        ((lstm(3, 4), lstm(4, 4)), ("a", "a"), "2 cells and names"),
    ],
)
def test_cells_that_do_not_fit_are_named(cells, names, message):
    with pytest.raises(InputError, match=message):
        stack(*cells, names=names)


def test_a_carry_that_would_come_back_in_another_form_is_refused():
    params, carry = random_params(0, CELL), CELL.initial_carry(ROWS)
    with pytest.raises(InputError, match="stack: carry is a list that does not fit; expected a tuple of"):
        CELL.step(params, [*carry], np.zeros((ROWS, INPUT)))


def test_sizes_of_the_whole():
    assert (CELL.input_size, CELL.output_size) == (INPUT, HIDDEN)
    assert stack(lstm(3, 4), dropout(0.5)).output_size == 4
    assert stack(dropout(0.5), lstm(3, 4)).input_size is None
    assert with_readout(CELL, 2).output_size == 2
    with pytest.raises(InputError, match="no fixed output size"):
        with_readout(dropout(0.5), 2)


def test_a_readout_is_an_affine_map_of_each_output():
    cell = with_readout(gru(INPUT, HIDDEN), 2)
    params, carry = random_params(0, cell), random_like(1, cell.initial_carry(ROWS))
    xs = np.random.default_rng(2).normal(size=(STEPS, ROWS, INPUT))
    hs = reference.unroll(reference.gru_reset_after(), params["cell"], carry[:1], xs)[1]
    ys = jax.jit(lambda: cell.unroll(params, carry, xs)[1])()
    assert_close(ys, hs @ params["readout"]["w"] + params["readout"]["b"])
    with pytest.raises(AssertionError, match=r"dense: the input x \[\*batch, I\] must end in an axis of size 4"):
        dense(4, 2).step(params["readout"], (), np.zeros((2, 3)))
