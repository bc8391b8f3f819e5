"""Losses, element by element: `(outputs, targets) -> [K, B]`. Weights and sums belong to the gradient estimator."""

import jax
import jax.numpy as jnp
import optax

from jaxrnn.types import Array


def softmax_cross_entropy(logits: Array, targets: Array) -> Array:
    """Cross-entropy of a softmax over the last axis, in nats: `-log softmax(logits)[target]`.

    Args:
        logits: `[*batch, V]`.
        targets: integer `[*batch]`, each in `[0, V)`.

    Returns:
        `[*batch]`.

    Example:
        >>> softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4)     # log 4
        Array([1.3863], dtype=float32)
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def sigmoid_cross_entropy(logits: Array, targets: Array) -> Array:
    """Cross-entropy of one sigmoid unit, in nats: `-t log s(a) - (1 - t) log(1 - s(a))`.

    Args:
        logits: `[*batch]`, or `[*batch, 1]` as a readout of size one gives them.
        targets: `[*batch]`, 0 or 1 (any dtype).

    Returns:
        `[*batch]`.

    Example:
        >>> sigmoid_cross_entropy(jnp.zeros((2, 1)), jnp.array([0, 1])).round(4)     # log 2, twice
        Array([0.6931, 0.6931], dtype=float32)
    """
    logits = _without_unit_axis(logits, targets)
    return optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype))


def squared_error(outputs: Array, targets: Array) -> Array:
    """Squared error, summed over the output axis: `sum_o (y_o - t_o)^2`.

    Args:
        outputs: `[*batch, O]`.
        targets: `[*batch, O]`, or `[*batch]` where O is 1.

    Returns:
        `[*batch]`: one number a row and step.

    Example:
        >>> squared_error(jnp.array([[3.0]]), jnp.array([1.0])).tolist()
        [4.0]
        >>> squared_error(jnp.array([[3.0, 1.0]]), jnp.array([[1.0, 0.0]])).tolist()
        [5.0]
    """
    if outputs.ndim == targets.ndim:
        return jnp.sum(optax.squared_error(outputs, targets), axis=-1)
    return optax.squared_error(_without_unit_axis(outputs, targets), targets)


def _without_unit_axis(outputs: Array, targets: Array) -> Array:
    """Drop the last axis of size one where the targets do not have it."""
    return jax.lax.squeeze(outputs, (outputs.ndim - 1,)) if outputs.ndim == targets.ndim + 1 else outputs
