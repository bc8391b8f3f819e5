"""Synthetic tasks with a known floor: the score of a model that does not remember.

Each task is a pure function of a key that draws whole sequences, one a row: a `Chunk` `[T, B, ...]` whose weight says
where the loss counts, and whose inputs are marked to start anew at the first step. So sequences may be put one after
another in time and cut into chunks of any length, and the carry be handed on from chunk to chunk::

    sequences = jax.vmap(lambda key: adding(key, rows=32, steps=100))(keys)     # [N, T, B, ...]
    stream = cut(join(sequences), 25)                                           # [N T / 25, 25, B, ...]

The floor of a task is the mean loss, over the steps that count, of the best predictor that sees nothing of what is to
be remembered.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.choices import is_whole, require
from jaxrnn.gradients.base import Chunk
from jaxrnn.types import Array, Marked


def copy_memory(key: Array, rows: int, *, delay: int, symbols: int = 10, alphabet: int = 8) -> Chunk:
    """Draw sequences in which some symbols are shown, and have to be told again after a delay.

    ::

        inputs    a b c . . . . . : . . .          a, b, c are any of A; "." is blank, ":" asks
        targets                     a b c          each symbol comes back n + delay steps after it was shown
        weight    0 0 0 0 0 0 0 0 0 1 1 1

    Args:
        key: a random key.
        rows: B.
        delay: steps between the last symbol shown and the first one told, the last of them being the one that asks.
        symbols: n.
        alphabet: A.

    Returns:
        Inputs one-hot `[T, B, A + 2]` with T = delay + 2 n, targets int32 `[T, B]` for `softmax_cross_entropy`. The
        floor is `copy_memory_floor(alphabet)`.

    Raises:
        InputError: if a number is below 1.

    References:
        S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997 (the idea).
        M. Arjovsky, A. Shah, Y. Bengio, "Unitary Evolution Recurrent Neural Networks", ICML 2016, section 5.1 (there
        the mean is over all T steps, and so the floor is n log A / T).

    Example:
        >>> chunk = copy_memory(jax.random.key(0), rows=1, delay=3, symbols=2, alphabet=4)
        >>> chunk.inputs.x.argmax(-1)[:, 0].tolist()                    # 4 is blank, 5 asks
        [1, 0, 4, 4, 5, 4, 4]
        >>> chunk.targets[-2:, 0].tolist(), chunk.weight[:, 0].tolist()
        ([1, 0], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    """
    for name, value in (("delay", delay), ("symbols", symbols), ("alphabet", alphabet), ("rows", rows)):
        require(is_whole(value), f"copy_memory: {name}", value, "a whole number of at least 1")
    shown = jax.random.randint(key, (symbols, rows), 0, alphabet, jnp.int32)
    blank, ask = alphabet, alphabet + 1
    waiting = jnp.full((delay, rows), blank, jnp.int32).at[-1].set(ask)
    inputs = jnp.concatenate([shown, waiting, jnp.full_like(shown, blank)])
    targets = jnp.concatenate([jnp.zeros((symbols + delay, rows), jnp.int32), shown])
    return _sequence(jax.nn.one_hot(inputs, alphabet + 2), targets, counted=symbols)


def copy_memory_floor(alphabet: int = 8) -> float:
    """The cross-entropy of a guess: `log A` nats for every symbol told.

    Args:
        alphabet: A.

    Returns:
        Nats.

    Example:
        >>> round(copy_memory_floor(8), 4)
        2.0794
    """
    return math.log(alphabet)


def adding(key: Array, rows: int, *, steps: int) -> Chunk:
    """Draw sequences of numbers of which two are marked, one in each half: their sum is asked for at the end.

    Args:
        key: a random key.
        rows: B.
        steps: T.

    Returns:
        Inputs `[T, B, 2]`, a number uniform on (0, 1) and a mark, 1 at two steps and 0 elsewhere; targets `[T, B]` for
        `squared_error`, counted at the last step only. The floor is `adding_floor()`.

    Raises:
        InputError: for fewer than 2 steps, or less than a row.

    References:
        S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, section 5.4.
        Q. V. Le, N. Jaitly, G. E. Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
        arXiv:1504.00941, section 4.1 (this form).

    Example:
        >>> chunk = adding(jax.random.key(0), rows=1, steps=6)
        >>> numbers, marks = chunk.inputs.x[:, 0].T
        >>> marks.tolist(), bool(jnp.isclose(chunk.targets[-1, 0], (numbers * marks).sum()))
        ([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], True)
    """
    require(is_whole(steps, 2), "adding: steps", steps, "a whole number of at least 2")
    require(is_whole(rows), "adding: rows", rows, "a whole number of at least 1")
    for_numbers, for_marks = jax.random.split(key)
    numbers = jax.random.uniform(for_numbers, (steps, rows))
    marks = sum(jax.nn.one_hot(t, steps, axis=0) for t in _one_in_each(for_marks, rows, _halves(steps)))
    total = jnp.sum(numbers * marks, axis=0)
    return _sequence(jnp.stack([numbers, marks], axis=-1), jnp.broadcast_to(total, (steps, rows)), counted=1)


def adding_floor() -> float:
    """The squared error of always saying 1: the variance of the sum of two uniform numbers, `2 / 12`.

    Of a model without memory `1/12 / (T - T//2)` less can be had, for so often the second number is the last input.

    Returns:
        1/6.
    """
    return 1 / 6


def temporal_order(key: Array, rows: int, *, steps: int) -> Chunk:
    """Draw sequences of distracting symbols with an X or a Y early on and once more in the middle: in which order?

    The first one stands in the second tenth of the sequence, the other in the sixth; the four classes are XX, XY, YX
    and YY, asked for at the end. So what is to be remembered is 0.8 T to 0.9 T and 0.4 T to 0.5 T steps old.

    Args:
        key: a random key.
        rows: B.
        steps: T, at least 10.

    Returns:
        Inputs one-hot `[T, B, 6]`, four distractors, X and Y; targets int32 `[T, B]` for `softmax_cross_entropy`,
        counted at the last step only. The floor is `temporal_order_floor()`.

    Raises:
        InputError: for fewer than 10 steps, or less than a row.

    References:
        S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, section 5.6, task 6a
        (there with symbols for start and end, and lengths of 100 to 110).

    Example:
        >>> chunk = temporal_order(jax.random.key(1), rows=1, steps=20)
        >>> "".join("abcdXY"[i] for i in chunk.inputs.x.argmax(-1)[:, 0]), int(chunk.targets[-1, 0])
        ('ddYacbcbdcXddabdabdd', 2)
    """
    require(is_whole(steps, 10), "temporal_order: steps", steps, "a whole number of at least 10")
    require(is_whole(rows), "temporal_order: rows", rows, "a whole number of at least 1")
    for_noise, for_places, for_kinds = jax.random.split(key, 3)
    symbols = jax.random.randint(for_noise, (steps, rows), 0, 4, jnp.int32)
    kinds = jax.random.randint(for_kinds, (2, rows), 0, 2, jnp.int32)
    tenths = [(tenth * steps // 10, (tenth + 1) * steps // 10) for tenth in (1, 5)]
    for place, kind in zip(_one_in_each(for_places, rows, tenths), kinds, strict=True):
        symbols = symbols.at[place, jnp.arange(rows)].set(4 + kind)
    order = 2 * kinds[0] + kinds[1]
    return _sequence(jax.nn.one_hot(symbols, 6), jnp.broadcast_to(order, (steps, rows)), counted=1)


def temporal_order_floor() -> float:
    """The cross-entropy of a guess among the four orders, `log 4` nats.

    Returns:
        Nats.
    """
    return math.log(4)


def join(sequences: Chunk) -> Chunk:
    """Put sequences one after another in time.

    Args:
        sequences: arrays `[N, T, B, ...]`.

    Returns:
        Arrays `[N T, B, ...]`; what is marked to start anew at its first step does so in the middle too.

    Example:
        >>> chunk = join(jax.vmap(lambda key: adding(key, rows=4, steps=10))(jax.random.split(jax.random.key(0), 3)))
        >>> chunk.weight.shape, jnp.flatnonzero(chunk.inputs.reset[:, 0]).tolist()
        ((30, 4), [0, 10, 20])
    """
    return jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), sequences)


def cut(chunk: Chunk, length: int) -> Chunk:
    """Cut a chunk into pieces of one length, to be fed one after the other.

    Where the length does not divide the chunk, the first piece is filled up in front with steps of padding (`keep` is
    false, the weight 0), so that the last step of the chunk is the last one of a piece.

    Args:
        chunk: arrays `[T, B, ...]`, the inputs `Marked`.
        length: K.

    Returns:
        Arrays `[ceil(T / K), K, B, ...]`.

    Raises:
        InputError: if the length is below 1.

    Example:
        >>> pieces = cut(adding(jax.random.key(0), rows=2, steps=10), 4)
        >>> pieces.weight.shape, pieces.inputs.keep[:, :, 0].astype(int).tolist()
        ((3, 4, 2), [[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
    """
    require(is_whole(length), "cut: length", length, "a whole number of at least 1 time step")
    missing = -chunk.weight.shape[0] % length
    if missing:
        keep = jnp.ones(chunk.weight.shape, bool) if chunk.inputs.keep is None else chunk.inputs.keep
        chunk = chunk._replace(inputs=chunk.inputs._replace(keep=keep))
        chunk = jax.tree.map(lambda a: jnp.concatenate([jnp.zeros((missing, *a.shape[1:]), a.dtype), a]), chunk)
    return jax.tree.map(lambda a: a.reshape(-1, length, *a.shape[1:]), chunk)


def _sequence(inputs: Array, targets: Any, counted: int) -> Chunk:
    """The chunk that starts anew at its first step and whose last steps count."""
    steps, rows = targets.shape
    at = jnp.broadcast_to(jnp.arange(steps)[:, None], (steps, rows))
    return Chunk(Marked(inputs, reset=at == 0), targets, (at >= steps - counted).astype(inputs.dtype))


def _halves(steps: int) -> list[tuple[int, int]]:
    """The first and the second half of a sequence."""
    return [(0, steps // 2), (steps // 2, steps)]


def _one_in_each(key: Array, rows: int, spans: list[tuple[int, int]]) -> list[Array]:
    """A random step `[B]` in each of the spans."""
    keys = jax.random.split(key, len(spans))
    return [jax.random.randint(k, (rows,), first, end) for k, (first, end) in zip(keys, spans, strict=True)]
