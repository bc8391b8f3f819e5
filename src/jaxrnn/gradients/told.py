"""Telling a model its targets, where it gives the loss itself."""

from typing import Any

from jaxrnn.gradients.base import Chunk, GradientEstimator
from jaxrnn.marks import marked_as, unmarked
from jaxrnn.types import Array, Told


def told(estimator: GradientEstimator) -> GradientEstimator:
    """Hand the targets of every chunk to the cell, beside its inputs.

    Args:
        estimator: of a cell that gives its loss where it is told the target, and of the loss `given`.

    Returns:
        An estimator with the same state, for the same chunks.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrnn.cells.gru import gru
        >>> from jaxrnn.compose import language_model
        >>> from jaxrnn.gradients.bptt import bptt
        >>> model = language_model(gru(3, 4), 1000, vocabulary_block=64)
        >>> estimator = told(bptt(model, given))
        >>> params, carry = model.init(jax.random.key(0)), model.initial_carry(2)
        >>> chunk = Chunk(jnp.ones((5, 2), int), jnp.ones((5, 2), int), jnp.ones((5, 2)))
        >>> estimate, _ = estimator.estimate(params, estimator.init(jax.random.key(1), params, carry, chunk), chunk)
        >>> estimate.grads["readout"]["w"].shape
        (4, 1000)
    """

    def init(key, params, carry, chunk):
        return estimator.init(key, params, carry, tell(chunk))

    def estimate(params, state, chunk):
        return estimator.estimate(params, state, tell(chunk))

    return GradientEstimator(init, estimate)


def tell(chunk: Chunk) -> Chunk:
    """Put the targets of a chunk beside its inputs.

    Args:
        chunk: inputs plain or `Marked`.

    Returns:
        The chunk with `Told` inputs, within the marks where there are any.

    Example:
        >>> tell(Chunk(inputs=1, targets=2, weight=3)).inputs
        Told(x=1, target=2)
    """
    beside = Told(unmarked(chunk.inputs), chunk.targets)
    return chunk._replace(inputs=marked_as(chunk.inputs, beside))


def given(outputs: Any, targets: Any) -> Array:
    """The loss that a model gives itself: its output.

    Args:
        outputs: `[K, B]`.
        targets: not looked at, for the model has been told.

    Returns:
        `[K, B]`.

    Example:
        >>> given([[0.5, 0.25]], None)
        [[0.5, 0.25]]
    """
    del targets
    return outputs
