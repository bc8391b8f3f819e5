"""The minimal GRU of Feng et al. (2024): its gate does not look at the state, so that no step waits for another."""

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import project_input, recurrent_layer
from jaxrnn.initializers import Initializer
from jaxrnn.linear_scan import linear_unroll
from jaxrnn.types import Array, Params


def min_gru(
    input_size: int,
    hidden_size: int,
    *,
    w_ih: Initializer | None = None,
    b_ih: Initializer = initializers.zeros,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a minimal GRU, not to be confused with the minimal gated unit (`mgu`).

    Its equations::

        z, n = split(x w_ih + b_ih)
        h' = (1 - sigmoid(z)) * h + sigmoid(z) * n              # the output

    With the inputs given, the state is linear in the state before, unit by unit: `unroll` computes all steps at once
    (`jaxrnn.linear_scan`). What a GRU finds out by looking at its state, this finds out in the next layer, if at all.

    Args:
        input_size: I.
        hidden_size: H.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        b_ih: initializer of the biases `[2, H]`.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, 2*H]`, `b_ih [2*H]`, gates in the order z, n, and carry `h [*batch, H]`. It notes
        `z`, `n`, `h`. Combinators that work on equations, such as `zoneout`, take these, and so come to a loop.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, "Were RNNs All We Needed?", arXiv:2410.01201,
        section 3.1 (the candidate without the positive function of its appendix B).

    Example:
        >>> cell = min_gru(3, 4)
        >>> h, ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape, bool(jnp.all(ys[-1] == h))
        ((5, 2, 4), True)
    """
    sizes = (input_size, hidden_size, 2)
    cell = recurrent_layer("min_gru", sizes, recur, w_ih=w_ih, w_hh=None, b_ih=b_ih, b_hh=None, dtype=dtype)
    return cell._replace(unroll=linear_unroll(cell, coefficients))


def min_gru_step(params: Params, carry: Array, x: Array) -> tuple[Array, Array]:
    """One step of the minimal GRU, for direct use.

    Args:
        params: as `min_gru` makes them.
        carry: h `[*batch, H]`.
        x: `[*batch, I]`.

    Returns:
        `(h', h')`, each `[*batch, H]`.

    Example:
        >>> params = {"w_ih": jnp.zeros((1, 2)), "b_ih": jnp.array([0.0, 3.0])}
        >>> min_gru_step(params, jnp.ones(1), jnp.ones(1))[0].tolist()     # half of what was, half of the candidate
        [2.0]
    """
    return recur(params, carry, project_input(params, x), product, unnoted)


def recur(params: Params, h: Array, z: Array, dot, note) -> tuple[Array, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: none of them.
        h: `[*batch, H]`.
        z: the projected input `[*batch, 2*H]`.
        dot: the product with a weight; there is none.
        note: names a quantity.

    Returns:
        `(h', h')`.
    """
    del dot
    a, b = coefficients(params, z, note)
    h = note("h", a * h + b)
    return h, h


def coefficients(params: Params, z: Array, note=unnoted) -> tuple[Array, Array]:
    """What a step makes of the state: `h' = a * h + b`.

    Args:
        params: none of them.
        z: the projected input `[..., 2*H]`.
        note: names a quantity.

    Returns:
        `(a, b)`, each `[..., H]`.
    """
    del params
    z, n = jnp.split(z, 2, axis=-1)
    z, n = note("z", jax.nn.sigmoid(z)), note("n", n)
    return 1 - z, z * n
