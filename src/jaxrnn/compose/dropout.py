"""Dropout: units are missing at random, other ones at every step."""

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, opaque
from jaxrnn.compose.noise import check_rate, check_rows, initial_noise, row_masks
from jaxrnn.marks import blank, silence


def dropout(rate: float) -> Cell:
    """Make a layer that drops units at random, anew at every step: `y = mask * x / (1 - rate)`.

    Without a key in `initial_carry` (evaluation) it is the identity. Each row draws from its own key and step count, so
    that the masks do not depend on how the batch is split over devices, nor those of `unroll` on how time is cut into
    chunks. (Estimators renew the keys at the start of every chunk.)

    Args:
        rate: the probability of dropping a unit, in [0, 1).

    Returns:
        A cell without parameters, with carry `Noise`.

    Raises:
        InputError: for a rate outside [0, 1).

    Cost:
        One threefry hash for every two elements of the input.

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
        if silent(noise):
            return noise, silence(x, blank(x))
        noise = noise._replace(count=noise.count + 1)
        return noise, silence(x, scale(noise, blank(x)))

    def unroll(params, noise, xs):
        del params
        plain = blank(xs)
        if silent(noise):
            return noise, silence(xs, plain)
        steps = jnp.arange(1, len(plain) + 1, dtype=noise.count.dtype)
        at_step = jax.vmap(lambda step, x: scale(noise._replace(count=noise.count + step), x))
        return noise._replace(count=noise.count + len(plain)), silence(xs, at_step(steps, plain))

    return Cell(lambda key: {}, initial_noise, step, unroll, opaque(step))
