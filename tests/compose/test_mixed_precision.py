"""Mixed precision: products of rounded operands, summed in the cell's own dtype, and nothing else changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import all_gradients, assert_close, random_like, random_params, scanned
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.compose import dense, embedding, mixed_precision, stack, zoneout
from jaxrnn.errors import InputError
from jaxrnn.gradients import bptt, checkpointed_bptt, truncated_bptt
from jaxrnn.losses import squared_error
from jaxrnn.trees import is_float
from jaxrnn.types import Marked
from table import CELLS, DISTINCT, make_chunk

INPUT, HIDDEN, ROWS, STEPS = 3, 4, 2, 5


def rounded(a):
    """The nearest bfloat16, by NumPy and ml_dtypes; float64 again, in which products of two of them are exact."""
    return np.asarray(a).astype(jnp.bfloat16).astype(np.float64)


def by_hand(params, h, xs, d_last, d_ys):
    """An Elman network and its BPTT as loops, each product of rounded operands: ys, cotangents of params, h and xs."""
    w_ih, w_hh = rounded(params["w_ih"]), rounded(params["w_hh"])
    hs = [h]
    for x in xs:
        z = rounded(x) @ w_ih + params["b_ih"] + rounded(hs[-1]) @ w_hh + params["b_hh"]
        hs.append(np.tanh(z))
    d_params = {name: np.zeros_like(p) for name, p in params.items()}
    d_h, d_xs = d_last, np.zeros_like(xs)
    for t in reversed(range(len(xs))):
        d = (d_h + d_ys[t]) * (1 - hs[t + 1] ** 2)
        d_params["w_ih"] += rounded(xs[t]).T @ rounded(d)
        d_params["w_hh"] += rounded(hs[t]).T @ rounded(d)
        d_params["b_ih"] += d.sum(0)
        d_params["b_hh"] += d.sum(0)
        d_h, d_xs[t] = rounded(d) @ w_hh.T, rounded(d) @ w_ih.T
    return np.array(hs[1:]), (d_params, d_h, d_xs)


@pytest.mark.parametrize("way", ["unroll", "scan"])
def test_an_elman_network_and_its_gradients_are_those_of_rounded_operands(way):
    """To 1e-12: sums are in float64 here, and only the operands have 8 bits."""
    cell = mixed_precision(elman(INPUT, HIDDEN))
    params, h = random_params(1, cell), random_like(2, cell.initial_carry(ROWS))
    xs = np.random.default_rng(3).normal(size=(STEPS, ROWS, INPUT))
    unroll = cell.unroll if way == "unroll" else scanned(cell)
    (last, ys), cotangents = jax.jit(lambda *its: all_gradients(unroll, 4, *its))(params, h, xs)
    d_last, d_ys = random_like(4, (last, ys))
    expected, expected_cotangents = by_hand(params, h, xs, d_last, d_ys)
    assert_close((last, ys), (expected[-1], expected))
    assert_close(cotangents, expected_cotangents)


@pytest.mark.parametrize("name", DISTINCT)
def test_every_cell_keeps_the_law_its_dtypes_and_nearly_its_gradients(name):
    """With marks, and with noise where there is any. `unroll` is the scan of `step`; no leaf becomes narrower."""
    row = CELLS[name]
    cell = row.build(INPUT, HIDDEN)
    coarse = mixed_precision(cell)
    carry = random_like(2, cell.initial_carry(ROWS, jax.random.key(3) if row.noisy else None))
    xs = make_chunk(row, cell, 4, STEPS, ROWS, INPUT).inputs
    rng = np.random.default_rng(5)
    xs = Marked(xs, reset=rng.random((STEPS, ROWS)) < 0.3, keep=rng.random((STEPS, ROWS)) < 0.8)

    @jax.jit
    def three(*arguments):
        return tuple(all_gradients(f, 6, *arguments) for f in (coarse.unroll, scanned(coarse), cell.unroll))

    unrolled, by_definition, exact = three(random_params(1, cell), carry, xs)
    assert_close(unrolled, by_definition)
    assert_close(unrolled, exact, tolerance=0.1)  # 2^-9 for each operand, through some steps; dtypes are equal
    a, b = (np.concatenate([np.ravel(g) for g in jax.tree.leaves(its[1]) if is_float(g)]) for its in (unrolled, exact))
    assert a @ b > 0.999 * np.linalg.norm(a) * np.linalg.norm(b)
    if name != "dropout":  # which has no product
        assert np.any(a != b)


def test_parameters_carry_and_gradients_stay_float32_and_so_do_sums():
    """4,097 ones add up to 4,097: a sum of bfloat16 would stop at 256, and could not hold the result."""
    cell = mixed_precision(elman(4097, 2, activation=jax.nn.relu, dtype=jnp.float32))
    ones = jax.tree.map(lambda p: jnp.ones(p.shape, p.dtype), jax.eval_shape(cell.init, jax.random.key(0)))
    params = ones | {"w_hh": 0 * ones["w_hh"], "b_ih": 0 * ones["b_ih"], "b_hh": 0 * ones["b_hh"]}
    xs = jnp.ones((1, 1, 4097), jnp.float32)
    (carry, ys), grads = all_gradients(cell.unroll, 1, params, cell.initial_carry(1), xs)
    assert ys.tolist() == [[[4097.0, 4097.0]]]
    assert {leaf.dtype for leaf in jax.tree.leaves((carry, ys, grads))} == {jnp.dtype("float32")}


def test_the_gradient_of_a_weight_is_summed_in_float32():
    """Over 4,097 rows: each adds 1."""
    cell = mixed_precision(elman(1, 1, activation=jax.nn.relu, dtype=jnp.float32))
    params = jax.tree.map(lambda p: jnp.ones(p.shape, p.dtype), jax.eval_shape(cell.init, jax.random.key(0)))
    h, xs = jnp.ones((4097, 1), jnp.float32), jnp.ones((1, 4097, 1), jnp.float32)
    grads = jax.grad(lambda params: jnp.sum(cell.unroll(params, h, xs)[1]))(params)
    assert grads["w_hh"].item() == grads["w_ih"].item() == 4097.0


def test_without_it_no_program_changes():
    """Not one operation: neither before, nor after a coarse program was traced."""
    cell = lstm(INPUT, HIDDEN, dtype=jnp.float32)
    carry, xs = cell.initial_carry(ROWS), jnp.ones((STEPS, ROWS, INPUT), jnp.float32)

    def program(cell):
        def loss(params):
            return jnp.sum(cell.unroll(params, carry, xs)[1])

        return jax.jit(jax.grad(loss)).lower(jax.eval_shape(cell.init, jax.random.key(0))).as_text()

    before, coarse, after = program(cell), program(mixed_precision(cell)), program(cell)
    assert before == after and "bf16" not in before
    assert "bf16" in coarse and "f64" not in coarse


def test_it_holds_within_other_cells_and_for_some_layers():
    """Around a recurrence that is derived anew, and beside a layer that stays as it is."""
    coarse, fine = mixed_precision(lstm(INPUT, HIDDEN)), lstm(HIDDEN, HIDDEN)
    xs = np.random.default_rng(1).normal(size=(STEPS, ROWS, INPUT))

    def gradients(cell, params):
        return all_gradients(lambda params: cell.unroll(params, cell.initial_carry(ROWS), xs)[1], 2, params)

    params = random_params(3, coarse)
    outside = zoneout(coarse, 0.0, 0.0)
    assert_close(jax.jit(lambda p: gradients(outside, p))(params), jax.jit(lambda p: gradients(coarse, p))(params))
    both = stack(coarse, fine)
    text = str(jax.make_jaxpr(lambda p: gradients(both, p))(random_params(3, both)))
    alone = str(jax.make_jaxpr(lambda p: gradients(coarse, p))(params))
    assert text.count("bf16") == alone.count("bf16") > 0


def test_one_program_for_each_precision():
    """What `jit` keeps for one precision it does not take for the other."""
    fine = elman(1, 1, activation=jax.nn.relu)
    params, xs = random_params(1, fine), jnp.full((1, 1, 1), 1 + 2**-12)
    compiled = jax.jit(lambda params, xs: fine.step(params, jnp.ones((1, 1)), xs[0])[1])
    coarse = mixed_precision(fine._replace(step=lambda params, carry, xs: (carry, compiled(params, xs))))
    assert compiled(params, xs) != coarse.step(params, None, xs)[1]


def test_estimators_take_it():
    """Recomputed or cut, its gradient is the one that it has; for devices see `on_eight_devices.py`."""
    cell = mixed_precision(lstm(INPUT, HIDDEN))
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(ROWS))
    chunk = make_chunk(CELLS["lstm"], cell, 3, 6, ROWS, INPUT)
    whole = bptt(cell, squared_error)
    checkpointed = checkpointed_bptt(cell, squared_error, segment_length=2)
    cut, by_parts = truncated_bptt(cell, squared_error, horizon=3), []

    @jax.jit
    def estimates(carry):
        rules = (whole, checkpointed, cut)
        return [r.estimate(params, r.init(jax.random.key(0), params, carry, chunk), chunk)[0] for r in rules]

    exact, again, truncated = estimates(carry)
    assert_close(again, exact)
    for part in (slice(0, 3), slice(3, 6)):
        few = jax.tree.map(lambda leaf, part=part: leaf[part], chunk)
        state = whole.init(jax.random.key(0), params, carry, few)
        estimate, state = jax.jit(whole.estimate)(params, state, few)
        by_parts, carry = [*by_parts, estimate], state.carry
    assert_close(truncated, jax.tree.map(jnp.add, *by_parts))


def test_what_pushes_derivatives_forward_is_refused():
    cell = mixed_precision(elman(INPUT, HIDDEN))
    h, x = cell.initial_carry(ROWS), jnp.ones((ROWS, INPUT))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda h: cell.step(random_params(1, cell), h, x)[1], (h,), (h,))


def test_a_table_that_is_multiplied_adds_up_cotangents_before_it_rounds_them():
    """Values are those of the scan; gradients of the table and of what multiplies it are so but for rounding."""
    cell = mixed_precision(stack(embedding(3, INPUT), gru(INPUT, HIDDEN)))
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(ROWS))
    ids = np.random.default_rng(3).integers(0, 3, (20, ROWS))

    def results(unroll):
        return jax.jit(lambda *its: all_gradients(lambda p, c: unroll(p, c, ids), 4, *its))(params, carry)

    (values, (d_params, d_carry)), (expected, (d_expected, d_first)) = map(results, (cell.unroll, scanned(cell)))
    assert_close((values, d_carry), (expected, d_first))
    assert_close(d_params["1"]["w_hh"], d_expected["1"]["w_hh"])
    assert_close(d_params, d_expected, tolerance=0.05)  # 2^-9 of each of 40 cotangents
    assert np.any(d_params["1"]["w_ih"] != d_expected["1"]["w_ih"])


@pytest.mark.parametrize("rows", [1, 99])
def test_a_bias_is_not_rounded(rows):
    params = {"w": np.zeros((2, 9)), "b": np.full(9, 1 + 2**-9)}
    _, ys = mixed_precision(dense(2, 9)).step(params, (), np.ones((rows, 2)))
    np.testing.assert_array_equal(ys, 1 + 2**-9)


@pytest.mark.parametrize("dtype", [jnp.int8, bool, "bf16"])
def test_operands_are_floats(dtype):
    with pytest.raises(InputError, match="mixed_precision: dtype is .*; it must be a float dtype"):
        mixed_precision(lstm(INPUT, HIDDEN), dtype)
