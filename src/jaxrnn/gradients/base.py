"""The second record: a gradient estimator, what it is given and what it gives back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxrnn.choices import require
from jaxrnn.errors import expect
from jaxrnn.types import Array, Params


class Chunk(NamedTuple):
    """A stretch of `K` time steps of `B` rows: what arrives between two estimates.

    `K` is the literature's k1, the number of new steps for each estimate.

    Attributes:
        inputs: `[K, B, ...]`, or a `Marked` of such.
        targets: `[K, B, ...]`.
        weight: `[K, B]`, the weight of each step's loss; 0 means that there is no loss here.

    Example:
        >>> chunk = Chunk(jnp.ones((5, 2, 3)), jnp.zeros((5, 2)), jnp.ones((5, 2)))      # K = 5, B = 2, I = 3
        >>> at_the_end = chunk._replace(weight=chunk.weight.at[:-1].set(0))              # only the last step counts
        >>> float(at_the_end.weight.sum())
        2.0
    """

    inputs: Any
    targets: Any
    weight: Array


def check_chunk(chunk: Chunk) -> None:
    """Refuse a chunk whose inputs, targets and weights are not of one length and one batch.

    Args:
        chunk: arrays `[K, B, ...]`.

    Raises:
        InputError: for weights that are no array `[K, B]`.
        AssertionError: (from chex) naming the argument, the shape expected and the shape found.

    Example:
        >>> import jax.numpy as jnp
        >>> check_chunk(Chunk(jnp.ones((5, 2, 3)), jnp.ones((5, 2)), jnp.ones((5, 2))))
    """
    is_array = hasattr(chunk.weight, "dtype")
    shape = jnp.shape(chunk.weight) if is_array else ()
    found = f"{chunk.weight.dtype}{list(shape)}" if is_array else chunk.weight
    require(len(shape) == 2, "chunk.weight", found, "an array [K, B]")
    for name, tree in (("inputs", chunk.inputs), ("targets", chunk.targets)):
        for leaf in jax.tree.leaves(tree):
            message = f"chunk.{name} [K, B, ...] must begin with the axes of chunk.weight [K, B], {shape}"
            expect(message, chex.assert_shape, leaf, (*shape, ...))


class Estimate(NamedTuple):
    """An estimate of the gradient of a chunk's loss. All three are **sums**, so that estimates add; divide once.

    Attributes:
        loss: `[]`, the weighted sum of the losses.
        weight: `[]`, the sum of the weights.
        grads: like the parameters.

    Example:
        >>> one, another = Estimate(6.0, 4.0, {"w": 3.0}), Estimate(2.0, 4.0, {"w": 1.0})
        >>> total = jax.tree.map(jnp.add, one, another)
        >>> float(total.loss / total.weight), float(total.grads["w"] / total.weight)
        (1.0, 0.5)
    """

    loss: Array
    weight: Array
    grads: Params


class GradientEstimator(NamedTuple):
    """How to differentiate through time, as a pair of pure functions.

    `state` goes from one call to the next *by value*: this alone is what truncates, and nothing has to be detached by
    hand. Feeding a long sequence chunk by chunk is::

        state = estimator.init(key, params, carry, chunks[0])
        for chunk in chunks:
            estimate, state = estimator.estimate(params, state, chunk)
            params = update(params, estimate)

    A sequence that has nothing to do with the last one begins with a new state (`init`, or `jaxrnn.training.restart`),
    or with a mark (`Marked.reset`). To put another carry into an old state is not enough: it may hold influence, or
    past chunks, that belong to the carry.

    Laws: the loss and the outgoing carry do not depend on the estimator (for frozen parameters); the state keeps its
    structure, shapes and dtypes, and its floats are finite unless something has gone wrong; estimates add; each factory
    declares how its gradient relates to the exact one.

    Attributes:
        init: `(key, params, carry, chunk) -> state`. The chunk gives shapes only. The state has a field `carry`.
        estimate: `(params, state, chunk) -> (Estimate, state)`.
    """

    init: Callable[..., Any]
    estimate: Callable[..., tuple[Estimate, Any]]


class CarryState(NamedTuple):
    """The state of an estimator that remembers nothing but the carry.

    Attributes:
        carry: the cell's carry after the last chunk.
    """

    carry: Any
