"""The simple recurrent network of Elman (1990)."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import add_bias, project_input, recurrent_layer
from jaxrnn.choices import require
from jaxrnn.initializers import Initializer
from jaxrnn.types import Array, Params


def elman(
    input_size: int,
    hidden_size: int,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    w_ih: Initializer | None = None,
    w_hh: Initializer = initializers.orthogonal,
    b_ih: Initializer = initializers.zeros,
    b_hh: Initializer | None = initializers.zeros,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make an Elman cell: `h' = tanh(x w_ih + b_ih + h w_hh + b_hh)`, output `h'`.

    The split form above and the concatenated one, `tanh([h, x] w + b)` with `w = [w_hh; w_ih]` one over the other and
    `b = b_ih + b_hh`, are the same thing.

    Args:
        input_size: I.
        hidden_size: H.
        activation: elementwise; `jnp.tanh`, or `jax.nn.relu` (with `w_hh=initializers.identity()`: the IRNN).
        w_ih: initializer of `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of `[H, H]`.
        b_ih: initializer of the input bias, given as `[1, H]`.
        b_hh: initializer of the recurrent bias, or None for a single bias.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, H]`, `w_hh [H, H]`, `b_ih [H]`, `b_hh [H]` and carry `h [*batch, H]`. It notes `h`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        J. L. Elman, "Finding Structure in Time", Cognitive Science 14, 1990.

    Example:
        >>> import jax
        >>> cell = elman(3, 4)
        >>> carry, ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)
    """
    require(callable(activation), "elman: activation", activation, "a function of an array, such as jax.numpy.tanh")
    return recurrent_layer(
        "elman",
        (input_size, hidden_size, 1),
        partial(recur, activation=activation),
        w_ih=w_ih,
        w_hh=w_hh,
        b_ih=b_ih,
        b_hh=b_hh,
        dtype=dtype,
    )


def elman_step(params: Params, carry: Array, x: Array, *, activation=jnp.tanh) -> tuple[Array, Array]:
    """One step of the Elman cell, for direct use.

    Args:
        params: as `elman` makes them.
        carry: h `[*batch, H]`.
        x: `[*batch, I]`.
        activation: elementwise.

    Returns:
        `(h', h')`, each `[*batch, H]`.

    Example:
        >>> params = {"w_ih": jnp.eye(2), "w_hh": jnp.eye(2), "b_ih": jnp.zeros(2)}
        >>> elman_step(params, jnp.zeros(2), jnp.zeros(2))[0].tolist()
        [0.0, 0.0]
    """
    return recur(params, carry, project_input(params, x), product, unnoted, activation=activation)


def recur(params: Params, h: Array, z: Array, dot, note, *, activation) -> tuple[Array, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: `w_hh [H, H]`, and `b_hh [H]` or not.
        h: `[*batch, H]`.
        z: the projected input `[*batch, H]`.
        dot: the product with a weight.
        note: names a quantity.
        activation: elementwise.

    Returns:
        `(h', h')`.
    """
    h = note("h", activation(dot(h, params["w_hh"], add_bias(z, params))))
    return h, h
