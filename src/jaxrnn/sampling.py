"""Choosing the next symbol from its logits, and writing on from a prompt symbol by symbol."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cell import Cell
from jaxrnn.choices import is_number, is_whole, require
from jaxrnn.errors import InputError
from jaxrnn.sums import widened
from jaxrnn.types import Array, Carry, Params

PROMPT_BLOCKS = 512, 64, 8, 1
"""A prompt is read in blocks of these lengths, the longest first: a few programs serve prompts of all lengths."""

_HOTTEST = float(np.finfo(np.float32).max)  # as a temperature; NumPy casts no larger one in silence


def filter_logits(
    logits: Array, *, temperature: Any = 1.0, top_k: Any | None = None, top_p: Any | None = None
) -> Array:
    """Turn logits into those of the distribution to draw from; what may not be drawn gets minus infinity.

    In this order: divide by the temperature, keep the `top_k` likeliest symbols, and of these keep the likeliest whose
    probabilities, taken among the `top_k`, first sum to `top_p` or more. Between equal logits the lower id goes first,
    so that exactly `top_k` symbols stay. At temperature 0 the likeliest symbol alone stays.

    Args:
        logits: `[*batch, V]`.
        temperature: `[]`, 0 or more; may be traced.
        top_k: `[]`, how many symbols to keep at most, or None for all; may be traced.
        top_p: `[]`, the total probability to keep at least, or None for all; may be traced.

    Returns:
        `[*batch, V]`, logits that are 0 for the likeliest symbol, in float32 at least: in 16 bits the noise of a draw
        has so few values that many symbols tie, and a small temperature is 0.

    Cost:
        A sort of V numbers for each row, unless neither `top_k` nor `top_p` is given.

    References:
        A. Fan, M. Lewis, Y. Dauphin, "Hierarchical Neural Story Generation", ACL 2018 (top-k).
        A. Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020, equations 2 and 3 (top-p).

    Example:
        >>> logits = jnp.array([1.0, 3.0, 2.0, 0.0])
        >>> filter_logits(logits, temperature=0.5, top_k=2).tolist()
        [-inf, 0.0, -2.0, -inf]
        >>> filter_logits(logits, temperature=0.0).tolist()
        [-inf, 0.0, -inf, -inf]
    """
    logits = widened(logits)
    temperature = jnp.asarray(temperature, logits.dtype)
    likeliest = jnp.argmax(logits, axis=-1, keepdims=True).astype(jnp.int32)
    greedy = jnp.where(_places(logits) == likeliest, 0.0, -jnp.inf)
    behind = logits - jnp.max(logits, axis=-1, keepdims=True)  # at most 0: a tiny temperature gives no +inf
    scaled = behind / jnp.where(temperature > 0, temperature, jnp.ones_like(temperature))
    scaled = jnp.where(behind == -jnp.inf, behind, scaled)  # also where the temperature is infinite, or its inverse 0
    if top_k is not None or top_p is not None:
        scaled = jnp.where(_kept(scaled, top_k, top_p), scaled, -jnp.inf)
    return jnp.where(temperature > 0, scaled, greedy)


def _places(logits: Array) -> Array:
    """The numbers from 0 to V - 1 in every row, int32 `[*batch, V]`."""
    return jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)


def _kept(logits: Array, top_k: Any | None, top_p: Any | None) -> Array:
    """Tell which symbols may be drawn, `[*batch, V]`."""
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
    descending = jnp.take_along_axis(logits, order, axis=-1)
    kept = jnp.ones(logits.shape, bool)
    if top_k is not None:
        kept &= _places(logits) < jnp.asarray(top_k, jnp.int32)
    if top_p is not None:
        top_p = jnp.asarray(top_p, logits.dtype)
        probabilities = jax.nn.softmax(jnp.where(kept, descending, -jnp.inf), axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities  # of the likelier ones: 0 for the likeliest
        kept &= (before < top_p) | (top_p >= 1)  # rounding of the sum must not drop a symbol where all may stay,
        kept |= _places(logits) == 0  # nor that of top_p the likeliest
    rank = jnp.argsort(order, axis=-1)  # the inverse permutation
    return jnp.take_along_axis(kept, rank, axis=-1)


def draw(
    key: Array, logits: Array, *, temperature: Any = 1.0, top_k: Any | None = None, top_p: Any | None = None
) -> Array:
    """Draw one symbol for each row; see `filter_logits` for what it is drawn from.

    Args:
        key: a random key, used up.
        logits: `[*batch, V]`.
        temperature: `[]`, 0 for the likeliest symbol.
        top_k: `[]` or None.
        top_p: `[]` or None.

    Returns:
        int32 `[*batch]`.

    Example:
        >>> draw(jax.random.key(0), jnp.array([[1.0, 3.0, 2.0], [9.0, 1.0, 1.0]]), temperature=0.0).tolist()
        [1, 0]
    """
    filtered = filter_logits(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    return jax.random.categorical(key, filtered).astype(jnp.int32)


def make_generate(cell: Cell) -> Callable[..., Iterator[np.ndarray]]:
    """Make the function that writes on from a prompt, with its compiled parts made once.

    Args:
        cell: symbols in, logits out: int `[B]` -> `[B, V]`, such as a `language_model`.

    Returns:
        `generate(params, prompt, length, key, *, samples=1, temperature=1.0, top_k=None, top_p=None)`, which equals::

            carry = cell.initial_carry((samples,))
            for t in range(P - 1):
                carry, _ = cell.step(params, carry, prompt[t])
            ids = prompt[P - 1]
            for t in range(length):
                carry, logits = cell.step(params, carry, ids)
                ids = draw(fold_in(fold_in(key, sample), t), logits)      # for each sample
                yield ids

        `prompt` is int `[P]`, shared by all samples, with P at least 1; each `ids` is an int32 NumPy array
        `[samples]`. A sample depends on the key and on its own number, but not on how many are drawn beside it.
        Values that make no sense raise `InputError`, before the first symbol.

    Cost:
        The prompt is unrolled in blocks of 512, 64, 8 and 1 symbols, so that its length costs neither memory nor a
        compilation of its own. One program makes each symbol, and the next one is under way on the device while the
        caller looks at the last.

    Example:
        >>> from jaxrnn.stepwise import from_step
        >>> echo = from_step(lambda key: {}, lambda shape, key=None: jnp.zeros(shape),
        ...                  lambda params, carry, x: (carry, 9.0 * jax.nn.one_hot(x + 1, 5)))
        >>> [ids.item() for ids in make_generate(echo)({}, [0, 1], 3, jax.random.key(0), temperature=0)]
        [2, 3, 4]
    """
    prime = make_prime(cell)

    @jax.jit
    def advance(params, carry, ids, keys, t, temperature, top_k, top_p):
        carry, logits = cell.step(params, carry, ids)
        drawn = partial(draw, temperature=temperature, top_k=top_k, top_p=top_p)
        return carry, jax.vmap(lambda key, row: drawn(jax.random.fold_in(key, t), row))(keys, logits)

    def generate(params, prompt, length, key, *, samples=1, temperature=1.0, top_k=None, top_p=None):
        prompt = check_prompt(prompt, cell.output_size, length)
        _check_choice(samples, temperature, top_k, top_p)
        top_k = top_k if top_k is None or cell.output_size is None else min(top_k, cell.output_size)
        top_p = None if top_p == 1 else top_p  # all symbols: nothing is to be sorted
        return _stream(params, prompt, length, key, samples, (min(float(temperature), _HOTTEST), top_k, top_p))

    def _stream(params, prompt, length, key, samples, choice):
        carry, ids = prime(params, prompt, samples)
        keys = jax.vmap(partial(jax.random.fold_in, key))(np.arange(samples, dtype=np.uint32))
        waiting = None
        for t in range(length):
            carry, ids = advance(params, carry, ids, keys, np.uint32(t), *choice)
            if waiting is not None:
                yield np.asarray(waiting)
            waiting = ids
        if waiting is not None:
            yield np.asarray(waiting)

    return generate


def make_prime(cell: Cell) -> Callable[[Params, np.ndarray, int], tuple[Carry, Array]]:
    """Make the function that reads a prompt, but for its last symbol.

    Args:
        cell: symbols in.

    Returns:
        `prime(params, prompt [P], rows) -> (carry, ids [rows])`: the carry after all symbols but the last, and that
        one, in each row. The prompt is unrolled in blocks of 512, 64, 8 and 1 symbols, so that its length costs
        neither memory nor a compilation of its own.

    Example:
        >>> from jaxrnn.stepwise import from_step
        >>> counter = from_step(lambda key: {}, lambda shape, key=None: jnp.zeros(shape),
        ...                     lambda params, n, x: (n + 1, x))
        >>> carry, ids = make_prime(counter)({}, np.array([3, 1, 4]), 2)
        >>> carry.tolist(), ids.tolist()
        ([2.0, 2.0], [4, 4])
    """

    @jax.jit
    def read(params, carry, block):
        return cell.unroll(params, carry, block)[0]

    def prime(params, prompt, rows):
        every = np.broadcast_to(prompt[:, None], (len(prompt), rows))
        carry, unread = cell.initial_carry((rows,)), every[:-1]
        for size in PROMPT_BLOCKS:
            while len(unread) >= size:
                carry, unread = read(params, carry, unread[:size]), unread[size:]
        return carry, jnp.asarray(every[-1])

    return prime


def never(cell: Cell, symbol: int) -> Cell:
    """Let a model never give one of its symbols: the others share its probability.

    Args:
        cell: symbols in, logits out.
        symbol: the id.

    Returns:
        A cell with the same parameters and carry, whose `step` and `unroll` give that symbol the logit minus infinity;
        what is made of its `recurrence`, such as a stack around it, does not.

    Example:
        >>> from jaxrnn.stepwise import from_step
        >>> same = from_step(lambda key: {}, lambda shape, key=None: jnp.zeros(shape),
        ...                  lambda params, carry, x: (carry, jnp.array([[1.0, 3.0, 2.0]])))
        >>> [ids.item() for ids in make_generate(never(same, 1))({}, [0], 2, jax.random.key(0), temperature=0)]
        [2, 2]
    """
    size = cell.output_size
    known = is_whole(symbol, 0) and symbol < (size or math.inf)
    require(known, "never: symbol", symbol, f"an id from 0 to {size - 1}" if size else "an id, 0 or more")

    def masked(method):
        def call(params, carry, ids):
            carry, logits = method(params, carry, ids)
            return carry, logits.at[..., symbol].set(-jnp.inf)

        return call

    return cell._replace(step=masked(cell.step), unroll=masked(cell.unroll))


def check_prompt(prompt: Any, symbols: int | None, length: Any) -> np.ndarray:
    """Refuse a prompt, or a length of what is to follow it, that makes no sense.

    Args:
        prompt: ids.
        symbols: V, or None where it is not known.
        length: how many symbols are to follow.

    Returns:
        The prompt as an array, int32 `[P]`.

    Raises:
        InputError: naming the argument.
    """
    prompt = np.asarray(prompt)
    if prompt.ndim != 1 or prompt.size == 0:
        raise InputError(f"sampling: prompt has shape {prompt.shape}; it must be [P], with at least one symbol")
    if not np.issubdtype(prompt.dtype, np.integer):
        raise InputError(f"sampling: prompt holds {prompt.dtype}; it must hold integer ids")
    bad = prompt[(prompt < 0) | (prompt >= (symbols or math.inf))].tolist()
    expected = f"from 0 to {symbols - 1}" if symbols else "0 or more"
    require(not bad, "sampling: an id of the prompt", bad and bad[0], expected)
    require(is_whole(length, 0) and length < 2**31, "sampling: length", length, f"a whole number from 0 to {2**31 - 1}")
    return prompt.astype(np.int32)


def _check_choice(samples: int, temperature: float, top_k: Any, top_p: Any) -> None:
    """Refuse what makes no sense."""
    require(is_whole(samples), "sampling: samples", samples, "a whole number, at least 1")
    cool = is_number(temperature) and 0 <= temperature < math.inf
    require(cool, "sampling: temperature", temperature, "0 (the likeliest symbol) or more")
    require(top_k is None or is_whole(top_k), "sampling: top_k", top_k, "at least 1 (or none, for all symbols)")
    likely = top_p is None or (is_number(top_p) and 0 < top_p <= 1)
    require(likely, "sampling: top_p", top_p, "more than 0 and at most 1")
