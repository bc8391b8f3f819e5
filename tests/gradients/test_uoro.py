"""UORO: over *all* signs the mean is the exact gradient; and how far a single draw is from it."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, random_like, random_params
from jaxrnn.cells import elman, lstm
from jaxrnn.compose import with_readout
from jaxrnn.gradients import Chunk, accumulate, bptt, rtrl, uoro
from jaxrnn.gradients.uoro import random_signs
from jaxrnn.losses import squared_error
from jaxrnn.types import Marked

STEPS, ROWS, INPUT = 4, 2, 2
CELLS = {"elman": elman(INPUT, 2), "lstm": with_readout(lstm(INPUT, 1), 2)}  # two numbers in each row's carry
SIGNS = jnp.array(list(product((-1, 1), repeat=2 * STEPS))).reshape(-1, STEPS, 2)


def prepared(name, marks=False):
    cell = CELLS[name]
    inputs, targets, weight = random_like(
        1, (np.zeros((STEPS, ROWS, INPUT)), np.zeros((STEPS, ROWS, 2)), np.zeros((STEPS, ROWS)))
    )
    if marks:
        reset, keep = np.zeros((STEPS, ROWS), bool), np.ones((STEPS, ROWS), bool)
        reset[2, 0], keep[1, 1] = True, False
        inputs = Marked(inputs, reset, keep)
    return cell, random_params(2, cell), random_like(3, cell.initial_carry(ROWS)), Chunk(inputs, targets, weight)


def estimate(estimator, params, carry, chunk):
    state = estimator.init(jax.random.key(0), params, carry, chunk)
    return jax.jit(estimator.estimate)(params, state, chunk)


@pytest.mark.parametrize(("name", "marks", "length"), [("elman", False, STEPS), ("elman", True, 1), ("lstm", False, 3)])
def test_the_mean_over_all_signs_is_the_exact_gradient(name, marks, length):
    """256 outcomes, the same in both rows: what is unbiased in each row is so in sum. Whole, in parts, marked."""
    cell, params, carry, chunk = prepared(name, marks)

    def of_signs(signs):
        estimator = accumulate(uoro(cell, squared_error, draw=lambda key, steps, size: signs[steps]), length)
        return estimator.estimate(params, estimator.init(jax.random.key(0), params, carry, chunk), chunk)[0].grads

    grads = jax.jit(jax.vmap(of_signs))(SIGNS)
    mean = jax.tree.map(lambda g: jnp.mean(g, axis=0), grads)
    assert_close(mean, estimate(rtrl(cell, squared_error), params, carry, chunk)[0].grads)

    flat = np.concatenate([np.reshape(g, (len(SIGNS), -1)) for g in jax.tree.leaves(grads)], axis=1)
    spread = np.sqrt(np.sum(np.var(flat, axis=0)))
    assert spread > 0.05 * np.linalg.norm(flat.mean(0))  # the outcomes differ: this mean is a mean of something


def test_the_state_is_that_of_its_equations_by_hand():
    """With signs given, row by row in NumPy; the factors that keep the variance small change no mean."""
    cell, params, h, chunk = prepared("elman")
    signs = np.array([[1, -1], [-1, -1], [1, 1], [-1, 1]])
    rule = uoro(cell, squared_error, draw=lambda key, steps, size: jnp.asarray(signs)[steps])
    _, state = estimate(rule, params, h, chunk)
    by_hand = reference.elman()

    def size(tree):
        return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))

    def balance(one, other):
        return np.sqrt((size(one) + 1e-7) / (size(other) + 1e-7))

    for row in range(ROWS):
        s, theta, now = np.zeros(2), jax.tree.map(np.zeros_like, params), (h[row : row + 1],)
        for x, nu in zip(chunk.inputs[:, row : row + 1], signs.astype(float), strict=True):
            now, values = by_hand.forward(params, now, x)
            units = [by_hand.backward(params, values, (np.eye(2)[[unit]],)) for unit in (0, 1)]
            pushed = np.array([unit[0][0][0] for unit in units]) @ s
            seen = by_hand.backward(params, values, (nu[None],))[2]
            first, second = balance(theta, pushed) if size(theta) else 1.0, balance(seen, nu)
            theta = {name: theta[name] / first + seen[name] / second for name in params}
            s = first * pushed + second * nu
        assert_close(state.influence.s[row], jnp.asarray(s))
        assert_close(jax.tree.map(lambda leaf, row=row: leaf[row], state.influence.theta), theta)


def test_with_signs_that_are_not_independent_the_mean_is_wrong():
    """The comparison can tell: over those outcomes where both signs of the first step are equal, it fails."""
    cell, params, carry, chunk = prepared("elman")

    def of_signs(signs):
        estimator = uoro(cell, squared_error, draw=lambda key, steps, size: signs[steps])
        return estimator.estimate(params, estimator.init(jax.random.key(0), params, carry, chunk), chunk)[0].grads

    grads = jax.jit(jax.vmap(of_signs))(SIGNS[SIGNS[:, 0, 0] == SIGNS[:, 0, 1]])
    exact, _ = estimate(bptt(cell, squared_error), params, carry, chunk)
    assert np.abs(jnp.mean(grads["w_hh"], axis=0) - exact.grads["w_hh"]).max() > 1e-3


def test_in_chunks_it_draws_the_same_signs():
    cell, params, carry, chunk = prepared("elman")
    whole, state = estimate(uoro(cell, squared_error), params, carry, chunk)
    parts, last = estimate(accumulate(uoro(cell, squared_error), 3), params, carry, chunk)
    assert_close(parts, whole)
    assert_close(last, state)


def test_rows_and_steps_draw_by_themselves():
    """Two rows with equal inputs do not have equal influences, nor does a key give the same signs at every step."""
    cell, params, _, chunk = prepared("elman")
    alike = jax.tree.map(np.ones_like, chunk)
    _, state = estimate(uoro(cell, squared_error), params, cell.initial_carry(ROWS), alike)
    assert not np.array_equal(state.influence.s[0], state.influence.s[1])
    of_steps = jax.vmap(lambda steps: random_signs(jax.random.key(0), steps, 8))(jnp.arange(8))
    assert len(np.unique(of_steps, axis=0)) == 8 and set(np.unique(of_steps)) == {-1, 1}


def test_the_state_costs_one_vector_a_row_of_each_kind():
    cell, params, carry, chunk = prepared("lstm")
    influence = uoro(cell, squared_error).init(jax.random.key(0), params, carry, chunk).influence
    assert influence.s.shape == (ROWS, 2)
    assert influence.theta["readout"] == {"w": None, "b": None}
    assert all(influence.theta["cell"][key].shape == (ROWS, *p.shape) for key, p in params["cell"].items())


def test_a_reset_stops_even_an_infinite_influence():
    cell, params, carry, chunk = prepared("lstm")
    reset = np.zeros((STEPS, ROWS), bool)
    reset[0, 0] = True
    chunk = chunk._replace(inputs=Marked(chunk.inputs, reset))
    estimator = uoro(cell, squared_error)
    clean = estimator.init(jax.random.key(0), params, carry, chunk)
    s, theta = jax.tree.map(lambda a: a.at[0].set(jnp.inf), (clean.influence.s, clean.influence.theta))
    exploded = clean._replace(influence=clean.influence._replace(s=s, theta=theta))
    finite, broken = (jax.jit(estimator.estimate)(params, state, chunk) for state in (clean, exploded))
    assert_close(broken, finite)
