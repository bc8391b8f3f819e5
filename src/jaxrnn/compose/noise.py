"""Noise that travels in the carry: random masks that replay, resume and split over devices exactly."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, as_shape, opaque
from jaxrnn.choices import is_number, require
from jaxrnn.marks import open_marks
from jaxrnn.trees import is_key
from jaxrnn.types import Array, Carry


class Noise(NamedTuple):
    """A row's source of noise. Both leaves are None in the deterministic cell.

    The draw of step t is `fold_in(key, count)` with the count after that step's increment, so counts start at 1 and
    `fold_in(key, 0)` is left for the next key of the chain (`jaxrnn.trees.renew_keys`).

    Attributes:
        key: typed keys `[*batch]`, one a row, so that a batch split over devices draws the same masks.
        count: int32 `[*batch]`, steps taken.
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


def row_masks(noise: Noise, rate: float, shape: tuple[int, ...]) -> Array:
    """Draw, for each row by itself, which units stay at its present count.

    Args:
        noise: keys and counts `[*batch]`.
        rate: the probability that a unit is dropped.
        shape: of what one row has, such as `(H,)`.

    Returns:
        bool `[*batch, *shape]`, true with probability 1 - rate.
    """

    def one_row(key, count):
        return jax.random.bernoulli(jax.random.fold_in(key, count), 1.0 - rate, shape)

    assert noise.key is not None, "row_masks: the deterministic cell has no masks"
    return by_row(one_row, noise.key, noise.count)


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
    """

    def initial_carry(batch_shape, key=None):
        check_key(key)
        own, inner = (None, None) if key is None else jax.random.split(key)
        return start(batch_shape, own), cell.initial_carry(batch_shape, inner)

    return initial_carry


def check_key(key: Any) -> None:
    """Refuse a key as an array of numbers: what renews keys knows one by its type.

    Args:
        key: a typed random key, or None.

    Raises:
        InputError: for anything else, such as `jax.random.PRNGKey(0)`, or a key of another implementation than
            threefry: within `vmap`, those of `rbg` draw the same for all rows.
    """
    typed = key is None or (hasattr(key, "dtype") and is_key(key) and key.dtype.name == "key<fry>")
    expected = 'a typed key of threefry, such as jax.random.key(0, impl="threefry2x32")'
    require(typed, "initial_carry: key", getattr(key, "dtype", type(key)), expected)


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


def dropout(rate: float) -> Cell:
    """Make a layer that drops units at random, anew at every step: `y = mask * x / (1 - rate)`.

    Without a key in `initial_carry` (evaluation) it is the identity. Each row draws from its own key and step count, so
    that the masks depend neither on how time is cut into chunks nor on how the batch is split over devices.

    Args:
        rate: the probability of dropping a unit, in [0, 1).

    Returns:
        A cell without parameters, with carry `Noise`.

    Raises:
        InputError: for a rate outside [0, 1).

    Cost:
        One threefry hash for each element of the input.

    References:
        N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014.
        W. Zaremba, I. Sutskever, O. Vinyals, "Recurrent Neural Network Regularization", arXiv:1409.2329 (on the
        connections between layers only, which is what putting this cell into a `stack` does).

    Example:
        >>> cell = dropout(0.5)
        >>> carry, y = cell.step({}, cell.initial_carry(1, jax.random.key(0)), jnp.ones((1, 1000)))
        >>> bool(jnp.all((y == 0) | (y == 2))), bool(abs(jnp.mean(y) - 1) < 0.1)
        (True, True)
        >>> cell.step({}, cell.initial_carry(1), jnp.ones((1, 3)))[1].tolist()
        [[1.0, 1.0, 1.0]]
    """
    rate = check_rate("dropout", rate)

    def silent(noise):
        return noise.key is None or rate == 0

    def scale(noise, x):
        check_rows("dropout", noise, x)
        mask = row_masks(noise, rate, x.shape[-1:])
        return jnp.where(mask, x / (1 - rate), jnp.zeros_like(x))

    def step(params, noise, x):
        del params
        x, finish = open_marks(x)
        if silent(noise):
            return noise, finish(x)
        noise = noise._replace(count=noise.count + 1)
        return noise, finish(scale(noise, x))

    def unroll(params, noise, xs):
        del params
        xs, finish = open_marks(xs)
        if silent(noise):
            return noise, finish(xs)
        steps = jnp.arange(1, xs.shape[0] + 1, dtype=noise.count.dtype)
        at_step = jax.vmap(lambda step, x: scale(noise._replace(count=noise.count + step), x))
        return noise._replace(count=noise.count + xs.shape[0]), finish(at_step(steps, xs))

    return Cell(lambda key: {}, initial_noise, step, unroll, opaque(step))
