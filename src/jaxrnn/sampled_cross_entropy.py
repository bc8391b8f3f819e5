"""The cross-entropy of a readout over a large vocabulary, estimated from the logits of some symbols."""

from functools import cache
from itertools import pairwise

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.choices import is_whole, require
from jaxrnn.errors import expect
from jaxrnn.lookup import take_rows
from jaxrnn.products import matmul
from jaxrnn.sums import sum_dtype
from jaxrnn.types import Array


def sampled_cross_entropy(key: Array, h: Array, w: Array, b: Array, targets: Array, *, sample: int) -> Array:
    """Estimate `-log softmax(h w + b)[target]`, in nats, from the logits of the target and of few other symbols.

    The ids fall into groups: each of the first by itself, then more and more to a group (see `groups`). One symbol is
    drawn from every group, the same ones for all rows, and stands for the whole group; in its own the target does::

        z = size[own] * exp(logit[target])                      # of the target's group
        for g, (first, size) in enumerate(groups):
            c = first + randint(size)
            if g != own:
                z = z + size * exp(logit[c])                    # in the mean, the sum of the group
        loss = log(z) - logit[target]

    Given which symbols are there, the target is any of them with a probability in proportion to `size * p`, where p is
    the true one. The loss is, but for a constant, the cross-entropy of just that question: so it is least in the mean
    where the model is the true distribution, whatever the groups. (Where the target stood beside a draw from its own
    group, likely symbols in large groups would come out too likely.) Its value is that of the exact loss only about:
    it takes the symbols of the target's group to be as likely as the target. Ids by falling frequency, as
    `jaxrnn.data.build_vocabulary` gives them, keep the variance small, for then the frequent symbols are there at every
    draw.

    Args:
        key: a random key, used up.
        h: `[*batch, H]`, the input of the readout; a row that is not finite gives NaN.
        w: `[H, V]`.
        b: `[V]`.
        targets: integer `[*batch]`, each in `[0, V)`; one outside gives NaN.
        sample: how many symbols to draw at most; V or more: all, and the loss is exact.

    Returns:
        `[*batch]`.

    Raises:
        InputError: where there would be more groups than that, however large they are made: about `log2(V)`.
        AssertionError: (from chex) naming what has another shape or dtype.

    Cost:
        Three products with `[H, sample]` instead of `[H, V]`, forwards and backwards; the gradient of `w` is a
        scatter. Operands are rounded where `jaxrnn.compose.mixed_precision` says so, but those of the target's logit.

    References:
        S. Jean, K. Cho, R. Memisevic, Y. Bengio, "On Using Very Large Target Vocabulary for Neural Machine
        Translation", ACL 2015, arXiv:1412.2007 (one set of symbols for many targets). Z. Ma, M. Collins, "Noise
        Contrastive Estimation and Negative Sampling for Conditional Models: Consistency and Statistical Efficiency",
        EMNLP 2018, arXiv:1809.01812 (which symbol of a set is the target: there for independent draws).

    Example:
        >>> h, w, b = jnp.ones((2, 3)), jnp.zeros((3, 1000)), jnp.zeros(1000)
        >>> targets = jnp.array([0, 999])
        >>> exact = sampled_cross_entropy(jax.random.key(0), h, w, b, targets, sample=1000)
        >>> close = sampled_cross_entropy(jax.random.key(0), h, w, b, targets, sample=100)
        >>> exact.round(2).tolist(), bool(abs(close - exact).max() < 0.05)     # log 1000
        ([6.909999847412109, 6.909999847412109], True)
    """
    name = "sampled_cross_entropy"
    expect(f"{name}: w must be [H, V], after h [*batch, H]", chex.assert_shape, w, (h.shape[-1], None))
    expect(f"{name}: b must be [V], after w [H, V]", chex.assert_shape, b, w.shape[1:])
    expect(f"{name}: targets must be [*batch], after h", chex.assert_shape, targets, h.shape[:-1])
    expect(f"{name}: targets must be integers", chex.assert_type, targets, int)
    first, size = (np.array(column, np.int32) for column in groups(w.shape[1], sample))
    drawn = jnp.asarray(first) + jax.random.randint(key, first.shape, 0, size, jnp.int32)
    dtype = jnp.result_type(h, w, b)
    rows, own = h.reshape(-1, h.shape[-1]).astype(dtype), targets.reshape(-1).astype(jnp.int32)
    # Of other rows no NaN may reach a gradient: one of weight 0 may have any target, and any h.
    there = (own >= 0) & (own < w.shape[1]) & jnp.all(jnp.isfinite(rows), axis=-1)
    rows = jnp.where(there[:, None], rows, 0)
    both = jnp.concatenate([drawn, jnp.where(there, own, 0)])  # one gather, and one scatter of the gradient
    columns, biases = (take_rows(a, both).astype(dtype) for a in (w.T, b))
    (others, picked), (b_others, b_picked) = (jnp.split(a, [len(first)]) for a in (columns, biases))

    wide = sum_dtype(dtype)
    log_size = np.log(size).astype(wide)
    logits = matmul(rows, others.T).astype(wide) + (b_others.astype(wide) + log_size)[None, :]
    picked = jnp.sum(rows * picked, axis=-1, dtype=wide) + b_picked.astype(wide)
    group = jnp.searchsorted(jnp.asarray(first), own, side="right").astype(jnp.int32) - 1
    nothing = jnp.finfo(wide).min  # not -infinity, of which no derivative comes where there is nothing else
    in_own = jnp.arange(len(first), dtype=jnp.int32)[None, :] == group[:, None]
    others = jax.nn.logsumexp(jnp.where(in_own, nothing, logits), axis=-1)
    loss = jnp.where(there, jnp.logaddexp(others, picked + jnp.asarray(log_size)[group]) - picked, jnp.nan)
    return jnp.reshape(loss, targets.shape).astype(dtype)


def groups(vocabulary_size: int, sample: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cut the ids into groups whose size grows with the id: `1 + first // m`, with the largest m that is not too large.

    A symbol is drawn with probability `1 / size`, which falls as frequencies in a text do (Zipf's law).

    Args:
        vocabulary_size: V.
        sample: how many groups at most.

    Returns:
        The first id of each group, and its size.

    Raises:
        InputError: where there would be more groups than that, however large they are made.

    Example:
        >>> groups(20, 9)
        ((0, 1, 2, 3, 5, 7, 10, 14, 19), (1, 1, 1, 2, 2, 3, 4, 5, 1))
    """
    fewest = len(_firsts(vocabulary_size, 1))
    expected = f"a whole number, at least {fewest} with {vocabulary_size} symbols"
    require(is_whole(sample) and sample >= fewest, "sampled_cross_entropy: sample", sample, expected)
    return _groups(vocabulary_size, sample)


@cache
def _groups(vocabulary_size: int, sample: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same, counted once: for a million symbols that takes a second."""
    low, high = 1, vocabulary_size
    while low < high:
        middle = (low + high + 1) // 2
        fits = len(_firsts(vocabulary_size, middle)) <= sample
        low, high = (middle, high) if fits else (low, middle - 1)
    first = _firsts(vocabulary_size, low)
    return tuple(first), tuple(end - begin for begin, end in pairwise([*first, vocabulary_size]))


def _firsts(vocabulary_size: int, m: int) -> list[int]:
    """The first ids of groups whose size is `1 + first // m`."""
    first = [0]
    while (last := first[-1]) + 1 + last // m < vocabulary_size:
        first.append(last + 1 + last // m)
    return first
