"""The element-wise LSTM against plain NumPy, and that its units are alone. Its laws are tested in test_laws.py."""

import jax
import jax.numpy as jnp
import numpy as np

from agreement import assert_close, random_like, random_params
from jaxrnn.cells import elstm, elstm_step
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import squared_error
from reference import Reference, sigmoid
from reference import bptt as reference_bptt
from reference import squared_error as reference_loss
from reference import unroll as reference_unroll

STEPS, ROWS, INPUT, HIDDEN = 6, 2, 3, 4
CELL = elstm(INPUT, HIDDEN)
PARAMS = random_params(0, CELL)
CHUNK = random_like(1, Chunk(np.zeros((STEPS, ROWS, INPUT)), np.zeros((STEPS, ROWS, HIDDEN)), np.zeros((STEPS, ROWS))))


def by_hand():
    """The equations and their derivatives. The output h is written as a state that nothing remembers."""

    def forward(params, carry, x):
        _, c = carry
        f, g, o = np.split(x @ params["w_ih"] + params["b_ih"], 3, axis=-1)
        w_f, w_g = np.split(params["w_c"], 2)
        f, g = sigmoid(f + w_f * c), np.tanh(g + w_g * c)
        new = f * c + (1 - f) * g
        o = sigmoid(o + new @ params["w_co"])
        return (o * new, new), dict(x=x, c_before=c, f=f, g=g, o=o, c=new)

    def backward(params, values, d_carry):
        d_h, d_c = d_carry
        x, c, f, g, o, new = (values[name] for name in ("x", "c_before", "f", "g", "o", "c"))
        w_f, w_g = np.split(params["w_c"], 2)
        d_o = d_h * new * o * (1 - o)
        d_c = d_c + d_h * o + d_o @ params["w_co"].T
        d_f, d_g = d_c * (c - g) * f * (1 - f), d_c * (1 - f) * (1 - g**2)
        d_a = np.concatenate([d_f, d_g, d_o], axis=-1)
        d_w_c = np.concatenate([(d_f * c).sum(0), (d_g * c).sum(0)])
        d_params = {"w_ih": x.T @ d_a, "w_c": d_w_c, "w_co": new.T @ d_o, "b_ih": d_a.sum(0)}
        return (np.zeros_like(d_h), d_c * f + d_f * w_f + d_g * w_g), d_a @ params["w_ih"].T, d_params

    return Reference(3, 2, forward, backward)


def test_values_and_gradient_are_those_of_the_equations_by_hand():
    c = random_like(2, np.zeros((ROWS, HIDDEN)))
    estimator = bptt(CELL, squared_error)
    state = estimator.init(None, PARAMS, c, CHUNK)
    estimate, state = jax.jit(estimator.estimate)(PARAMS, state, CHUNK)

    last, hs, tape = reference_unroll(by_hand(), PARAMS, (np.zeros_like(c), c), CHUNK.inputs)
    loss, d_hs = reference_loss(hs, CHUNK.targets, CHUNK.weight)
    grads, _, _ = reference_bptt(by_hand(), PARAMS, tape, (np.zeros_like(c), np.zeros_like(c)), d_hs)
    assert_close((estimate.loss, state.carry, estimate.grads), (np.asarray(loss), last[1], grads))


def test_each_unit_of_the_carry_hangs_on_its_own_past_alone():
    c, x = random_like(3, (np.zeros(HIDDEN), np.zeros(INPUT)))
    jacobian = np.asarray(jax.jacrev(lambda c: elstm_step(PARAMS, c, x)[0])(c))
    off_diagonal = jacobian[~np.eye(HIDDEN, dtype=bool)]
    assert np.all(off_diagonal == 0) and np.all(np.diagonal(jacobian) != 0)


def test_the_step_by_itself_is_that_of_the_cell():
    c, x = random_like(4, (np.zeros((ROWS, HIDDEN)), np.zeros((ROWS, INPUT))))
    assert_close(elstm_step(PARAMS, c, x), CELL.step(PARAMS, c, x))


def test_the_forget_bias_is_on_the_forget_gate_alone():
    plain, biased = (elstm(INPUT, HIDDEN, forget_bias=bias).init(jax.random.key(0)) for bias in (0.0, 2.0))
    expected = np.concatenate([np.full(HIDDEN, 2.0), np.zeros(2 * HIDDEN)])
    assert_close(biased["b_ih"] - plain["b_ih"], jnp.asarray(expected))
