"""The LSTM with coupled gates of Greff et al. (2017): what is forgotten makes room for what comes in."""

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import add_bias, project_input, recurrent_layer
from jaxrnn.cells.lstm import LSTMCarry
from jaxrnn.initializers import Initializer
from jaxrnn.types import Array, Params


def coupled_lstm(
    input_size: int,
    hidden_size: int,
    *,
    w_ih: Initializer | None = None,
    w_hh: Initializer = initializers.orthogonal,
    b_ih: Initializer = initializers.zeros,
    b_hh: Initializer | None = initializers.zeros,
    forget_bias: float = 1.0,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make an LSTM whose input gate is what the forget gate leaves: `i = 1 - f`.

    Its equations::

        f, g, o = split(x w_ih + b_ih + h w_hh + b_hh)
        c' = sigmoid(f) * c + (1 - sigmoid(f)) * tanh(g)
        h' = sigmoid(o) * tanh(c')                              # the output

    Three quarters of the parameters of an LSTM; the content stays within (-1, 1), as that of a GRU does.

    Args:
        input_size: I.
        hidden_size: H.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[H, H]`.
        b_ih: initializer of the input biases `[3, H]`.
        b_hh: initializer of the recurrent biases `[3, H]`, or None for a single bias.
        forget_bias: added to the forget gate's part of `b_ih`.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, 3*H]`, `w_hh [H, 3*H]`, `b_ih [3*H]`, `b_hh [3*H]`, gates in the order f, g, o, and
        carry `(h, c)`, each `[*batch, H]`. It notes `f`, `g`, `o`, `c`, `h`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        K. Greff, R. K. Srivastava, J. Koutnik, B. R. Steunebrink, J. Schmidhuber, "LSTM: A Search Space Odyssey", IEEE
        Trans. Neural Networks and Learning Systems 28(10), 2017, arXiv:1503.04069 (CIFG; there with peepholes).

    Example:
        >>> cell = coupled_lstm(3, 4)
        >>> (h, c), ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)
    """
    b_ih = initializers.raised(b_ih, gate=0, by=forget_bias)
    sizes = (input_size, hidden_size, 3)
    return recurrent_layer(
        "coupled_lstm",
        sizes,
        recur,
        states=(hidden_size, hidden_size),
        w_ih=w_ih,
        w_hh=w_hh,
        b_ih=b_ih,
        b_hh=b_hh,
        dtype=dtype,
    )


def coupled_lstm_step(params: Params, carry: LSTMCarry, x: Array) -> tuple[LSTMCarry, Array]:
    """One step of the LSTM with coupled gates, for direct use.

    Args:
        params: as `coupled_lstm` makes them.
        carry: `(h, c)`, each `[*batch, H]`.
        x: `[*batch, I]`.

    Returns:
        `((h', c'), h')`.

    Example:
        >>> params = {"w_ih": jnp.zeros((1, 3)), "w_hh": jnp.zeros((1, 3)), "b_ih": jnp.zeros(3)}
        >>> (h, c), y = coupled_lstm_step(params, (jnp.zeros(1), jnp.ones(1)), jnp.ones(1))
        >>> c.tolist()                          # every gate is one half, the candidate is 0
        [0.5]
    """
    return recur(params, carry, project_input(params, x), product, unnoted)


def recur(params: Params, carry: LSTMCarry, z: Array, dot, note) -> tuple[LSTMCarry, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: `w_hh [H, 3*H]`, and `b_hh [3*H]` or not.
        carry: `(h, c)`, each `[*batch, H]`.
        z: the projected input `[*batch, 3*H]`.
        dot: the product with a weight.
        note: names a quantity.

    Returns:
        `((h', c'), h')`.
    """
    h, c = carry
    f, g, o = jnp.split(dot(h, params["w_hh"], add_bias(z, params)), 3, axis=-1)
    f, o = note("f", jax.nn.sigmoid(f)), note("o", jax.nn.sigmoid(o))
    g = note("g", jnp.tanh(g))
    c = note("c", f * c + (1 - f) * g)
    h = note("h", o * jnp.tanh(c))
    return (h, c), h
