"""The LSTM with peepholes of Gers, Schraudolph & Schmidhuber (2002): the gates see the cell's content."""

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import add_bias, project_input, recurrent_layer
from jaxrnn.cells.lstm import LSTMCarry
from jaxrnn.initializers import Initializer
from jaxrnn.shapes import spread
from jaxrnn.types import Array, Params


def peephole_lstm(
    input_size: int,
    hidden_size: int,
    *,
    w_ih: Initializer | None = None,
    w_hh: Initializer = initializers.orthogonal,
    w_c: Initializer = initializers.zeros,
    b_ih: Initializer = initializers.zeros,
    b_hh: Initializer | None = initializers.zeros,
    forget_bias: float = 1.0,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make an LSTM with peepholes.

    Its equations::

        i, f, g, o = split(x w_ih + b_ih + h w_hh + b_hh)
        w_i, w_f, w_o = split(w_c)
        c' = sigmoid(f + w_f * c) * c + sigmoid(i + w_i * c) * tanh(g)
        h' = sigmoid(o + w_o * c') * tanh(c')                   # the output

    A peephole is one number a unit: a gate sees the content of its own unit alone, the output gate the new one.

    Args:
        input_size: I.
        hidden_size: H.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[H, H]`.
        w_c: initializer of the peepholes, given as `[3, H]`; by default closed.
        b_ih: initializer of the input biases `[4, H]`.
        b_hh: initializer of the recurrent biases `[4, H]`, or None for a single bias.
        forget_bias: added to the forget gate's part of `b_ih`.
        dtype: of parameters and carry.

    Returns:
        A cell with the params of `jaxrnn.cells.lstm.lstm` and `w_c [3*H]`, peepholes in the order i, f, o, and carry
        `(h, c)`, each `[*batch, H]`. It notes `i`, `f`, `g`, `o`, `c`, `h`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        F. A. Gers, N. N. Schraudolph, J. Schmidhuber, "Learning Precise Timing with LSTM Recurrent Networks", JMLR 3,
        2002, section 3 (there g and h of the cell are other squashing functions).

    Example:
        >>> cell = peephole_lstm(3, 4)
        >>> (h, c), ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)
    """
    return recurrent_layer(
        "peephole_lstm",
        (input_size, hidden_size, 4),
        recur,
        states=(hidden_size, hidden_size),
        more=lambda key, dtype: {"w_c": w_c(key, (3, hidden_size), dtype).reshape(-1)},
        w_ih=w_ih,
        w_hh=w_hh,
        b_ih=initializers.raised(b_ih, gate=1, by=forget_bias),
        b_hh=b_hh,
        dtype=dtype,
    )


def peephole_lstm_step(params: Params, carry: LSTMCarry, x: Array) -> tuple[LSTMCarry, Array]:
    """One step of the LSTM with peepholes, for direct use.

    Args:
        params: as `peephole_lstm` makes them.
        carry: `(h, c)`, each `[*batch, H]`.
        x: `[*batch, I]`.

    Returns:
        `((h', c'), h')`.

    Example:
        >>> gates = {"w_ih": jnp.zeros((1, 4)), "w_hh": jnp.zeros((1, 4)), "b_ih": jnp.zeros(4)}
        >>> wide_open = jnp.array([0.0, 100.0, 0.0])            # the forget gate sees that there is something to keep
        >>> (h, c), y = peephole_lstm_step(gates | {"w_c": wide_open}, (jnp.zeros(1), jnp.ones(1)), jnp.ones(1))
        >>> c.tolist()
        [1.0]
    """
    return recur(params, carry, project_input(params, x), product, unnoted)


def recur(params: Params, carry: LSTMCarry, z: Array, dot, note) -> tuple[LSTMCarry, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: `w_hh [H, 4*H]`, `w_c [3*H]`, and `b_hh [4*H]` or not.
        carry: `(h, c)`, each `[*batch, H]`.
        z: the projected input `[*batch, 4*H]`.
        dot: the product with a weight.
        note: names a quantity.

    Returns:
        `((h', c'), h')`.
    """
    h, c = carry
    i, f, g, o = jnp.split(dot(h, params["w_hh"], add_bias(z, params)), 4, axis=-1)
    w_i, w_f, w_o = (spread(w, c) for w in jnp.split(params["w_c"], 3))
    i, f = note("i", jax.nn.sigmoid(i + w_i * c)), note("f", jax.nn.sigmoid(f + w_f * c))
    g = note("g", jnp.tanh(g))
    c = note("c", f * c + i * g)
    o = note("o", jax.nn.sigmoid(o + w_o * c))
    h = note("h", o * jnp.tanh(c))
    return (h, c), h
