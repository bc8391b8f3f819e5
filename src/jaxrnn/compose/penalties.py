"""Penalties on activations: layers that measure what passes through, and add it to the loss in training."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, Recurrence, opaque
from jaxrnn.choices import is_number, require
from jaxrnn.compose.pointwise import pointwise
from jaxrnn.fused import derive
from jaxrnn.shapes import check_last_axis, check_sizes
from jaxrnn.types import Array, Loss, Penalized


class Measuring(NamedTuple):
    """The carry of a penalty in training; that of an evaluation is `()`.

    Attributes:
        previous: `[*batch, H]`, the output before, or None where the penalty does not want it.
    """

    previous: Array | None = None


def activation_penalty(weight: float) -> Cell:
    """Make a layer that passes its input on and penalises its size: `weight * mean_over_units(x^2)`, a step and row.

    The penalty travels with the output (`jaxrnn.types.Penalized`): a `stack` carries it past the layers above, and
    `with_penalties` adds it to the loss. Without a key in `initial_carry` (evaluation) there is none.

    Args:
        weight: alpha; 0 or more.

    Returns:
        A cell without parameters.

    Raises:
        InputError: for a negative weight.

    References:
        S. Merity, B. McCann, R. Socher, "Revisiting Activation Regularization for Language RNNs", arXiv:1708.01009,
        section 2.1 (AR, on the output of the last layer after dropout; the square is averaged over units, as in the
        authors' program, so that alpha does not depend on the size of the layer).

    Example:
        >>> layer = activation_penalty(2.0)
        >>> layer.step({}, layer.initial_carry(1, jax.random.key(0)), jnp.array([[1.0, 3.0]]))[1].penalty.tolist()
        [10.0]
        >>> layer.step({}, layer.initial_carry(1), jnp.array([[1.0, 3.0]]))[1].tolist()
        [[1.0, 3.0]]
    """
    weight = _checked("activation_penalty", weight)

    def measure(params, x):
        del params
        return Penalized(x, weight * jnp.mean(jnp.square(x), axis=-1))

    measuring = pointwise(lambda key: {}, measure)
    return _in_training_only(measuring, lambda batch_shape: Measuring())


def temporal_penalty(size: int, weight: float, *, dtype: jnp.dtype | type = float) -> Cell:
    """Make a layer that passes its input on and penalises its change: `weight * mean_over_units((x_t - x_{t-1})^2)`.

    The step before rides in the carry, so that the loss does not depend on how time is cut into chunks. Before the
    first step of a sequence stands 0, as in the carry of a recurrent layer. What becomes of the penalty is said in
    `activation_penalty`.

    Args:
        size: H, of the input.
        weight: beta; 0 or more.
        dtype: of the carry: that of the input.

    Returns:
        A cell without parameters. It raises an InputError for an input of another dtype than its carry.

    Raises:
        InputError: for a negative weight, and for a size that is not a whole number of at least 1.

    References:
        S. Merity, B. McCann, R. Socher, as in `activation_penalty`, section 2.2 (TAR, on the output of the last layer
        before dropout; there the first step of each chunk is left out).

    Example:
        >>> layer = temporal_penalty(1, 0.5)
        >>> xs = jnp.array([1.0, 4.0, 4.0]).reshape(3, 1, 1)
        >>> layer.unroll({}, layer.initial_carry(1, jax.random.key(0)), xs)[1].penalty.ravel().tolist()
        [0.5, 4.5, 0.0]
    """
    check_sizes("temporal_penalty", size=size)
    weight = _checked("temporal_penalty", weight)

    def initial_carry(batch_shape, key=None):
        del key
        return Measuring(jnp.zeros((*batch_shape, size), jax.dtypes.canonicalize_dtype(dtype)))

    def project(params, x):
        del params
        check_last_axis("temporal_penalty: the input x [*batch, H]", x, size)
        return x

    def recur(params, carry, x, dot, note):
        del params, dot, note
        require(x.dtype == carry.previous.dtype, "temporal_penalty: dtype", f"{carry.previous.dtype}", f"{x.dtype}")
        return Measuring(x), Penalized(x, weight * jnp.mean(jnp.square(x - carry.previous), axis=-1))

    recurrence = Recurrence(project, recur)
    measuring = derive(lambda key: {}, initial_carry, recurrence, input_size=size, output_size=size)
    return _in_training_only(measuring, measuring.initial_carry)


def with_penalties(loss: Loss) -> Loss:
    """Make a loss that adds the penalties which come with the outputs; where none come, it is the loss itself.

    Args:
        loss: `(outputs, targets) -> [K, B]`; see `jaxrnn.losses`.

    Returns:
        A loss, for outputs that are `Penalized` and for plain ones.

    Example:
        >>> from jaxrnn.losses import squared_error
        >>> with_penalties(squared_error)(Penalized(jnp.array([[2.0]]), jnp.array([0.5])), jnp.array([1.0])).tolist()
        [1.5]
    """

    def total(outputs, targets):
        if not isinstance(outputs, Penalized):
            return loss(outputs, targets)
        return loss(outputs.y, targets) + outputs.penalty

    return total


def _in_training_only(measuring: Cell, start: Callable[..., Measuring]) -> Cell:
    """The layer that measures if its carry was started with a key, and is the identity otherwise."""
    identity = pointwise(lambda key: {}, lambda params, x: x)

    def either(in_training, otherwise):
        def run(params, carry, x):
            method = in_training if isinstance(carry, Measuring) else otherwise
            return method(params, carry, x)

        return run

    def initial_carry(batch_shape, key=None):
        return () if key is None else start(batch_shape)

    step, unroll = either(measuring.step, identity.step), either(measuring.unroll, identity.unroll)
    sizes = (measuring.input_size, measuring.output_size)
    return Cell(lambda key: {}, initial_carry, step, unroll, opaque(step), *sizes)


def _checked(name: str, weight: Any) -> float:
    """The weight as a number of Python's, which changes no dtype; one that is negative or no number is refused."""
    require(is_number(weight) and 0 <= weight < math.inf, f"{name}: weight", weight, "0 or more, and finite")
    return float(weight)
