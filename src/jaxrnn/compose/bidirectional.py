"""Two cells, one from each end: a function over whole sequences, for it has no causal step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cell import Cell
from jaxrnn.errors import InputError
from jaxrnn.marks import within_lengths
from jaxrnn.types import Marked, Penalized


class Bidirectional(NamedTuple):
    """A function over whole sequences.

    Attributes:
        init: `(key) -> params`, `{"forward": ..., "backward": ...}`.
        apply: `(params, xs [T, B, I], lengths int [B] | None, key=None) -> [T, B, O_forward + O_backward]`; with a key
            the noise of the cells acts, such as dropout, as in training.
    """

    init: Callable
    apply: Callable


def bidirectional(forward: Cell, backward: Cell) -> Bidirectional:
    """Run one cell from the left and one from the right over whole sequences, and set their outputs side by side.

    Equals, for each row of length n, zero beyond it::

        for t in range(n):           forward_carry, left[t] = forward.step(p_f, forward_carry, xs[t])
        for t in reversed(range(n)): backward_carry, right[t] = backward.step(p_b, backward_carry, xs[t])
        ys[t] = concatenate(left[t], right[t])

    There is no `step`, for the output at t depends on what comes after it, and so no truncation either: the gradient is
    BPTT over the whole sequence.

    Args:
        forward: the cell that reads from the left.
        backward: the cell that reads from the right.

    Returns:
        Its `init` and `apply`. `apply` refuses, with an InputError, inputs with fewer axes than `[T, B, I]` (`[T, B]`
        of ids), marked ones, lengths that are not integers `[B]`, and cells with penalties where a key is given.

    References:
        M. Schuster, K. K. Paliwal, "Bidirectional Recurrent Neural Networks", IEEE Trans. Signal Processing 45, 1997.

    Example:
        >>> from jaxrnn.cells.gru import gru
        >>> both = bidirectional(gru(3, 4), gru(3, 4))
        >>> ys = both.apply(both.init(jax.random.key(0)), jnp.ones((5, 2, 3)), jnp.array([5, 2]))
        >>> ys.shape, bool(jnp.all(ys[2:, 1] == 0))
        ((5, 2, 8), True)
    """
    names, cells = ("forward", "backward"), (forward, backward)

    def init(key):
        return {name: cell.init(k) for name, cell, k in zip(names, cells, jax.random.split(key), strict=True)}

    def apply(params, xs, lengths=None, key=None):
        if isinstance(xs, Marked) or jnp.ndim(xs) < 2 + (forward.input_size is not None):
            raise InputError("bidirectional: expected inputs [T, B, I]; where rows end, `lengths` says")
        steps, rows = xs.shape[:2]
        lengths = jnp.full((rows,), steps) if lengths is None else jnp.asarray(lengths)
        if lengths.shape != (rows,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise InputError(f"bidirectional: lengths is {lengths.dtype}{list(lengths.shape)}; expected int [{rows}]")
        keep = within_lengths(lengths, steps)
        keys = (None, None) if key is None else jax.random.split(key)
        outputs = []
        for name, cell, its_key, flip in zip(names, cells, keys, (lambda a: a, lambda a: a[::-1]), strict=True):
            marked = Marked(flip(xs), keep=flip(keep))
            _, ys = cell.unroll(params[name], cell.initial_carry(rows, its_key), marked)
            if isinstance(ys, Penalized):
                raise InputError(f"bidirectional: {name}: penalties have no place here; put them around what is above")
            outputs.append(flip(ys))
        return jnp.concatenate(outputs, axis=-1)

    return Bidirectional(init, apply)
