"""The way to cuDNN and back, by JAX's own reference of it; cuDNN itself where there is a GPU."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

from agreement import all_gradients, assert_close, random_like, random_params
from jaxrnn.cells import cudnn, cudnn_lstm, lstm
from jaxrnn.cells.cudnn import pack, unroll_with
from jaxrnn.compose import zoneout
from jaxrnn.errors import InputError
from jaxrnn.types import Marked

INPUT, HIDDEN, STEPS = 3, 4, 5
ON_CUDA = jax.default_backend() == "gpu"


def reference(x, h, c, weights, lengths, *sizes):
    """JAX's reference, which takes the weights unpacked: `(x, h, c, W_ih, W_hh, b_ih, b_hh, lengths, ...)`."""
    *sizes, precision = sizes
    assert precision is None and sizes == [INPUT, HIDDEN, 1, 0.0, False]
    unpacked = rnn.unpack_lstm_weights(weights, INPUT, HIDDEN, 1, False)
    return rnn.lstm_ref(x, h, c, *unpacked, lengths, *sizes)


def arguments(cell, batch, dtype):
    params, carry = random_params(1, cell), random_like(2, cell.initial_carry(batch))
    return params, carry, np.random.default_rng(3).normal(size=(STEPS, *batch, INPUT)).astype(dtype)


@pytest.mark.parametrize("batch", [(2,), (2, 3), ()])
@pytest.mark.parametrize("biases", [2, 1])
def test_packed_weights_make_the_cell_and_its_gradients(batch, biases):
    """By the reference, in float64."""
    cell = lstm(INPUT, HIDDEN, **({} if biases == 2 else {"b_hh": None}))

    @jax.jit
    def both(*given):
        ways = (lambda *its: unroll_with(reference, *its), cell.unroll)
        return [all_gradients(way, 4, *given) for way in ways]

    with jax.numpy_rank_promotion("allow"):  # the reference promotes
        theirs, ours = both(*arguments(cell, batch, np.float64))
    assert_close(theirs, ours)


def test_packing_is_undone_by_jax():
    params = random_params(1, lstm(INPUT, HIDDEN))
    weights = pack(params)
    assert weights.shape == (rnn.get_num_params_in_lstm(INPUT, HIDDEN, 1, False),)
    w_ih, w_hh, b_ih, b_hh = (parts[0] for parts in rnn.unpack_lstm_weights(weights, INPUT, HIDDEN, 1, False))
    assert_close({"w_ih": w_ih.T, "w_hh": w_hh.T, "b_ih": b_ih, "b_hh": b_hh}, params)


def test_what_it_does_not_take_is_refused_by_name():
    cell = cudnn_lstm(INPUT, HIDDEN)
    params, carry, xs = arguments(cell, (2,), np.float32)
    with pytest.raises(InputError, match="cudnn_lstm: the input has marks"):
        cell.unroll(params, carry, Marked(xs, keep=np.ones(xs.shape[:2], bool)))
    with pytest.raises(InputError, match="are float32, float64; expected float32"):
        cell.unroll(params, carry, xs.astype(np.float64))
    with pytest.raises(InputError, match="are float32, float64; expected float32"):
        cell.unroll(params, jax.tree.map(np.float64, carry), xs)
    with pytest.raises(InputError, match="expected at least one step"):
        cell.unroll(params, carry, xs[:0])
    with pytest.raises(AssertionError, match="lstm: the input x .* must end in an axis of size 3"):
        cell.unroll(params, carry, np.concatenate([xs, xs], axis=-1))
    with pytest.raises(AssertionError, match="lstm: the carry"):
        cell.unroll(params, carry, xs[:, :1])
    with pytest.raises(TypeError, match="dtype"):
        cudnn_lstm(INPUT, HIDDEN, dtype=jnp.float64)


@pytest.mark.parametrize("value", [1, 0.5])
def test_a_weakly_typed_carry_is_handed_over_in_32_bits(monkeypatch, value):
    """A kernel takes bytes as they are: those of int64 and float64 are other numbers."""
    handed = []

    def kernel(x, h, c, *others):
        handed.extend((h, c))
        return jnp.zeros((*x.shape[:2], HIDDEN), x.dtype), h, c

    monkeypatch.setattr(rnn, "lstm", kernel)
    cuda = SimpleNamespace(platform_version="CUDA")
    monkeypatch.setattr(cudnn, "backend", SimpleNamespace(get_backend=lambda: cuda))
    cell = cudnn_lstm(INPUT, HIDDEN)
    params, _, xs = arguments(cell, (2,), np.float32)
    with jax.numpy_dtype_promotion("standard"):
        cell.unroll(params, (jnp.full((2, HIDDEN), value),) * 2, xs)
    assert_close(handed, [np.full((1, 2, HIDDEN), value, np.float32)] * 2, tolerance=0)


@pytest.mark.skipif(ON_CUDA, reason="there is a GPU here")
def test_away_from_cuda_it_is_refused_by_name():
    cell = cudnn_lstm(INPUT, HIDDEN)
    with pytest.raises(InputError, match="runs on CUDA, and this is 'cpu'; use lstm"):
        cell.unroll(*arguments(cell, (2,), np.float32))


def test_its_equations_are_those_of_the_lstm():
    """So the step, and whatever is derived from the equations, runs anywhere."""
    cell, plain = cudnn_lstm(INPUT, HIDDEN), lstm(INPUT, HIDDEN, dtype=jnp.float32)
    params, carry, xs = arguments(cell, (2,), np.float32)
    assert_close(cell.step(params, carry, xs[0]), plain.step(params, carry, xs[0]))
    carry = zoneout(cell, 0.0, 0.0).initial_carry(2)
    assert_close(*(jax.jit(zoneout(c, 0.0, 0.0).unroll)(params, carry, xs) for c in (cell, plain)))


@pytest.mark.skipif(not ON_CUDA, reason="no GPU: cuDNN itself is not tested here")
def test_cudnn_is_the_fused_loop():
    """To 1e-5: both are in float32, and add in another order."""
    cell = cudnn_lstm(INPUT, HIDDEN)
    given = arguments(cell, (2,), np.float32)
    with jax.default_matmul_precision("highest"):
        theirs, ours = (
            jax.jit(lambda *its, c=c: all_gradients(c.unroll, 4, *its))(*given)
            for c in (cell, lstm(INPUT, HIDDEN, dtype=jnp.float32))
        )
    assert_close(theirs, ours, tolerance=1e-5)
