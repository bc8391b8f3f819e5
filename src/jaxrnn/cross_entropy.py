"""The cross-entropy of a readout over a large vocabulary, without ever holding the logits of all of it."""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from jaxrnn.choices import is_whole, require
from jaxrnn.errors import expect
from jaxrnn.sums import sum_dtype
from jaxrnn.types import Array


def readout_cross_entropy(h: Array, w: Array, b: Array, targets: Array, *, block: int) -> Array:
    """Cross-entropy of the softmax of an affine readout, in nats: `-log softmax(h w + b)[target]`, block by block.

    Equals `jaxrnn.losses.softmax_cross_entropy(h @ w + b, targets)`, in values and gradients, by the loop::

        for ids in blocks(range(V), block):                     # the last one may be shorter
            logits = h @ w[:, ids] + b[ids]
            log_sum = logaddexp(log_sum, logsumexp(logits))
            picked = picked + logits[target] where target in ids
        loss = log_sum - picked

    Args:
        h: `[*batch, H]`, the input of the readout.
        w: `[H, V]`.
        b: `[V]`.
        targets: integer `[*batch]`, each in `[0, V)`; one outside gives NaN.
        block: how many symbols to have the logits of at a time.

    Returns:
        `[*batch]`.

    Raises:
        InputError: for a block below 1.
        AssertionError: (from chex) naming what has another shape or dtype.

    Cost:
        Memory of `*batch` times block, whatever V is; the logits are computed twice, so that with a gradient there are
        four products of the readout's size instead of three. Reverse mode only.

    Example:
        >>> h, w, b = jnp.ones((2, 3)), jnp.zeros((3, 8)), jnp.zeros(8)
        >>> readout_cross_entropy(h, w, b, jnp.array([0, 7]), block=3).round(4)     # log 8, twice
        Array([2.0794, 2.0794], dtype=float32)
    """
    require(is_whole(block), "readout_cross_entropy: block", block, "at least 1 symbol")
    name = "readout_cross_entropy"
    expect(f"{name}: w must be [H, V], after h [*batch, H]", chex.assert_shape, w, (h.shape[-1], None))
    expect(f"{name}: b must be [V], after w [H, V]", chex.assert_shape, b, w.shape[1:])
    expect(f"{name}: targets must be [*batch], after h", chex.assert_shape, targets, h.shape[:-1])
    expect(f"{name}: targets must be integers", chex.assert_type, targets, int)
    dtype = jnp.result_type(h, w, b)
    h, w, b = h.astype(dtype), w.astype(dtype), b.astype(dtype)
    rows, targets_of_rows = h.reshape(-1, h.shape[-1]), targets.reshape(-1).astype(jnp.int32)
    return jnp.reshape(_by_blocks(rows, w, b, targets_of_rows, min(block, w.shape[1])), targets.shape)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _by_blocks(h: Array, w: Array, b: Array, targets: Array, block: int) -> Array:
    """The loss of rows `h [N, H]`, `[N]`."""
    return _forward(h, w, b, targets, block)[0]


def _forward(h, w, b, targets, block):
    def add(running, number):
        log_sum, picked = running
        _, logits, is_target = _logits(h, w, b, targets, number, block)
        picked = picked + jnp.sum(jnp.where(is_target, logits, 0), axis=-1)
        return (jnp.logaddexp(log_sum, jax.nn.logsumexp(logits, axis=-1)), picked), None

    start = jnp.full(h.shape[:1], -jnp.inf, sum_dtype(h.dtype)), jnp.zeros(h.shape[:1], sum_dtype(h.dtype))
    (log_sum, picked), _ = jax.lax.scan(add, start, jnp.arange(-(-w.shape[1] // block), dtype=jnp.int32))
    there = (targets >= 0) & (targets < w.shape[1])
    return jnp.where(there, log_sum - picked, jnp.nan).astype(h.dtype), (h, w, b, targets, log_sum)


def _backward(block, saved, d_loss):
    h, w, b, targets, log_sum = saved
    counts = d_loss[:, None] != 0
    h = jnp.where(counts, h, 0)  # a row that does not count may hold anything: 0 times infinity is NaN

    def add(grads, number):
        d_h, d_w, d_b = grads
        first, logits, is_target = _logits(h, w, b, targets, number, block)
        off = jnp.exp(logits - log_sum[:, None]) - is_target.astype(logits.dtype)
        d_logits = jnp.where(counts, d_loss[:, None].astype(off.dtype) * off, 0).astype(h.dtype)
        d_h = d_h + (d_logits @ jax.lax.dynamic_slice_in_dim(w, first, block, axis=1).T).astype(d_h.dtype)
        return (d_h, _add_slice(d_w, h.T @ d_logits, first), _add_slice(d_b, d_logits.sum(0), first)), None

    zeros = jnp.zeros(h.shape, sum_dtype(h.dtype)), jnp.zeros_like(w), jnp.zeros_like(b)
    (d_h, d_w, d_b), _ = jax.lax.scan(add, zeros, jnp.arange(-(-w.shape[1] // block), dtype=jnp.int32))
    return d_h.astype(h.dtype), d_w, d_b, None


_by_blocks.defvjp(_forward, _backward)


def _logits(h: Array, w: Array, b: Array, targets: Array, number: Array, block: int) -> tuple[Array, Array, Array]:
    """A block's first symbol, its logits `[N, block]` in what sums are made in, and where the targets are.

    The last block reaches back, so that all are of one length; what the one before had is -infinity in it, which is
    nothing to a softmax.
    """
    first = jnp.minimum(number * block, w.shape[1] - block)
    ids = (first + jnp.arange(block, dtype=jnp.int32))[None, :]
    w, b = (jax.lax.dynamic_slice_in_dim(a, first, block, axis=a.ndim - 1) for a in (w, b))
    new = ids >= number * block
    logits = (h @ w + b[None, :]).astype(sum_dtype(h.dtype))
    return first, jnp.where(new, logits, -jnp.inf), new & (ids == targets[:, None])


def _add_slice(total: Array, part: Array, first: Array) -> Array:
    """Add to some places of the last axis."""
    axis = total.ndim - 1
    before = jax.lax.dynamic_slice_in_dim(total, first, part.shape[-1], axis)
    return jax.lax.dynamic_update_slice_in_dim(total, before + part, first, axis)
