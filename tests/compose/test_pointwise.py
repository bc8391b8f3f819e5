"""Cells without memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import all_gradients, assert_close, random_params
from jaxrnn.compose import dense, embedding
from jaxrnn.types import Marked

STEPS, ROWS = 5, 3
RNG = np.random.default_rng(0)
KEEP = RNG.random((STEPS, ROWS)) < 0.5


def test_an_embedding_is_a_lookup_and_its_gradient_a_count():
    cell = embedding(6, 4)
    params, ids = random_params(1, cell), RNG.integers(0, 5, (STEPS, ROWS))

    def unroll(params):
        return cell.unroll(params, (), ids)[1]

    ys, grads = jax.jit(lambda params: (unroll(params), jax.grad(lambda params: jnp.sum(unroll(params)))(params)))(
        params
    )
    assert_close(ys, params["w"][ids])
    often = np.bincount(ids.ravel(), minlength=6)[:, None].astype(float)
    assert_close(grads["w"], np.broadcast_to(often, (6, 4)))


@pytest.mark.parametrize("filler", [np.nan, np.inf])
def test_padding_reaches_neither_output_nor_gradient(filler):
    cell = dense(4, 2)
    params, xs = random_params(1, cell), np.where(KEEP[..., None], RNG.normal(size=(STEPS, ROWS, 4)), filler)

    def unroll(params, xs):
        return cell.unroll(params, (), Marked(xs, keep=KEEP))[1]

    ys, (d_params, d_xs) = jax.jit(lambda *arguments: all_gradients(unroll, 2, *arguments))(params, xs)
    assert_close(ys[KEEP], xs[KEEP] @ params["w"] + params["b"])
    assert not np.any(ys[~KEEP]) and not np.any(d_xs[~KEEP])
    assert all(np.all(np.isfinite(d)) for d in d_params.values())


@pytest.mark.parametrize("rows", [3, 20])
def test_a_dense_layer_and_its_gradients_by_hand(rows):
    """With few rows beside its inputs and with many, which it computes in different ways."""
    cell = dense(4, 9)
    params, x, d = random_params(1, cell), RNG.normal(size=(rows, 4)), RNG.normal(size=(rows, 9))
    y, pull = jax.vjp(lambda params, x: cell.step(params, (), x)[1], params, x)
    assert_close(y, x @ params["w"] + params["b"])
    assert_close(pull(d), ({"w": x.T @ d, "b": d.sum(axis=0)}, d @ params["w"].T))
