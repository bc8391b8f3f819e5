"""Exponents, singular values and powers have their closed forms on linear networks, and the sum rule on all others."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params
from jaxrnn.analysis.scalar import scalar_rnn
from jaxrnn.analysis.spectrum import blocks, growth, jacobians, log_singular_values, lyapunov
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.compose import dropout, stack
from jaxrnn.errors import InputError
from jaxrnn.trees import join, split_carry

SIZE = 4
LINEAR = elman(1, SIZE, activation=lambda z: z)
EXPONENTS = {
    burn_in: jax.jit(lambda w, xs, burn_in=burn_in: linear_exponents(w, xs, burn_in=burn_in)) for burn_in in (0, 300)
}
SINGULAR = jax.jit(log_singular_values)


def linear_exponents(w, xs, **options):
    """Of `h' = h w + ...`, one row."""
    params = random_params(0, LINEAR) | {"w_hh": w}
    return lyapunov(LINEAR, params, jnp.zeros((1, SIZE)), xs, **options)[0]


def inputs(steps, size=1, rows=1):
    return np.random.default_rng(1).normal(size=(steps, rows, size))


def with_eigenvalues(block):
    """A matrix of no particular form, similar to the one given."""
    basis = np.eye(SIZE) + 0.3 * np.random.default_rng(2).normal(size=(SIZE, SIZE))
    return basis @ block @ np.linalg.inv(basis)


def test_exponents_of_distinct_real_moduli_are_their_logarithms():
    """After a burn-in of 300 steps what is left of the start is (0.8 / 1.3)^300, the largest ratio of neighbours."""
    values = np.array([1.3, -0.8, 0.4, 0.1])
    found = EXPONENTS[300](with_eigenvalues(np.diag(values)), inputs(400))
    np.testing.assert_allclose(found, np.log(np.abs(values)), rtol=1e-12, atol=1e-12)


def test_a_direction_that_a_step_destroys_shrinks_without_end():
    found = EXPONENTS[0](np.diag([2.0, 1.0, 0.5, 0.0]), inputs(20))
    np.testing.assert_allclose(found[:3], np.log([2.0, 1.0, 0.5]), rtol=0, atol=1e-12)
    assert found[3] == -np.inf


def test_exponents_of_complex_pairs_are_right_up_to_one_over_the_length():
    """Their columns keep turning: each is off by at most a constant over T, and the sum not at all."""
    block = np.zeros((SIZE, SIZE))
    for place, size, angle in ((slice(0, 2), 1.1, 0.7), (slice(2, 4), 0.5, 2.0)):
        block[place, place] = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    w = with_eigenvalues(block)
    expected = np.log([1.1, 1.1, 0.5, 0.5])
    constant = np.log(np.linalg.cond(w)) + np.log(np.linalg.cond(np.linalg.eig(w)[1]))
    for steps in (100, 1600):
        found = EXPONENTS[0](w, inputs(steps))
        assert 1e-10 < np.max(np.abs(found - expected)) < constant / steps
        assert np.sum(found) == pytest.approx(np.log(np.abs(np.linalg.det(w))), abs=1e-12)


def test_exponents_of_long_sequences_are_not_worse():
    """A plain sum of 400,000 equal numbers in float32 is some 0.4 % off, for its rounding is the same every time."""
    cell = scalar_rnn(0.7)
    params = jax.tree.map(jnp.float32, cell.init(jax.random.key(0)))
    run = jax.jit(lambda xs: lyapunov(cell, params, jnp.zeros(1, jnp.float32), xs))
    assert run(np.zeros((400_000, 1), np.float32)).item() == pytest.approx(np.log(np.float32(0.7)), rel=1e-6)


def test_a_carry_of_16_bits_is_decomposed_in_32():
    cell = elman(2, 3)
    params, carry = (jax.tree.map(jnp.bfloat16, tree) for tree in (random_params(0, cell), jnp.zeros((1, 3))))
    seen = jacobians(cell, params, carry, jnp.asarray(inputs(5, size=2), jnp.bfloat16))
    exponents = lyapunov(cell, params, carry, jnp.asarray(inputs(5, size=2), jnp.bfloat16))
    assert seen.dtype == exponents.dtype == jnp.float32
    _, logs = np.linalg.slogdet(np.asarray(seen)[:, 0])
    assert np.sum(exponents) == pytest.approx(logs.mean(), rel=0.05)  # the columns are rounded to bfloat16 at each step
    assert np.sum(log_singular_values(seen.astype(jnp.bfloat16))) == pytest.approx(logs.sum(), rel=0.05)


def test_an_orthogonal_matrix_neither_grows_nor_shrinks():
    w = np.linalg.qr(np.random.default_rng(3).normal(size=(SIZE, SIZE)))[0]
    np.testing.assert_allclose(EXPONENTS[0](w, inputs(100)), np.zeros(SIZE), rtol=0, atol=1e-13)
    np.testing.assert_allclose(SINGULAR(np.broadcast_to(w, (50, SIZE, SIZE))), np.zeros(SIZE), rtol=0, atol=1e-12)
    grown = growth(jnp.asarray(w), 20)
    np.testing.assert_allclose(grown.log_norms, np.zeros(20), rtol=0, atol=1e-13)


def test_a_multiple_adds_its_logarithm_to_every_exponent():
    w, xs = np.random.default_rng(4).normal(size=(SIZE, SIZE)), inputs(100)
    np.testing.assert_allclose(EXPONENTS[0](0.3 * w, xs), EXPONENTS[0](w, xs) + np.log(0.3), rtol=0, atol=1e-12)


CELLS = {
    "tanh": elman(2, 5),
    "gru": gru(2, 4),
    "lstm": lstm(2, 3),
    "stack": stack(gru(2, 2), dropout(0.4), lstm(2, 2)),
}


def by_brute_force(cell, params, carry, xs):
    """Every step's Jacobian `[T, B, N, N]`, of all rows at once, by `jax.jacobian` of a plain loop's step."""

    def flat(floats):
        return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(floats)], axis=1)

    def one_step(carry, x):
        floats, others = split_carry(carry)

        def after(floats):
            return flat(split_carry(cell.step(params, join(floats, others), x)[0])[0])

        parts = jax.tree.leaves(jax.jacobian(after)(floats))  # [1, N, 1, H] each
        return cell.step(params, carry, x)[0], jnp.concatenate([part[:, :, 0] for part in parts], axis=-1)

    found, one_step = [], jax.jit(one_step)
    rows = [jax.tree.map(lambda a, b=b: a[b : b + 1], carry) for b in range(xs.shape[1])]
    for b, row in enumerate(rows):  # a row by itself: so nothing is taken for granted about rows
        of_row = []
        for x in xs[:, b : b + 1]:
            row, jacobian = one_step(row, x)
            of_row.append(jacobian[0])
        found.append(of_row)
    return np.moveaxis(np.array(found), 0, 1)


@pytest.mark.parametrize("name", CELLS)
def test_jacobians_their_exponents_and_their_singular_values(name):
    """Of two rows; the sum rule, the first columns of the whole, and the product multiplied out while that goes."""
    cell, xs = CELLS[name], inputs(12, size=2, rows=2)
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(2, jax.random.key(3)))
    expected = by_brute_force(cell, params, carry, xs)
    found, all_of_them, two, later = jax.jit(
        lambda: (
            jacobians(cell, params, carry, xs),
            lyapunov(cell, params, carry, xs),
            lyapunov(cell, params, carry, xs, columns=2),
            lyapunov(cell, params, carry, xs, burn_in=5),
        )
    )()
    assert_close(found, jnp.asarray(expected))
    log_det = np.linalg.slogdet(expected)[1]
    np.testing.assert_allclose(np.sum(all_of_them, axis=1), log_det.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.sum(later, axis=1), log_det[5:].mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(two, all_of_them[:, :2], rtol=0, atol=1e-12)

    few = expected[:4]
    products = np.einsum("bij,bjk,bkl,blm->bim", *few[::-1])
    singular = np.log(np.linalg.svd(products, compute_uv=False))
    # The product, multiplied out, has lost what is small beside its largest number: that is what it is compared in.
    reliable = singular > singular[:, :1] - 10
    assert reliable.sum() >= 2 * 2
    found = np.asarray(jax.jit(log_singular_values)(few))
    np.testing.assert_allclose(found[reliable], singular[reliable], rtol=1e-12, atol=1e-12)


def test_singular_values_over_hundreds_of_powers_of_ten():
    """A chain `J_t = U_t S_t U_{t-1}^T`, whose product is `U_T (S_T ... S_1) U_0^T`."""
    rng, steps = np.random.default_rng(5), 300
    turns = np.linalg.qr(rng.normal(size=(steps + 1, SIZE, SIZE)))[0]
    stretches = np.exp(rng.normal(size=(steps, SIZE)) + np.array([2.0, 0.5, -1.0, -3.0]))
    chain = turns[1:] * stretches[:, None, :] @ np.swapaxes(turns[:-1], 1, 2)
    expected = np.sort(np.log(stretches).sum(axis=0))[::-1]
    assert expected[0] - expected[-1] > 1000  # what multiplied out would have drowned
    np.testing.assert_allclose(SINGULAR(chain), expected, rtol=1e-12, atol=1e-12)


def test_singular_values_of_a_product_that_is_singular():
    flat = np.diag([2.0, 1.0, 0.0, 0.5])
    found = SINGULAR(np.stack([flat] * 50))
    np.testing.assert_allclose(found[:3], 50 * np.log([2.0, 1.0, 0.5]), rtol=0, atol=1e-12)
    assert found[3] == -np.inf


def test_powers_of_a_normal_matrix_grow_by_its_radius():
    vectors = np.linalg.qr(np.random.default_rng(6).normal(size=(SIZE, SIZE)))[0]
    values = np.array([-0.9, 0.5, 0.2, 0.1])
    grown = growth(jnp.asarray(vectors * values @ vectors.T), 300)
    np.testing.assert_allclose(grown.eigenvalues, values, rtol=0, atol=1e-12)
    assert grown.radius == pytest.approx(0.9, abs=1e-12) and grown.departure < 1e-7  # the root of rounding
    np.testing.assert_allclose(grown.log_norms, np.arange(1, 301) * np.log(0.9), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grown.log_powers, grown.log_norms, rtol=1e-12, atol=1e-12)
    assert grown.peak == grown.log_norms[0]


def test_powers_of_a_matrix_that_is_not_normal_grow_before_they_shrink():
    """A Jordan block: `W^k = [[r^k, k c r^(k-1)], [0, r^k]]`, whose norm is known."""
    r, c, steps = 0.9, 5.0, 200
    grown = growth(jnp.array([[r, c], [0.0, r]]), steps)
    k = np.arange(1, steps + 1)
    corner = k * c / r  # over r^k
    expected = k * np.log(r) + np.log((corner + np.sqrt(corner**2 + 4)) / 2)
    np.testing.assert_allclose(grown.log_norms, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grown.log_powers, k * np.log(r), rtol=1e-12, atol=1e-12)
    assert grown.peak == pytest.approx(expected.max(), abs=1e-12) and grown.peak > np.log(15)
    assert grown.departure == pytest.approx(c / np.sqrt(2 * r**2 + c**2), abs=1e-12)
    assert np.all(grown.log_norms >= grown.log_powers)


def test_no_power_of_nothing():
    grown = growth(jnp.zeros((2, 2)), 3)
    assert grown.radius == 0 and grown.peak == -np.inf and grown.departure == 0


def test_gates_are_taken_apart():
    """As the cell multiplies: `h w_hh` has the gates side by side."""
    w, h = np.random.default_rng(7).normal(size=(3, 12)), np.ones(3)
    gates = blocks(jnp.asarray(w))
    assert_close(jnp.concatenate([h @ gate for gate in gates]), jnp.asarray(h @ w))


def test_refusals():
    cell = elman(2, 3)
    run = partial(lyapunov, cell, random_params(0, cell), jnp.zeros((1, 3)), inputs(5, size=2))
    for options, message in (({"columns": 4}, "from 1 to 3"), ({"burn_in": 5}, "from 0 to 4 steps")):
        with pytest.raises(InputError, match=message):
            run(**options)
    with pytest.raises(InputError, match="growth: w is 'of shape"):
        growth(jnp.ones((2, 3)), 1)
    with pytest.raises(InputError, match="growth: steps is 0"):
        growth(jnp.ones((2, 2)), 0)
    with pytest.raises(InputError, match="blocks: the shape"):
        blocks(jnp.ones((2, 3)))


@pytest.mark.parametrize("measure", [jacobians, lyapunov])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_a_carry_without_one_axis_of_rows_is_refused(measure, batch):
    """Its units would be taken for rows."""
    xs = np.ones((5, *batch, 1))
    with pytest.raises(AssertionError, match=f"{measure.__name__}: the carry .* must have one axis of rows"):
        measure(LINEAR, random_params(0, LINEAR), LINEAR.initial_carry(batch), xs)
