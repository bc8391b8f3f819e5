"""Products in the narrower of two dtypes, summed in the wider."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.products import as_now, in_reverse, made_from, matmul, mixed_matmul, narrowed, promoted, weight_gradient


@pytest.mark.parametrize("wide", ["float32", "float64"])
def test_the_narrower_dtype_multiplies_and_the_wider_sums(wide):
    rng = np.random.default_rng(1)
    a, w = rng.normal(size=(5, 300)).astype(wide), rng.normal(size=(300, 4)).astype(jnp.bfloat16)
    expected = a.astype(jnp.bfloat16).astype(float) @ w.astype(float)
    for found in (mixed_matmul(jnp.array(a), jnp.array(w)), mixed_matmul(jnp.array(w.T), jnp.array(a.T)).T):
        assert found.dtype == wide
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 if wide == "float64" else 2e-5)  # 300 roundings


def test_operands_are_rounded_inside_only_and_never_widened():
    a = jnp.array([[1 + 2**-12]])
    assert narrowed(a) is a and matmul(a, a) == a * a
    assert made_from(jnp.bfloat16, narrowed)(a).dtype == jnp.bfloat16
    assert made_from(jnp.bfloat16, matmul)(a, a) == 1 and matmul(a, a).dtype == a.dtype
    half = a.astype(jnp.bfloat16)
    assert made_from(jnp.float32, narrowed)(half) is half


def test_a_function_called_later_makes_its_products_as_now():
    a = jnp.array([[1 + 2**-12]])
    later = made_from(jnp.bfloat16, lambda: as_now(matmul))()
    assert later(a, a) == 1
    assert as_now(matmul) is matmul


@pytest.mark.parametrize("kind", ["int32", "bool", "bfloat16", "float16"])
def test_sides_of_two_dtypes_meet_in_that_of_their_product(kind, default_settings):
    """However it is made: the weights are not rounded to what the inputs are."""
    a, w = jnp.array([[1, 0, 1]]).astype(kind), jnp.array([[0.3], [0.4], [0.5]])
    assert {side.dtype for side in promoted(a, w)} == {(a @ w).dtype}
    for product in (matmul, in_reverse(matmul)):
        assert product(a, w).item() == pytest.approx(0.8, rel=1e-6)
    assert made_from(jnp.bfloat16, matmul)(a, w).item() == pytest.approx(0.8, rel=2**-8)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_products_in_reverse_have_the_same_values_and_gradients(dtype):
    rng = np.random.default_rng(2)
    a, w, d = (jnp.asarray(rng.normal(size=shape)) for shape in ((7, 5), (5, 3), (7, 3)))
    product = made_from(dtype, matmul)
    (y, pull), (same_y, same_pull) = jax.vjp(product, a, w), jax.vjp(in_reverse(product), a, w)
    for one, other in zip((y, *pull(d)), (same_y, *same_pull(d)), strict=True):
        assert one.dtype == other.dtype == float
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    plain: Any = np.asarray(a), np.asarray(d)
    for found in (weight_gradient(a, d), weight_gradient(*plain)):
        np.testing.assert_allclose(found, a.T @ d, rtol=0, atol=1e-12)


@pytest.mark.parametrize("turned", [(), ("a",), ("w",), ("a", "w")], ids=str)
def test_rounded_products_of_transposes_and_their_transposes(turned, default_settings):
    """Of a size that XLA hands to its library, whose way with narrow sides depends on how they lie."""
    rng = np.random.default_rng(3)
    shapes = {"a": (70, 65), "w": (65, 100), "d": (100, 70)}
    a, w, d = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes.values())
    given = a.T if "a" in turned else a, w.T if "w" in turned else w

    @jax.jit
    def run(a, w, d):
        a, w = a.T if "a" in turned else a, w.T if "w" in turned else w
        y, pull = jax.vjp(lambda a, w: made_from(jnp.bfloat16, matmul)(a, w).T, a, w)
        d_a, d_w = pull(d)
        return y, d_a, d_w.T

    a, w, d = (np.asarray(side.astype(jnp.bfloat16), float) for side in (a, w, d))
    for found, expected in zip(run(*given, d.astype("float32")), ((a @ w).T, (w @ d).T, d @ a), strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)  # a hundred sums of float32


def test_only_products_in_reverse_refuse_forward_mode():
    a = jnp.ones((2, 2))
    assert jax.jvp(matmul, (a, a), (a, a))[1].tolist() == [[4.0, 4.0]] * 2
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(in_reverse(matmul), (a, a), (a, a))
