"""Every scheme of initialisation against what defines it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn import initializers
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.errors import InputError

KEY = jax.random.key(0)


@pytest.mark.parametrize("shape", [(16, 16), (16, 5), (5, 16)])
def test_orthogonal(shape):
    """The rows or the columns, whichever are fewer, are orthonormal."""
    w = np.asarray(initializers.orthogonal(KEY, shape, jnp.float64))
    gram = w.T @ w if shape[0] >= shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_orthogonal_in_few_bits(dtype):
    """The decomposition does not exist in 16 bits, so the matrix is rounded: to 2^-8 at worst, in 16 terms."""
    w = initializers.orthogonal(KEY, (16, 16), dtype)
    assert w.dtype == dtype
    w = np.asarray(w, np.float64)
    np.testing.assert_allclose(w.T @ w, np.eye(16), atol=2e-2)


def test_uniform_fills_its_bounds():
    w = np.asarray(initializers.uniform(25)(KEY, (100, 100), jnp.float64))
    assert np.abs(w).max() < 0.2
    assert w.min() < -0.199 and w.max() > 0.199, "of 10,000 draws some are near either end"
    assert abs(w.var() - 0.4**2 / 12) < 5e-4


def test_fan_in_and_normal():
    """The standard deviation of 40,000 normal draws is good to 0.4 %: three times that is allowed."""
    w = np.asarray(initializers.fan_in_normal(KEY, (400, 100), jnp.float64))
    assert abs(w.std() * 20 - 1) < 0.012 and abs(w.mean() * 20) < 0.02
    assert abs(np.std(initializers.normal(0.01)(KEY, (400, 100), jnp.float64)) / 0.01 - 1) < 0.012


def test_identity():
    assert np.array_equal(initializers.identity()(KEY, (3, 3), jnp.float64), np.eye(3))
    assert np.array_equal(initializers.identity(0.5)(KEY, (3, 3), jnp.float64), 0.5 * np.eye(3))


def test_chrono_needs_room():
    with pytest.raises(InputError, match="chrono: longest is 2; it must be more than 2 time steps"):
        initializers.chrono(2)
    with pytest.raises(InputError, match="chrono: the number of gates is 3; it must be 4"):
        gru(3, 4, b_ih=initializers.chrono(9)).init(KEY)


@pytest.mark.parametrize("make", [elman, lstm, gru])
def test_a_layer_of_pytorch_starts_in_its_bounds(make):
    """Every parameter, biases too, uniform on (-1/sqrt(H), 1/sqrt(H)), each gate from a key of its own."""
    start = initializers.uniform(9)
    options = {"forget_bias": 0.0} if make is lstm else {}
    params = make(4, 9, w_ih=start, w_hh=start, b_ih=start, b_hh=start, **options).init(KEY)
    for p in params.values():
        assert 0.25 < float(jnp.abs(p).max()) < 1 / 3
    for w in (params["w_ih"], params["w_hh"]):
        gates = np.split(np.asarray(w), w.shape[1] // 9, axis=-1)
        assert len({gate.tobytes() for gate in gates}) == len(gates)
    assert not np.array_equal(params["b_ih"], params["b_hh"])
    square = make(9, 9, w_ih=start, w_hh=start).init(KEY)
    assert not np.array_equal(square["w_ih"], square["w_hh"])


def test_two_keys_two_networks_one_key_one():
    cell = lstm(3, 4)
    one, same, other = (cell.init(jax.random.key(i))["w_hh"] for i in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
