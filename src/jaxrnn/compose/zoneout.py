"""Zoneout: units that keep, at random, what they were."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell, Recurrence
from jaxrnn.choices import is_number, require
from jaxrnn.compose.noise import Noise, by_row, initial_noise, noisy_carry, row_masks
from jaxrnn.fused import derive
from jaxrnn.trees import join, split_carry, threefry
from jaxrnn.types import Array, Penalized


def zoneout(cell: Cell, *rates: float) -> Cell:
    """Let each unit of the carry keep its old value at random, anew at every step and for every row.

    With `s` a state and `s'` what the cell makes of it::

        s' = s where mask else s'                               # training, mask true with probability rate
        s' = rate * s + (1 - rate) * s'                         # evaluation: the expectation of that

    An output that is a state itself (h of an LSTM or a GRU) is handed on as it came out of this. It is known by being
    the same object, which a step wrapped in `jax.jit` does not return, nor a stack with dropout on top: put what is
    above a state around zoneout, not inside. A penalty that comes with the output is that of the state as it was made.
    Training is with a key in `initial_carry`, evaluation without.

    Args:
        cell: a cell made of a recurrence, such as `lstm(...)`.
        *rates: for each state in the carry the probability of keeping, in [0, 1]: h, and then c for an LSTM.

    Returns:
        A cell with the same parameters, and with carry `(Noise, the cell's carry)`. What it notes are the values before
        zoneout; `trace` has those after it among the carries.

    Raises:
        InputError: for a rate outside [0, 1], if there are not as many as states, and for a cell that has other
            states with noise than without.

    Cost:
        One hash for every two units of the carry and step, twice where it is differentiated.

    References:
        D. Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations", ICLR 2017,
        arXiv:1606.01305, section 3.2 (their best LSTM on Penn Treebank words: 0.025 on h, 0.25 on c).

    Example:
        >>> from jaxrnn.cells.gru import gru
        >>> cell = zoneout(gru(3, 100), 0.5)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(1, jax.random.key(1))
        >>> _, ys = cell.unroll(params, carry, jnp.ones((5, 1, 3)))
        >>> 0 < int(jnp.sum(ys[1:] == ys[:-1])) < 400
        True
    """
    for rate in rates:
        good = is_number(rate) and 0 <= rate <= 1
        require(good, "zoneout: a rate", rate, "a probability in [0, 1]")
    rates = tuple(float(rate) for rate in rates)
    states, noisy = (
        len(jax.tree.leaves(split_carry(jax.eval_shape(partial(cell.initial_carry, (), key)))[0]))
        for key in (None, threefry(0))
    )
    alike = "as many as without noise; put zoneout around each layer by itself"
    require(noisy == states, "zoneout: the number of the cell's states with noise", noisy, alike)
    require(len(rates) == states, "zoneout: the number of rates", len(rates), f"{states}, one for each state")

    def recur(params, carry, z, dot, note):
        noise, old = carry
        if noise.key is not None:
            noise = noise._replace(count=noise.count + 1)
        new, y = cell.recurrence.recur(params, old, z, dot, note)
        (before, _), (after, others) = split_carry(old), split_carry(new)
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        kept = [_keep(noise, number, rate, *pair) for number, (rate, pair) in enumerate(zip(rates, pairs, strict=True))]
        came_out = {id(leaf): state for leaf, state in zip(jax.tree.leaves(after), kept, strict=True)}

        def handed_on(output):
            return came_out.get(id(output), output)

        y = y._replace(y=handed_on(y.y)) if isinstance(y, Penalized) else handed_on(y)
        return (noise, join(jax.tree.unflatten(jax.tree.structure(after), kept), others)), y

    recurrence = Recurrence(cell.recurrence.project, recur)
    sizes = {"input_size": cell.input_size, "output_size": cell.output_size}
    return derive(cell.init, noisy_carry(initial_noise, cell), recurrence, **sizes)


def _keep(noise: Noise, number: int, rate: float, before: Array, after: Array) -> Array:
    """One state after zoneout; each state of the carry, by its number, draws from keys of its own."""
    if rate == 0:
        return after
    if noise.key is None:
        return rate * before + (1 - rate) * after
    keys = by_row(lambda key: jax.random.fold_in(key, 1 + number), noise.key)
    changes = row_masks(noise._replace(key=keys), rate, after.shape[noise.key.ndim :])
    return jnp.where(changes, after, before)
