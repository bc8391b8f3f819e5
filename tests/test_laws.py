"""The laws of the two records, over the whole table of cells and estimators."""

from functools import cache, partial

import jax
import numpy as np
import pytest

from agreement import (
    all_gradients,
    assert_close,
    estimate_by_definition,
    random_like,
    random_params,
    scanned,
)
from jaxrnn.trees import is_float, is_key
from jaxrnn.types import Marked
from table import CELLS, ESTIMATORS, goes_with, make_chunk

INPUT, HIDDEN, ROWS, STEPS = 3, 4, 2, 7
LENGTH = 3  # of a horizon, segment or part: it does not divide the chunk


def prepared(name, noisy, steps=STEPS):
    """A cell of the table with parameters, a carry and a chunk, all of them random."""
    cell = CELLS[name].build(INPUT, HIDDEN)
    carry = random_like(2, cell.initial_carry(ROWS, jax.random.key(3) if noisy else None))
    return cell, random_params(1, cell), carry, make_chunk(CELLS[name], cell, 4, steps, ROWS, INPUT)


def marked(xs):
    """The inputs with random marks: rows start anew, and steps are padding, in the middle too."""
    rng = np.random.default_rng(5)
    return Marked(xs, reset=rng.random(xs.shape[:2]) < 0.3, keep=rng.random(xs.shape[:2]) < 0.6)


def unrolls():
    """Every row of cells with and without marks; where there is noise, with and without it.

    Short ones are for the loops, so that cells which differ in their equations alone are spared.
    """
    for name, row in CELLS.items():
        for noisy in {False, row.noisy}:
            for steps, marks in ((STEPS, False), (STEPS, True), (1, True), (0, True)):
                if steps == STEPS or (noisy == row.noisy and row.estimators is None):
                    case = f"{name}-{'noisy' if noisy else 'plain'}-{steps}{'-marked' * marks}"
                    yield pytest.param(name, noisy, steps, marks, id=case)


@pytest.mark.parametrize(("name", "noisy", "steps", "marks"), list(unrolls()))
def test_unroll_is_the_scan_of_step(name, noisy, steps, marks):
    """In the outputs and the last carry, and in the cotangents of parameters, first carry and inputs."""
    cell, params, carry, chunk = prepared(name, noisy, steps)
    xs = marked(chunk.inputs) if marks else chunk.inputs
    assert noisy == any(is_key(leaf) for leaf in jax.tree.leaves(carry))

    @jax.jit
    def both(params, carry, xs):
        return tuple(all_gradients(f, 6, params, carry, xs) for f in (cell.unroll, scanned(cell)))

    unrolled, defined = both(params, carry, xs)
    assert_close(unrolled, defined)


@cache
def by_definition(name):
    """The definition of all estimators for one cell, compiled once: `(params, carry, chunk, cut, renew_every)`."""
    cell = CELLS[name].build(INPUT, HIDDEN)
    return jax.jit(partial(estimate_by_definition, cell, CELLS[name].task.loss))


ESTIMATES = [
    pytest.param(name, estimator, id=f"{name}-{estimator}")
    for name in CELLS
    for estimator in ESTIMATORS
    if goes_with(name, estimator)
]


@pytest.mark.parametrize(("name", "estimator"), ESTIMATES)
def test_estimator_laws(name, estimator):
    """One compiled estimator, three sets of weights of which the last is the sum of the others."""
    cell, params, carry, chunk = prepared(name, CELLS[name].noisy)
    row = ESTIMATORS[estimator]
    build = row.build(cell, CELLS[name].task.loss, LENGTH)
    some = np.where(np.random.default_rng(7).random(chunk.weight.shape) < 0.5, chunk.weight, 0)
    start = build.init(jax.random.key(8), params, carry, chunk)
    estimate = jax.jit(build.estimate)
    parts = [estimate(params, start, chunk._replace(weight=w)) for w in (some, chunk.weight - some, chunk.weight)]
    (first, _), (second, _), (whole, state) = parts

    cut = STEPS + 1 if row.exactness == "exact" else LENGTH
    renew_every = LENGTH if row.renews == "part" else STEPS + 1
    (loss, weight, grads), last = by_definition(name)(params, carry, chunk, cut, renew_every)

    assert_close((whole.loss, whole.weight, state.carry), (loss, weight, last))  # 1: one forward pass for all
    assert jax.tree.map(jax.typeof, state) == jax.tree.map(jax.typeof, start)  # 2: the state keeps its form, and is
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state) if is_float(leaf))  # finite
    assert_close(jax.tree.map(lambda a, b: a + b, first, second), whole)  # 3: estimates add
    if row.exactness != "unbiased":
        assert_close(whole.grads, grads)  # 4: exact, or truncated, as declared


def test_the_laws_can_tell_exact_from_truncated():
    """The declared classes differ in this very test: a truncated gradient is far from the exact one."""
    _, params, carry, chunk = prepared("lstm", False)
    exact, truncated = (by_definition("lstm")(params, carry, chunk, cut, STEPS)[0][2] for cut in (STEPS + 1, LENGTH))
    with pytest.raises(AssertionError):
        assert_close(truncated, exact, tolerance=1e-3)
