"""The minimal GRU against plain NumPy, and that its steps do not wait for one another."""

import jax
import jax.numpy as jnp
import numpy as np

from agreement import all_gradients, assert_close, assert_follows_by_hand, random_like, random_params
from jaxrnn.cell import scan_unroll
from jaxrnn.cells import min_gru, min_gru_step
from jaxrnn.types import Marked
from reference_further import min_gru as by_hand

STEPS, ROWS, INPUT, HIDDEN = 7, 2, 3, 4
CELL = min_gru(INPUT, HIDDEN)
PARAMS = random_params(0, CELL)
H, XS = random_like(1, (np.zeros((ROWS, HIDDEN)), np.zeros((STEPS, ROWS, INPUT))))


def test_it_follows_the_equations_by_hand():
    assert_follows_by_hand(CELL, by_hand())


def test_the_step_by_itself_is_that_of_the_cell():
    assert_close(min_gru_step(PARAMS, H, XS[0]), CELL.step(PARAMS, H, XS[0]))


def test_no_loop_goes_over_time():
    """Neither forwards nor backwards: what is as long as the sequence is computed for all of it."""
    program = jax.make_jaxpr(jax.grad(lambda params: CELL.unroll(params, H, XS)[1].sum()))(PARAMS)
    assert "scan" not in str(program) and "while" not in str(program)


def test_marks_of_every_kind():
    """A row that starts anew, padding, and both at once, with an infinite state and NaN where they must not be seen."""
    reset, keep = np.zeros((2, STEPS, ROWS), bool)
    reset[[2, 4], [0, 1]] = True
    keep[:] = True
    keep[[4, 5, 3], [1, 1, 0]] = False
    xs = np.where(keep[..., None], XS, np.nan)
    marked = Marked(xs, jnp.asarray(reset), jnp.asarray(keep))

    def gradients(unroll):
        return all_gradients(lambda params, h: unroll(params, h, marked), 2, PARAMS, H)

    assert_close(gradients(CELL.unroll), gradients(scan_unroll(CELL.step)))
    infinite = CELL.unroll(PARAMS, jnp.full_like(H, jnp.inf), marked)[1]
    assert_close(infinite[2:, 0], CELL.unroll(PARAMS, H, marked)[1][2:, 0])
