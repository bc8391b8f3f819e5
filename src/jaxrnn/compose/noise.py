"""Noise that travels in the carry: random masks that replay, resume and split over devices exactly."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, as_shape
from jaxrnn.choices import is_number, require
from jaxrnn.trees import check_threefry
from jaxrnn.types import Array, Carry


class Noise(NamedTuple):
    """A source of noise. Both leaves are None in the deterministic cell.

    What is drawn anew at step t is drawn from `fold_in(key, count)` with the count after that step's increment. So
    counts start at 1, and `fold_in(key, 0)` is left for the next key of the chain (`jaxrnn.trees.renew_keys`).

    Attributes:
        key: typed keys `[*batch]`, one a row, so that a batch split over devices draws the same masks; or a single one
            `[]`, for what all rows share.
        count: int32 `[*batch]`, steps taken; None where what is drawn stays the same over a chunk.

    Example:
        >>> from jaxrnn.compose import dropout
        >>> noise, y = dropout(0.5).step({}, dropout(0.5).initial_carry(3, jax.random.key(0)), jnp.ones((3, 4)))
        >>> noise.key.shape, noise.count.tolist()
        ((3,), [1, 1, 1])
        >>> dropout(0.5).initial_carry(3)                # without a key: evaluation
        Noise(key=None, count=None)
    """

    key: Array | None
    count: Array | None  # pyright: ignore[reportIncompatibleMethodOverride]


def initial_noise(batch_shape: int | tuple[int, ...], key: Array | None = None) -> Noise:
    """Start the noise of a batch.

    Args:
        batch_shape: `*batch`.
        key: one random key, split into one for each row; None for no noise.

    Returns:
        The noise, `[*batch]`.

    Example:
        >>> initial_noise(3, jax.random.key(0)).key.shape, initial_noise(3, None)
        ((3,), Noise(key=None, count=None))
    """
    check_key(key)
    if key is None:
        return Noise(None, None)
    shape = as_shape(batch_shape)
    return Noise(jax.random.split(key, shape), jnp.zeros(shape, jnp.int32))


def shared_noise(batch_shape: int | tuple[int, ...], key: Array | None = None) -> Noise:
    """Start the noise of what is drawn once, for all rows and steps of a chunk.

    Args:
        batch_shape: `*batch`, whatever it is.
        key: one random key; None for no noise.

    Returns:
        The noise, with one key `[]` and no count.
    """
    del batch_shape
    check_key(key)
    return Noise(key, None)


def row_masks(noise: Noise, rate: float, shape: tuple[int, ...]) -> Array:
    """Draw, for each row by itself, which units stay at its present count.

    Args:
        noise: keys and counts `[*batch]`.
        rate: the probability that a unit is dropped.
        shape: of what one row has, such as `(H,)`.

    Returns:
        bool `[*batch, *shape]`, true with probability 1 - rate.

    Example:
        >>> noise = initial_noise(3, jax.random.key(0))
        >>> masks, of_first = (row_masks(n, 0.5, (4,)) for n in (noise, jax.tree.map(lambda a: a[:1], noise)))
        >>> masks.shape, bool(jnp.all(masks[:1] == of_first))         # whatever other rows there are
        ((3, 4), True)
    """

    def one_row(key, count):
        return keep_mask(jax.random.fold_in(key, count), rate, shape)

    assert noise.key is not None, "row_masks: the deterministic cell has no masks"
    return by_row(one_row, noise.key, noise.count)


def keep_mask(key: Array, rate: float, shape: tuple[int, ...]) -> Array:
    """Draw what stays.

    Threefry makes two numbers of a key and a counter. What JAX calls partitionable uses one counter for each number,
    so that devices can share one array; here every device draws whole arrays, and both numbers are used.

    Args:
        key: one random key.
        rate: the probability of dropping.
        shape: of the mask.

    Returns:
        bool `shape`, true with probability 1 - rate.

    Cost:
        A hash for every two elements.

    Example:
        >>> round(float(keep_mask(jax.random.key(0), 0.2, (10_000,)).mean()), 1)
        0.8
    """
    with jax.threefry_partitionable(False):
        return jax.random.bernoulli(key, jnp.float32(1.0 - rate), shape)  # of 32 bits, whatever the default is


def by_row(draw: Callable[..., Array], *rows: Any) -> Array:
    """Draw for every row by itself.

    Args:
        draw: a function of one row's keys and numbers.
        *rows: arrays `[*batch]`.

    Returns:
        `[*batch, ...]`.
    """
    drawn = jax.vmap(draw)(*(leaf.reshape(-1) for leaf in rows))
    return drawn.reshape(*rows[0].shape, *drawn.shape[1:])


def noisy_carry(start: Callable[..., Noise], cell: Cell) -> Callable[..., tuple[Noise, Carry]]:
    """Make the `initial_carry` of a noise around a cell: the noise, and the cell's carry, with a key for each.

    Args:
        start: `(batch_shape, key) -> noise`, where the key is None for no noise.
        cell: the cell inside.

    Returns:
        `(batch_shape, key=None) -> (noise, carry)`.

    Example:
        >>> from jaxrnn.cells import elman
        >>> initial_carry = noisy_carry(initial_noise, elman(3, 4))
        >>> noise, h = initial_carry(2, jax.random.key(0))
        >>> noise.key.shape, h.shape, initial_carry(2)[0]
        ((2,), (2, 4), Noise(key=None, count=None))
    """

    def initial_carry(batch_shape, key=None):
        check_key(key)
        own, inner = (None, None) if key is None else jax.random.split(key)
        return start(batch_shape, own), cell.initial_carry(batch_shape, inner)

    return initial_carry


def check_key(key: Any) -> None:
    """Refuse a key of which rows cannot have one each; see `jaxrnn.trees.check_threefry`.

    Args:
        key: a typed random key of threefry, or None.

    Raises:
        InputError: for anything else.
    """
    if key is not None:
        check_threefry("initial_carry: key", key)


def check_rows(name: str, noise: Noise, x: Any, axes: int = 1) -> None:
    """Refuse an input of other rows than the noise is for, which might pass by broadcasting.

    Args:
        name: of the layer.
        noise: keys `[*batch]`.
        x: `[*batch, ...]` or `[T, *batch, ...]`.
        axes: how many there are after the rows.

    Raises:
        InputError: if the rows differ.
    """
    assert noise.key is not None, "check_rows: the deterministic cell is for any rows"
    shape = x.shape[: x.ndim - axes]
    rows = shape[len(shape) - noise.key.ndim :]
    require(rows == noise.key.shape, f"{name}: the rows of the input", rows, f"{noise.key.shape}, those of the carry")


def check_rate(name: str, rate: Any) -> float:
    """Refuse what is no probability below 1.

    Args:
        name: of the function that was given it.
        rate: the probability that something is dropped.

    Returns:
        The rate, as a number of Python's, which changes no dtype.

    Raises:
        InputError: if it is none.
    """
    require(is_number(rate) and 0 <= rate < 1, f"{name}: rate", rate, "a probability in [0, 1)")
    return float(rate)
