"""The cross-entropy in blocks is the plain one, in values and gradients, in memory free of the vocabulary's size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close
from jaxrnn.cross_entropy import readout_cross_entropy
from jaxrnn.errors import InputError
from jaxrnn.losses import softmax_cross_entropy

STEPS, ROWS, HIDDEN, WORDS = 3, 2, 4, 10
RNG = np.random.default_rng(0)
H, W, B = RNG.normal(size=(STEPS, ROWS, HIDDEN)), RNG.normal(size=(HIDDEN, WORDS)), RNG.normal(size=WORDS)
TARGETS = np.array([[0, 9], [8, 3], [5, 5]])
D_LOSS = RNG.normal(size=TARGETS.shape)


def plain(h, w, b, targets=TARGETS):
    logits = jnp.reshape(h, (-1, h.shape[-1])) @ w + b[None]
    return softmax_cross_entropy(logits.reshape(*h.shape[:-1], w.shape[1]), targets)


def with_cotangents(loss, h=H, w=W, b=B):
    losses, pull = jax.vjp(loss, h, w, b)
    return losses, pull(jnp.asarray(D_LOSS, losses.dtype))


@pytest.mark.parametrize(
    ("block", "dtype"), [(1, "int32"), (3, "int64"), (5, "int32"), (9, "uint8"), (10, "int64"), (99, "int32")]
)
def test_values_and_gradients_are_those_of_the_plain_one(block, dtype):
    targets = TARGETS.astype(dtype)
    blocked = jax.jit(lambda: with_cotangents(lambda *args: readout_cross_entropy(*args, targets, block=block)))()
    assert_close(blocked, jax.jit(lambda: with_cotangents(plain))())


def test_logits_of_any_size_are_safe():
    """Where `exp` would overflow, and where symbols have probability 0."""
    w, b = 1000 * W, np.where(np.arange(WORDS) % 4 == 1, -np.inf, B)  # 0, 3, 5, 8 and 9: two of the targets among them
    targets = np.where(np.isin(TARGETS, (1, 5, 9)), 0, TARGETS)

    def both(h, w, b):
        return readout_cross_entropy(h, w, b, targets, block=3), plain(h, w, b, targets)

    for blocked, whole in zip(*(with_cotangents(lambda *a, n=n: both(*a)[n], w=w, b=b) for n in (0, 1)), strict=True):
        assert_close(blocked, whole)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(blocked))


def test_targets_that_do_not_exist_are_nan_as_in_the_plain_one():
    targets = np.array([[-1, 9], [-WORDS, 3], [WORDS, 5]])
    losses, cotangents = with_cotangents(lambda *args: readout_cross_entropy(*args, targets, block=3))
    assert np.isnan(losses).tolist() == [[True, False]] * 3
    assert_close((losses, cotangents), with_cotangents(lambda *args: plain(*args, targets)))


def test_an_input_of_another_dtype_than_the_readout(default_settings):
    """To 1e-6: in float32."""
    given = jnp.asarray(H, jnp.bfloat16), jnp.asarray(W, jnp.float32), jnp.asarray(B, jnp.float32)
    blocked = with_cotangents(lambda *args: readout_cross_entropy(*args, TARGETS, block=3), *given)
    whole = with_cotangents(plain, *given)
    assert_close((blocked[0], blocked[1][1:]), (whole[0], whole[1][1:]), tolerance=1e-6)
    assert_close(blocked[1][0], whole[1][0], tolerance=2**-8)  # bfloat16


def test_narrow_floats_are_added_up_in_wider_ones(default_settings):
    """Of ten thousand equal logits each block adds less than bfloat16 tells from nothing. To its rounding, 2^-8."""
    h, w, b = jnp.zeros((1, 4), jnp.bfloat16), jnp.zeros((4, 10_000), jnp.bfloat16), jnp.zeros(10_000, jnp.bfloat16)
    loss, d_b = jax.value_and_grad(lambda b: readout_cross_entropy(h, w, b, np.array([0]), block=64).sum())(b)
    assert loss.dtype == d_b.dtype == jnp.bfloat16
    assert abs(float(loss) - np.log(10_000)) < 2**-8 * float(loss)
    assert abs(float(d_b[1:].astype(jnp.float32).sum()) - 1) < 2**-8 and float(d_b[0]) == -1


def test_a_row_without_credit_may_hold_anything():
    d_loss = np.where(np.arange(STEPS)[:, None] == 1, 0, D_LOSS)
    h = np.where(np.arange(STEPS)[:, None, None] == 1, np.inf, H)
    blocked, whole = (jax.vjp(lambda *args: readout_cross_entropy(*args, TARGETS, block=3), h, W, B)[1] for h in (h, H))
    assert_close(blocked(jnp.asarray(d_loss)), whole(jnp.asarray(d_loss)))


def test_memory_grows_with_the_block_and_not_with_the_vocabulary():
    """The compiled program's own account, of value and gradient; that of the plain one holds the logits twice."""
    rows, hidden = 512, 8

    def temporary(loss, words):
        arguments = jnp.zeros((rows, hidden)), jnp.zeros((hidden, words)), jnp.zeros(words)
        program = jax.jit(jax.value_and_grad(lambda *args: loss(*args).sum(), argnums=(0, 1, 2))).lower(*arguments)
        return program.compile().memory_analysis().temp_size_in_bytes

    targets = np.zeros(rows, int)
    logits = rows * 4000 * 8

    def blocked(block):
        return lambda h, w, b: readout_cross_entropy(h, w, b, targets, block=block)

    small, large, wide = temporary(blocked(64), 1000), temporary(blocked(64), 4000), temporary(blocked(256), 4000)
    assert large < 1.02 * small and small < 5 * rows * 64 * 8
    assert wide > 2 * large
    assert temporary(lambda h, w, b: plain(h, w, b, targets), 4000) > 1.5 * logits > 20 * large


def test_what_does_not_fit_is_named():
    with pytest.raises(InputError, match="readout_cross_entropy: block is 0; it must be at least 1 symbol"):
        readout_cross_entropy(H, W, B, TARGETS, block=0)
    for h, w, b, targets, name in (
        (H, W.T, B, TARGETS, "w"),
        (H, W, B[1:], TARGETS, "b"),
        (H, W, B, TARGETS[1:], "ta"),
    ):
        with pytest.raises(AssertionError, match=f"readout_cross_entropy: {name}"):
            readout_cross_entropy(h, w, b, targets, block=3)
    with pytest.raises(AssertionError, match="targets must be integers"):
        readout_cross_entropy(H, W, B, TARGETS.astype(float), block=3)


def test_the_gradient_of_a_narrow_state_is_summed_in_wider_floats(default_settings):
    """10,000 gradients of 1/10,000: in bfloat16 their sum would stop at a half."""
    h, w, b = jnp.zeros((1, 4), jnp.bfloat16), jnp.ones((4, 10_000), jnp.bfloat16), jnp.zeros(10_000, jnp.bfloat16)
    w = w.at[:, 0].set(0)
    d_h = jax.grad(lambda h: readout_cross_entropy(h, w, b, np.array([0]), block=16).sum())(h)
    assert abs(float(d_h[0, 0]) - 1) < 2**-6  # a rounding of bfloat16 at 1, and that of 1/10,000
