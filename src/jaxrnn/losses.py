"""Losses, element by element: `(outputs, targets) -> [K, B]`. Weights and sums belong to the gradient estimator."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxrnn.choices import require
from jaxrnn.errors import expect
from jaxrnn.sums import sum_dtype
from jaxrnn.types import Array, Penalized


def softmax_cross_entropy(logits: Array, targets: Array) -> Array:
    """Cross-entropy of a softmax over the last axis, in nats: `-log softmax(logits)[target]`.

    Args:
        logits: `[*batch, V]`.
        targets: integer `[*batch]`, each in `[0, V)`; one outside gives NaN.

    Returns:
        `[*batch]`.

    Raises:
        AssertionError: (from chex) naming what has another shape or dtype.

    Example:
        >>> softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4)     # log 4
        Array([1.3863], dtype=float32)
    """
    _check_plain("softmax_cross_entropy", logits)
    expect("softmax_cross_entropy: targets must be integers", chex.assert_type, targets, int)
    _check_batch("softmax_cross_entropy", targets, logits.shape[:-1])
    return _softmax_cross_entropy(logits, targets)


@jax.custom_jvp
def _softmax_cross_entropy(logits: Array, targets: Array) -> Array:
    """The loss, with the derivative below in the place of JAX's own.

    That of picking `logits[target]` is a scatter, for which XLA goes once more through an array as large as the logits;
    here everything is elementwise, and one pass.
    """
    return _loss_and_softmax(logits, targets)[0]


@_softmax_cross_entropy.defjvp
def _softmax_cross_entropy_jvp(primals, tangents):
    """`d loss = (softmax(logits) - onehot(target)) . d logits`."""
    logits, targets = primals
    loss, softmax = _loss_and_softmax(logits, targets)
    surplus = softmax - jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
    return loss, jnp.sum(tangents[0] * surplus, axis=-1)


def _loss_and_softmax(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Both from the same exponentials: XLA would make them twice, and hold one more array as large as the logits."""
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    largest = jnp.where(jnp.isfinite(largest), largest, jnp.zeros_like(largest))
    exponentials = jnp.exp(logits - largest)
    dtype, wide = exponentials.dtype, sum_dtype(exponentials.dtype)  # of 70,000 symbols float16 cannot hold the sum
    total = jnp.sum(exponentials, axis=-1, keepdims=True, dtype=wide)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1) - largest  # NaN for those of V and more
    loss = jnp.where(targets[..., None] < 0, jnp.nan, jnp.log(total) - picked.astype(wide))
    return jnp.squeeze(loss, axis=-1).astype(dtype), (exponentials.astype(wide) / total).astype(dtype)


def sigmoid_cross_entropy(logits: Array, targets: Array) -> Array:
    """Cross-entropy of one sigmoid unit, in nats: `-t log s(a) - (1 - t) log(1 - s(a))`.

    Args:
        logits: `[*batch]`, or `[*batch, 1]` as a readout of size one gives them.
        targets: `[*batch]`, 0 or 1 (any dtype).

    Returns:
        `[*batch]`.

    Raises:
        AssertionError: (from chex) naming what has another shape.

    Example:
        >>> sigmoid_cross_entropy(jnp.zeros((2, 1)), jnp.array([0, 1])).round(4)     # log 2, twice
        Array([0.6931, 0.6931], dtype=float32)
    """
    _check_plain("sigmoid_cross_entropy", logits)
    logits = _without_unit_axis(logits, targets)
    _check_batch("sigmoid_cross_entropy", targets, logits.shape)
    return optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype))


def squared_error(outputs: Array, targets: Array) -> Array:
    """Squared error, summed over the output axis: `sum_o (y_o - t_o)^2`.

    Args:
        outputs: `[*batch, O]`.
        targets: `[*batch, O]`, or `[*batch]` where O is 1.

    Returns:
        `[*batch]`: one number a row and step.

    Raises:
        AssertionError: (from chex) naming what has another shape.

    Example:
        >>> squared_error(jnp.array([[3.0]]), jnp.array([1.0])).tolist()
        [4.0]
        >>> squared_error(jnp.array([[3.0, 1.0]]), jnp.array([[1.0, 0.0]])).tolist()
        [5.0]
    """
    _check_plain("squared_error", outputs)
    summed = outputs.ndim == targets.ndim
    outputs = _without_unit_axis(outputs, targets)
    _check_batch("squared_error", targets, outputs.shape)
    errors = optax.squared_error(outputs, targets)
    return jnp.sum(errors, axis=-1) if summed else errors


def _check_plain(name: str, outputs: Any) -> None:
    """Refuse outputs that bring a penalty, which would be lost."""
    expected = f"plain, or the loss of the estimator with_penalties({name})"
    require(not isinstance(outputs, Penalized), f"{name}: the outputs", "with a penalty each", expected)


def _without_unit_axis(outputs: Array, targets: Array) -> Array:
    """Drop the last axis of size one where the targets do not have it."""
    unit = outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1
    return jax.lax.squeeze(outputs, (outputs.ndim - 1,)) if unit else outputs


def _check_batch(name: str, targets: Array, shape: tuple[int, ...]) -> None:
    """Refuse targets of another shape than the outputs ask for."""
    expect(f"{name}: targets must have the shape {shape}, after the outputs", chex.assert_shape, targets, shape)
