"""Dropped weights: some connections of a cell are missing, the same ones for all rows and all steps of a chunk."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, Recurrence, product, step_of
from jaxrnn.choices import require
from jaxrnn.compose.noise import Noise, check_rate, keep_mask, noisy_carry, shared_noise
from jaxrnn.types import Array, Params


def weight_drop(cell: Cell, rate: float, *, names: Sequence[str] = ("w_hh",)) -> Cell:
    """Drop recurrent weights at random: the cell is run with `mask * w_hh / (1 - rate)` in the place of `w_hh`.

    One mask for the whole batch, constant over a chunk; an estimator draws a new one for each chunk; in a loop without
    estimators `jaxrnn.trees.renew_keys(carry)` does. The parameters stay what they are: a mask is put on when they are
    used, and the gradient goes through it to the weights that were there. Without a key in `initial_carry` (evaluation)
    nothing is dropped.

    The recurrent products stay on the fused path, for the mask is put on once, before the loop over time. So this goes
    around a cell and whatever is wrapped around its recurrence: `weight_drop(zoneout(lstm(...), ...), ...)`. The other
    way round is right as well, but draws the mask and makes the gradient of the weights anew at every step.

    Args:
        cell: a cell, or a stack: each weight of these names has a mask of its own.
        rate: the probability of dropping a weight, in [0, 1).
        names: of the parameters to drop from, at any depth; a string is one name.

    Returns:
        A cell with the same parameters, and with carry `(Noise, the cell's carry)`, where the noise has one key `[]`
        for all rows and no count.

    Raises:
        InputError: for a rate outside [0, 1), or if the cell has no parameter of these names.

    Cost:
        One hash for every two weights and a copy of the weights, once for each `unroll` (and for each `step`).

    References:
        L. Wan, M. Zeiler, S. Zhang, Y. LeCun, R. Fergus, "Regularization of Neural Networks using DropConnect", ICML
        2013. S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018,
        arXiv:1708.02182, section 2 (on the recurrent weights).

    Example:
        >>> from jaxrnn.cells.lstm import lstm
        >>> cell = weight_drop(lstm(3, 4), 0.5)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2, jax.random.key(1))
        >>> grads = jax.grad(lambda params: cell.unroll(params, carry, jnp.ones((5, 2, 3)))[1].sum())(params)
        >>> 0 < int(jnp.sum(grads["w_hh"] == 0)) < 64, int(jnp.sum(grads["w_ih"] == 0))
        (True, 0)
    """
    rate = check_rate("weight_drop", rate)
    names = (names,) if isinstance(names, str) else tuple(names)
    found = jax.tree.leaves_with_path(jax.eval_shape(cell.init, jax.random.key(0)))
    known = {_name(path) for path, _ in found}
    require(names and known.issuperset(names), "weight_drop: names", names, f"names of parameters: {sorted(known)}")
    dropped = [path for path, _ in found if _name(path) in names]

    def thinned(params: Params, noise: Noise) -> Params:
        if noise.key is None or rate == 0:
            return params
        # Counted from 1: `fold_in(key, 0)` is the next key of the chain (`jaxrnn.trees.renew_keys`).
        keys = {path: jax.random.fold_in(noise.key, number) for number, path in enumerate(dropped, start=1)}
        return jax.tree.map_with_path(lambda path, w: _drop(keys[path], rate, w) if path in keys else w, params)

    def through(method):
        def run(params, carry, x):
            noise, inner = carry
            inner, y = method(thinned(params, noise), inner, x)
            return (noise, inner), y

        return run

    def recur(params, carry, x, dot, note):
        # `dot` may be given weights made from params alone, and a thinned one depends on the key in the carry: so its
        # products, and their gradients, stay in the loop.
        dot = dot if carry[0].key is None or rate == 0 else product

        return through(partial(step_of, cell.recurrence, dot=dot, note=note))(params, carry, x)

    recurrence = Recurrence(lambda params, x: x, recur)
    sizes = (cell.input_size, cell.output_size)
    initial_carry = noisy_carry(shared_noise, cell)
    return Cell(cell.init, initial_carry, through(cell.step), through(cell.unroll), recurrence, *sizes)


def _drop(key: Array, rate: float, w: Array) -> Array:
    """`mask * w / (1 - rate)`."""
    return jnp.where(keep_mask(key, rate, w.shape), w / (1 - rate), jnp.zeros_like(w))


def _name(path: tuple[Any, ...]) -> str:
    """The name of a parameter, without those of the cells that it lies in."""
    return jax.tree_util.keystr(path[-1:], simple=True)
