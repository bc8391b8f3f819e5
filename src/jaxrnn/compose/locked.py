"""Dropout that stays the same over time: one mask a row for all steps of a chunk."""

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, opaque
from jaxrnn.compose.noise import by_row, check_rate, check_rows, initial_noise, keep_mask, noisy_carry
from jaxrnn.marks import blank, silence, unmarked
from jaxrnn.shapes import choose, spread
from jaxrnn.types import Array

# A row's next key, once a chunk, is `fold_in(key, 0)` (`jaxrnn.trees.renew_keys`); from 1 on they may be drawn from.
DRAW = 1


def locked_dropout(rate: float) -> Cell:
    """Make a layer that drops the same units at every step: `y = mask * x / (1 - rate)`.

    The mask is constant over a chunk and different for each row; an estimator draws a new one for each chunk. What
    begins anew in the middle of a chunk (`Marked.reset`) keeps its row's mask. In a loop without estimators, draw anew
    with `carry = jaxrnn.trees.renew_keys(carry)`. Without a key in `initial_carry` (evaluation) the layer is the
    identity.

    Args:
        rate: the probability of dropping a unit, in [0, 1).

    Returns:
        A cell without parameters, with carry `Noise`, whose count is None.

    Raises:
        InputError: for a rate outside [0, 1).

    References:
        Y. Gal, Z. Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", NIPS
        2016, arXiv:1512.05287, section 4 (variational dropout).
        S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018,
        arXiv:1708.02182, section 4.2 (a mask for each pass over a chunk, another one for each row).

    Example:
        >>> cell = locked_dropout(0.5)
        >>> _, ys = cell.unroll({}, cell.initial_carry(2, jax.random.key(0)), jnp.ones((5, 2, 100)))
        >>> bool(jnp.all(ys == ys[0])), bool(jnp.any(ys[:, 0] != ys[:, 1])), sorted(set(ys.ravel().tolist()))
        (True, True, [0.0, 2.0])
        >>> cell.unroll({}, cell.initial_carry(2), jnp.ones((5, 2, 100)))[1].min()
        Array(1., dtype=float32)
    """
    rate = check_rate("locked_dropout", rate)

    def draw(key, size):
        return keep_mask(jax.random.fold_in(key, DRAW), rate, (size,))

    def run(params, noise, x):
        """For one step or for many: `x [*batch, H]` or `[T, *batch, H]`."""
        del params
        y = blank(x)
        if noise.key is not None and rate > 0:
            check_rows("locked_dropout", noise, y)
            mask = by_row(lambda key: draw(key, y.shape[-1]), noise.key)
            y = jnp.where(spread(mask, y), y / (1 - rate), jnp.zeros_like(y))
        return noise, silence(x, y)

    return Cell(lambda key: {}, _uncounted_noise, run, run, opaque(run))


def word_dropout(embedding: Cell, rate: float) -> Cell:
    """Drop whole words: where a row's chunk drops a symbol, every occurrence of it reads as zeros.

    `y = mask[x] * embedding(x) / (1 - rate)`. Which symbols are dropped is constant over a chunk and different for each
    row. In a loop without estimators, draw anew with `jaxrnn.trees.renew_keys`. Without a key in `initial_carry`
    (evaluation) nothing is dropped.

    Args:
        embedding: a cell that reads ids, such as `jaxrnn.compose.embedding`.
        rate: the probability of dropping a symbol of the vocabulary, in [0, 1).

    Returns:
        A cell with the embedding's parameters, and with carry `(Noise, the embedding's carry)`.

    Raises:
        InputError: for a rate outside [0, 1).

    Cost:
        Two hashes for each id that is read: a symbol's fate is drawn from its number, so that the size of the
        vocabulary does not matter.

    References:
        Y. Gal, Z. Ghahramani, as in `locked_dropout`, section 4.2. S. Merity, N. S. Keskar, R. Socher, as there,
        section 4.3 (embedding dropout; one mask for all rows, where this has one for each).

    Example:
        >>> from jaxrnn.compose import embedding
        >>> cell = word_dropout(embedding(10, 4), 0.5)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(1, jax.random.key(1))
        >>> _, ys = cell.unroll(params, carry, jnp.tile(jnp.arange(10), 2)[:, None])
        >>> bool(jnp.all(ys[:10] == ys[10:])), 0 < int(jnp.sum(jnp.all(ys == 0, axis=-1))) < 20
        (True, True)
    """
    rate = check_rate("word_dropout", rate)

    def stays(key, word):
        return keep_mask(jax.random.fold_in(key, DRAW + word.astype(jnp.uint32)), rate, ())

    def through(method):
        def run(params, carry, x):
            noise, inner = carry
            inner, y = method(params, inner, x)
            if noise.key is not None and rate > 0:
                ids = unmarked(x)
                check_rows("word_dropout", noise, ids, axes=0)
                stay = by_row(stays, jnp.broadcast_to(noise.key, ids.shape), ids)
                y = choose(stay, y / (1 - rate), jnp.zeros_like(y))
            return (noise, inner), y

        return run

    step, unroll = through(embedding.step), through(embedding.unroll)
    sizes = (embedding.input_size, embedding.output_size)
    initial_carry = noisy_carry(_uncounted_noise, embedding)
    return Cell(embedding.init, initial_carry, step, unroll, opaque(step), *sizes)


def _uncounted_noise(batch_shape: int | tuple[int, ...], key: Array | None = None):
    """A key for each row, and no count of steps: what is drawn does not change with them."""
    return initial_noise(batch_shape, key)._replace(count=None)
