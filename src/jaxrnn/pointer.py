"""The continuous cache: a model that looks up what came after hidden states like the present one, not long ago."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell
from jaxrnn.choices import is_number, is_whole, require
from jaxrnn.compose import readout_of
from jaxrnn.cross_entropy import readout_cross_entropy
from jaxrnn.evaluation import Evaluation, Score, score_chunks
from jaxrnn.gradients.base import Chunk
from jaxrnn.marks import marks_of
from jaxrnn.sums import sum_dtype
from jaxrnn.types import Array, Carry, Params

VOCABULARY_BLOCK = 4096
REMEMBERED = "passed on from chunk to chunk; a cache of the last {window} steps of each stream is mixed in"


class Pointer(NamedTuple):
    """How a cache is used.

    Attributes:
        theta: how sharply the most similar hidden states stand out.
        share: lambda, the cache's share in the mixture.
        window: how many steps are remembered.
    """

    theta: float
    share: float
    window: int


class Memory(NamedTuple):
    """The last steps of every stream; in the beginning none of them is real.

    Attributes:
        hs: `[W, B, H]` hidden states.
        symbols: int32 `[W, B]` what came after each.
        real: bool `[W, B]` whether a step has been, and was no padding; `[W, 1]` as long as all rows are alike.
    """

    hs: Array
    symbols: Array
    real: Array


class _Ways(NamedTuple):
    """Several pointers; what they look up depends on theta and window alone, so that one look does for all shares.

    Attributes:
        theta: `[L]`, of each different pair of theta and window.
        window: `[L]` likewise.
        pair: `[S]`, which of these pairs each pointer has.
        share: `[S]`, of each pointer.
    """

    theta: Array
    window: Array
    pair: Array
    share: Array


def make_pointer_evaluate(trunk: Cell) -> Callable[..., list[Evaluation]]:
    """Make the function that scores a text with a cache, for several ways to use it at once.

    Args:
        trunk: all of a language model but its readout; see `jaxrnn.compose.language_trunk`.

    Returns:
        `evaluate(params, carry, chunks, pointers) -> [Evaluation]`, one for each pointer. In each stream, with `h_t`
        what the readout reads at step t and `x_{t+1}` the target there::

            score_i = exp(theta * h_t . h_i)                        # for i in t - window, ..., t - 1
            p_cache(w) = sum of score_i where x_{i+1} = w, over the sum of all score_i
            p(w) = (1 - share) * softmax(h_t w_out + b_out)[w] + share * p_cache(w)

        At the first step, where nothing is remembered, the model stands alone. Steps marked as padding are none, and a
        reset forgets nothing. Parameters are the language model's, and `carry` is the trunk's, without a key.

    Cost:
        A product of K times W + K hidden states for each chunk and row, and as many exponentials for each different
        pair of theta and window, whatever the number of shares; memory of W hidden states for each row, with W the
        longest window, and of 4,096 logits at a time for each step.

    References:
        E. Grave, A. Joulin, N. Usunier, "Improving Neural Language Models with a Continuous Cache", ICLR 2017,
        arXiv:1612.04426, equations 2 and 3, and the linear interpolation of section 3.

    Example:
        >>> import numpy as np
        >>> from jaxrnn.cells.gru import gru
        >>> from jaxrnn.compose import language_model, language_trunk
        >>> params, trunk = language_model(gru(4, 8), 100).init(jax.random.key(0)), language_trunk(gru(4, 8), 100)
        >>> ids = np.tile([3, 1, 4, 1, 5, 9, 2, 6], 10)[:, None]  # it comes again and again
        >>> chunk = Chunk(ids[:-1], ids[1:], np.ones((79, 1)))
        >>> pointers = [Pointer(0.0, 0.0, 1), Pointer(4.0, 0.5, 32)]
        >>> plain, cached = make_pointer_evaluate(trunk)(params, trunk.initial_carry(1), [chunk], pointers)
        >>> cached.score.nats < plain.score.nats
        True
    """

    @jax.jit
    def advance(params: Params, state: tuple[Carry, Memory], chunk: Chunk, ways: _Ways):
        (carry, memory), (w, b) = state, readout_of(params)
        carry, hs = trunk.unroll(params, carry, chunk.inputs)
        targets = chunk.targets.astype(jnp.int32)
        nats = readout_cross_entropy(hs, w, b, targets, block=VOCABULARY_BLOCK)
        _, keep = marks_of(chunk.inputs)
        losses, memory = _with_cache(memory, hs, targets, nats, ways, keep)
        weight = chunk.weight.astype(losses.dtype)[None]
        return (carry, memory), jnp.sum(jnp.where(weight > 0, weight * losses, jnp.zeros_like(losses)), axis=(1, 2))

    def evaluate(
        params: Params, carry: Carry, chunks: Iterable[Chunk], pointers: Sequence[Pointer]
    ) -> list[Evaluation]:
        for pointer in pointers:
            _check(pointer)
        require(pointers, "pointer: the number of pointers", len(pointers), "at least 1")
        window, w = max(pointer.window for pointer in pointers), readout_of(params)[0]
        ways, sums = _ways(pointers), []

        def step(state: Any, chunk: Chunk):
            state = state or (carry, _empty(window, chunk.weight.shape[1], w.shape[0], w.dtype))
            state, loss_sums = advance(params, state, chunk, ways)
            sums.append(loss_sums)
            return state, (loss_sums[0], None)

        score, protocol, (last, _) = score_chunks(step, None, chunks, REMEMBERED)
        totals = [math.fsum(map(float, parts)) for parts in zip(*jax.device_get(sums), strict=True)]
        return [
            Evaluation(Score(total, score.weight), protocol._replace(carry=REMEMBERED.format(window=way.window)), last)
            for total, way in zip(totals, pointers, strict=True)
        ]

    return evaluate


def _with_cache(
    memory: Memory, hs: Array, targets: Array, nats: Array, ways: _Ways, keep: Array | None
) -> tuple[Array, Memory]:
    """The losses of a chunk `[S, K, B]`, one for each pointer, and what is remembered after it."""
    steps, window = len(targets), len(memory.real)
    keys, symbols = jnp.concatenate([memory.hs, hs]), jnp.concatenate([memory.symbols, targets])
    here = jnp.ones((steps, memory.real.shape[1]), bool) if keep is None else keep
    real = jnp.concatenate([jnp.broadcast_to(memory.real, (window, here.shape[1])), here])
    wide = sum_dtype(hs.dtype)  # of what is added up, here and by the caller
    likeness = jnp.einsum("kbh,ibh->kbi", hs, keys, preferred_element_type=wide)  # [K, B, W + K]
    nats = nats.astype(wide)
    number = jnp.cumsum(real, axis=0)  # of the real steps so far
    ago = number[window:, :, None] - number.T[None]  # [K, B, W + K], or [K, 1, W + K]
    same = symbols.T[None] == targets[:, :, None]

    def look_up(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        """Of one theta and window: log p_cache of each target, and whether anything is remembered there."""
        theta, longest = pair
        seen = (ago >= 1) & (ago <= longest) & real.T[None]
        scores = jnp.where(seen, theta.astype(wide) * likeness, -jnp.inf)
        of_target = jax.nn.logsumexp(jnp.where(same, scores, -jnp.inf), axis=-1)
        return of_target - jax.nn.logsumexp(scores, axis=-1), jnp.any(seen, axis=-1)

    of_cache, remembers = jax.lax.map(look_up, (ways.theta, ways.window))
    share = ways.share.astype(wide)[:, None, None]
    mixed = -jnp.logaddexp(jnp.log1p(-share) - nats[None], jnp.log(share) + of_cache[ways.pair])
    losses = jnp.where(remembers[ways.pair], mixed, nats[None])
    if keep is not None:  # what is real comes last, so that padding pushes none of it out
        order = jnp.argsort(real, axis=0, stable=True)
        keys, symbols = jnp.take_along_axis(keys, order[..., None], axis=0), jnp.take_along_axis(symbols, order, axis=0)
        real = jnp.take_along_axis(real, order, axis=0)
    return losses, Memory(keys[steps:], symbols[steps:], real[steps:])


def _ways(pointers: Sequence[Pointer]) -> _Ways:
    """Pointers as rows of numbers."""
    pairs = list(dict.fromkeys((pointer.theta, pointer.window) for pointer in pointers))
    theta, window = map(jnp.asarray, zip(*pairs, strict=True))
    pair = jnp.asarray([pairs.index((pointer.theta, pointer.window)) for pointer in pointers])
    return _Ways(theta, window, pair, jnp.asarray([pointer.share for pointer in pointers]))


def _empty(window: int, rows: int, size: int, dtype: Any) -> Memory:
    """A memory with nothing in it."""
    symbols = jnp.zeros((window, rows), jnp.int32)
    return Memory(jnp.zeros((window, rows, size), dtype), symbols, jnp.zeros((window, 1), bool))


def _check(pointer: Pointer) -> None:
    """Refuse numbers that make no sense."""
    good = is_number(pointer.theta) and 0 <= pointer.theta < math.inf
    require(good, "pointer: theta", pointer.theta, "0 or more")
    require(is_number(pointer.share) and 0 <= pointer.share <= 1, "pointer: share", pointer.share, "from 0 to 1")
    require(is_whole(pointer.window), "pointer: window", pointer.window, "a whole number, at least 1")
