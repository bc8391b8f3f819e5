"""The long short-term memory of Hochreiter & Schmidhuber (1997), with forget gates (Gers et al. 2000)."""

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import add_bias, project_input, recurrent_layer
from jaxrnn.initializers import Initializer
from jaxrnn.types import Array, Params

LSTMCarry = tuple[Array, Array]


def lstm(
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
    """Make an LSTM cell.

    Its equations::

        i, f, g, o = split(x w_ih + b_ih + h w_hh + b_hh)
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')                              # the output

    Args:
        input_size: I.
        hidden_size: H.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[H, H]`.
        b_ih: initializer of the input biases `[4, H]`.
        b_hh: initializer of the recurrent biases `[4, H]`, or None for a single bias.
        forget_bias: added to the forget gate's part of `b_ih` once, so that the cell remembers when training starts.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, 4*H]`, `w_hh [H, 4*H]`, `b_ih [4*H]`, `b_hh [4*H]`, gates in the order i, f, g, o
        (as PyTorch and cuDNN), and carry `(h, c)`, each `[*batch, H]`. It notes `i`, `f`, `g`, `o`, `c`, `h`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
        F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget", Neural Computation 12(10), 2000 (forget gate).
        R. Jozefowicz, W. Zaremba, I. Sutskever, "An Empirical Exploration of Recurrent Network Architectures",
        ICML 2015 (forget bias 1).

    Example:
        >>> cell = lstm(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> (h, c), ys = cell.unroll(params, cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape, bool(jnp.all(ys[-1] == h))
        ((5, 2, 4), True)
    """
    b_ih = initializers.raised(b_ih, gate=1, by=forget_bias)
    sizes = (input_size, hidden_size, 4)
    return recurrent_layer(
        "lstm", sizes, recur, states=(hidden_size, hidden_size), w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh, dtype=dtype
    )


def lstm_step(params: Params, carry: LSTMCarry, x: Array) -> tuple[LSTMCarry, Array]:
    """One step of the LSTM, for direct use.

    Args:
        params: as `lstm` makes them.
        carry: `(h, c)`, each `[*batch, H]`.
        x: `[*batch, I]`.

    Returns:
        `((h', c'), h')`.

    Example:
        >>> params = {"w_ih": jnp.zeros((1, 4)), "w_hh": jnp.zeros((1, 4)), "b_ih": jnp.zeros(4)}
        >>> (h, c), y = lstm_step(params, (jnp.zeros(1), jnp.ones(1)), jnp.ones(1))
        >>> c.tolist()                          # every gate is one half, the candidate is 0
        [0.5]
    """
    return recur(params, carry, project_input(params, x), product, unnoted)


def recur(params: Params, carry: LSTMCarry, z: Array, dot, note) -> tuple[LSTMCarry, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: `w_hh [H, 4*H]`, and `b_hh [4*H]` or not.
        carry: `(h, c)`, each `[*batch, H]`.
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
    h = note("h", o * jnp.tanh(c))
    return (h, c), h
