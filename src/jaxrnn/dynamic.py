"""Dynamic evaluation: a model that goes on learning from the text it is scored on, each stretch after its score."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.choices import is_number, require
from jaxrnn.errors import InputError
from jaxrnn.evaluation import Evaluation, score_chunks
from jaxrnn.gradients.base import Chunk, Estimate, GradientEstimator
from jaxrnn.sums import sum_dtype
from jaxrnn.trees import threefry
from jaxrnn.types import Carry, Params

LEARNING = "passed on from chunk to chunk; the parameters learn from every {steps} steps after their score"


class Adaptation(NamedTuple):
    """How fast a model learns from the text it is scored on, and how fast it forgets that again.

    Attributes:
        rate: eta, of the step along the gradient of a chunk's mean loss.
        decay: lambda, the share of the way back to the trained parameters that is gone with every chunk.
        epsilon: added to the root of the mean squares, where steps are scaled.
    """

    rate: float
    decay: float = 0.0
    epsilon: float = 1e-3


def make_dynamic_evaluate(estimator: GradientEstimator) -> Callable[..., Evaluation]:
    """Make the function that scores chunk after chunk, and learns from each when its score is taken.

    Args:
        estimator: of the gradient of a chunk's loss, such as `bptt(cell, loss)`.

    Returns:
        `evaluate(params, carry, chunks, adaptation, mean_squares=None) -> Evaluation`, which equals::

            local = params
            for chunk in chunks:
                estimate, state = estimator.estimate(local, state, chunk)
                loss_sum, weight = loss_sum + estimate.loss, weight + estimate.weight
                g = estimate.grads / estimate.weight
                local = local - rate * g + decay * (params - local)

        With `mean_squares` (see `make_mean_squares`) steps are scaled, and what moves easily also returns faster::

                root = sqrt(mean_squares)
                way_back = min(decay * root / mean(root), 1)        # the mean over all parameters
                local = local - rate * g / (root + epsilon) + way_back * (params - local)

        The parameters that are given stay what they are. The carry has no key: there is no noise. The protocol says how
        many steps the first chunk has: the score depends on it.

    Cost:
        That of training: a gradient and an update of all parameters for each chunk, so that short chunks are dear.

    References:
        B. Krause, E. Kahembwe, I. Murray, S. Renals, "Dynamic Evaluation of Neural Sequence Models", ICML 2018,
        arXiv:1709.07432 (the rule with and without mean squares; decay towards the trained parameters).

    Example:
        >>> import numpy as np
        >>> from jaxrnn.cells.lstm import lstm
        >>> from jaxrnn.compose import language_model
        >>> from jaxrnn.gradients.bptt import bptt
        >>> from jaxrnn.losses import softmax_cross_entropy
        >>> model = language_model(lstm(4, 4), 9)
        >>> evaluate = make_dynamic_evaluate(bptt(model, softmax_cross_entropy))
        >>> ids = np.tile(np.arange(9), 20)[:, None]  # the same nine symbols over and over
        >>> chunks = [Chunk(ids[t : t + 9], ids[t + 1 : t + 10], np.ones((9, 1))) for t in range(0, 162, 9)]
        >>> start = model.init(jax.random.key(0)), model.initial_carry(1)
        >>> still, learning = (evaluate(*start, chunks, Adaptation(rate)).score.nats for rate in (0.0, 1.0))
        >>> learning < still
        True
    """

    @jax.jit
    def advance(params, adaptation, mean_squares, adapting, chunk):
        local, state = adapting
        estimate, state = estimator.estimate(local, state, chunk)
        local = _adapt(local, _of_mean_loss(estimate), params, adaptation, mean_squares)
        return (local, state), (estimate.loss, estimate.weight)

    def evaluate(
        params: Params,
        carry: Carry,
        chunks: Iterable[Chunk],
        adaptation: Adaptation,
        mean_squares: Params | None = None,
    ) -> Evaluation:
        _check(adaptation)
        first, chunks = _first(chunks)
        start = params, estimator.init(threefry(0), params, carry, first)
        learn = partial(advance, params, adaptation, mean_squares)
        score, protocol, (_, state) = score_chunks(learn, start, chunks, LEARNING)
        steps = first.weight.shape[0]
        return Evaluation(score, protocol._replace(carry=LEARNING.format(steps=steps)), state.carry)

    return evaluate


def make_mean_squares(estimator: GradientEstimator) -> Callable[[Params, Carry, Iterable[Chunk]], Params]:
    """Make the function that measures how large gradients are: the mean over chunks of the square of each entry.

    Args:
        estimator: as for `make_dynamic_evaluate`.

    Returns:
        `mean_squares(params, carry, chunks) -> like params`, of the gradients of the chunks' mean losses, at fixed
        parameters: chunks of the training text.
    """

    @jax.jit
    def add(total, params, state, chunk):
        estimate, state = estimator.estimate(params, state, chunk)
        return jax.tree.map(lambda t, g: t + jnp.square(g.astype(t.dtype)), total, _of_mean_loss(estimate)), state

    def mean_squares(params: Params, carry: Carry, chunks: Iterable[Chunk]) -> Params:
        first, chunks = _first(chunks)
        state = estimator.init(threefry(0), params, carry, first)
        total = jax.tree.map(lambda w: jnp.zeros(w.shape, sum_dtype(w.dtype)), params)
        number = 0
        for chunk in chunks:
            total, state = add(total, params, state, chunk)
            number += 1
        return jax.tree.map(lambda t, w: (t / number).astype(w.dtype), total, params)

    return mean_squares


def _first(chunks: Iterable[Chunk]) -> tuple[Chunk, Iterable[Chunk]]:
    """The first chunk, for its shapes, and all of them."""
    chunks = iter(chunks)
    first = next(chunks, None)
    if first is None:
        raise InputError("dynamic evaluation: no text to learn from; give a longer one")
    return first, chain([first], chunks)


def _of_mean_loss(estimate: Estimate) -> Params:
    """The gradient of a chunk's mean loss; 0 where nothing counts."""
    weight = jnp.where(estimate.weight > 0, estimate.weight, jnp.ones_like(estimate.weight))
    return jax.tree.map(lambda g: g / weight.astype(g.dtype), estimate.grads)


def _adapt(local: Params, grads: Params, params: Params, adaptation: Adaptation, mean_squares: Params | None) -> Params:
    """The parameters after one step along the gradient and one back to where they came from."""
    rate, decay, epsilon = adaptation
    if mean_squares is None:
        return jax.tree.map(lambda w, g, w0: w - _like(rate, w) * g + _like(decay, w) * (w0 - w), local, grads, params)
    roots = jax.tree.map(jnp.sqrt, mean_squares)
    leaves = jax.tree.leaves(roots)
    mean = sum(jnp.sum(root) for root in leaves) / sum(root.size for root in leaves)

    def one(w, g, w0, root):
        way_back = jnp.minimum(_like(decay, w) * root / jnp.where(mean > 0, mean, 1), 1.0)
        return w - _like(rate, w) * g / (root + _like(epsilon, w)) + way_back * (w0 - w)

    return jax.tree.map(one, local, grads, params, roots)


def _like(number, w):
    """A traced number in a parameter's dtype."""
    return jnp.asarray(number, w.dtype)


def _check(adaptation: Adaptation) -> None:
    """Refuse numbers that make no sense."""
    for name, value in adaptation._asdict().items():
        good = is_number(value) and 0 <= value < math.inf
        require(good, f"dynamic evaluation: {name}", value, "0 or more")
    require(adaptation.epsilon > 0, "dynamic evaluation: epsilon", adaptation.epsilon, "more than 0")
    require(adaptation.decay <= 1, "dynamic evaluation: decay", adaptation.decay, "at most 1")
