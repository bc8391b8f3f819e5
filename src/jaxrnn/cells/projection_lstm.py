"""The LSTM with a projection of Sak, Senior & Beaufays (2014): a large memory, a small state to feed back."""

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import add_bias, project_input, recurrent_layer
from jaxrnn.cells.lstm import LSTMCarry
from jaxrnn.initializers import Initializer
from jaxrnn.shapes import check_sizes
from jaxrnn.types import Array, Params


def projection_lstm(
    input_size: int,
    hidden_size: int,
    projection_size: int,
    *,
    w_ih: Initializer | None = None,
    w_hh: Initializer = initializers.orthogonal,
    w_hr: Initializer = initializers.orthogonal,
    b_ih: Initializer = initializers.zeros,
    b_hh: Initializer | None = initializers.zeros,
    forget_bias: float = 1.0,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make an LSTM with a projection.

    Its equations::

        i, f, g, o = split(x w_ih + b_ih + h w_hh + b_hh)
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = (sigmoid(o) * tanh(c')) w_hr                       # the output, of size R

    Args:
        input_size: I.
        hidden_size: H, the size of the memory c.
        projection_size: R, the size of the state h, which is fed back and is the output; more than 0.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[R, H]`.
        w_hr: initializer of the projection `[H, R]`.
        b_ih: initializer of the input biases `[4, H]`.
        b_hh: initializer of the recurrent biases `[4, H]`, or None for a single bias.
        forget_bias: added to the forget gate's part of `b_ih`.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, 4*H]`, `w_hh [R, 4*H]`, `w_hr [H, R]`, `b_ih [4*H]`, `b_hh [4*H]`, gates in the
        order i, f, g, o, and carry `(h [*batch, R], c [*batch, H])`. It notes `i`, `f`, `g`, `o`, `c`, `h`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    Cost:
        The recurrent product has R*4*H numbers and the projection H*R: less than the H*4*H of the LSTM where
        R < 0.8 H.

    References:
        H. Sak, A. Senior, F. Beaufays, "Long Short-Term Memory Based Recurrent Neural Network Architectures for Large
        Vocabulary Speech Recognition", arXiv:1402.1128, section 2.2 (there with peepholes; here as in PyTorch).

    Example:
        >>> cell = projection_lstm(3, 8, 4)
        >>> (h, c), ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape, h.shape, c.shape
        ((5, 2, 4), (2, 4), (2, 8))
    """
    check_sizes("projection_lstm", projection_size=projection_size)

    return recurrent_layer(
        "projection_lstm",
        (input_size, hidden_size, 4),
        recur,
        states=(projection_size, hidden_size),
        more=lambda key, dtype: {"w_hr": w_hr(key, (hidden_size, projection_size), dtype)},
        w_ih=w_ih,
        w_hh=w_hh,
        b_ih=initializers.raised(b_ih, gate=1, by=forget_bias),
        b_hh=b_hh,
        dtype=dtype,
    )


def projection_lstm_step(params: Params, carry: LSTMCarry, x: Array) -> tuple[LSTMCarry, Array]:
    """One step of the LSTM with a projection, for direct use.

    Args:
        params: as `projection_lstm` makes them.
        carry: `(h [*batch, R], c [*batch, H])`.
        x: `[*batch, I]`.

    Returns:
        `((h', c'), h')`.

    Example:
        >>> gates = {"w_ih": jnp.zeros((1, 8)), "w_hh": jnp.zeros((1, 8)), "b_ih": jnp.zeros(8)}
        >>> to_one = {"w_hr": jnp.array([[1.0], [-1.0]])}
        >>> (h, c), y = projection_lstm_step(gates | to_one, (jnp.zeros(1), jnp.ones(2)), jnp.ones(1))
        >>> c.tolist(), h.tolist()              # every gate is one half, and the projection takes the difference
        ([0.5, 0.5], [0.0])
    """
    return recur(params, carry, project_input(params, x), product, unnoted)


def recur(params: Params, carry: LSTMCarry, z: Array, dot, note) -> tuple[LSTMCarry, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: `w_hh [R, 4*H]`, `w_hr [H, R]`, and `b_hh [4*H]` or not.
        carry: `(h [*batch, R], c [*batch, H])`.
        z: the projected input `[*batch, 4*H]`.
        dot: the product with a weight.
        note: names a quantity.

    Returns:
        `((h', c'), h')`.
    """
    h, c = carry
    i, f, g, o = jnp.split(dot(h, params["w_hh"], add_bias(z, params)), 4, axis=-1)
    i, f, o = note("i", jax.nn.sigmoid(i)), note("f", jax.nn.sigmoid(f)), note("o", jax.nn.sigmoid(o))
    g = note("g", jnp.tanh(g))
    c = note("c", f * c + i * g)
    h = note("h", dot(o * jnp.tanh(c), params["w_hr"]))
    return (h, c), h
