"""The LSTM with layer normalisation of Ba, Kiros & Hinton (2016)."""

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import add_bias, layer_norm, recurrent_layer
from jaxrnn.cells.lstm import LSTMCarry
from jaxrnn.initializers import Initializer
from jaxrnn.shapes import spread
from jaxrnn.types import Array, Params


def layer_norm_lstm(
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
    """Make an LSTM with layer normalisation.

    Its equations, with `norm(a) = (a - mean(a)) / sqrt(variance(a) + 1e-5)` over all that a row has of `a`::

        i, f, g, o = split(gain_ih * norm(x w_ih) + b_ih + gain_hh * norm(h w_hh) + b_hh)
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(gain_c * norm(c') + b_c)         # the output

    The product with the input and that with the state are normalised each by itself, over the four gates together; the
    content is normalised on its way out only, so that it is remembered as it is.

    Args:
        input_size: I.
        hidden_size: H.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[H, H]`.
        b_ih: initializer of the input biases `[4, H]`.
        b_hh: initializer of the recurrent biases `[4, H]`, or None for a single bias.
        forget_bias: added to the forget gate's part of `b_ih`.
        dtype: of parameters and carry.

    Returns:
        A cell with the params of `jaxrnn.cells.lstm.lstm`, the gains `gain_ih [4*H]`, `gain_hh [4*H]` and `gain_c [H]`,
        which start at 1, and `b_c [H]`; its carry is `(h, c)`, each `[*batch, H]`. It notes `i`, `f`, `g`, `o`, `c`,
        `h`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", arXiv:1607.06450, equations 20 to 22 (their bias b
        adds to those of the norms; the first is b_hh here, the sum of the others b_ih).

    Example:
        >>> cell = layer_norm_lstm(3, 4)
        >>> (h, c), ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)
    """

    def more(key, dtype):
        del key
        gains = {name: jnp.ones(4 * hidden_size, dtype) for name in ("gain_ih", "gain_hh")}
        return gains | {"gain_c": jnp.ones(hidden_size, dtype), "b_c": jnp.zeros(hidden_size, dtype)}

    return recurrent_layer(
        "layer_norm_lstm",
        (input_size, hidden_size, 4),
        recur,
        states=(hidden_size, hidden_size),
        more=more,
        project=project,
        w_ih=w_ih,
        w_hh=w_hh,
        b_ih=initializers.raised(b_ih, gate=1, by=forget_bias),
        b_hh=b_hh,
        dtype=dtype,
    )


def layer_norm_lstm_step(params: Params, carry: LSTMCarry, x: Array) -> tuple[LSTMCarry, Array]:
    """One step of the LSTM with layer normalisation, for direct use.

    Args:
        params: as `layer_norm_lstm` makes them.
        carry: `(h, c)`, each `[*batch, H]`.
        x: `[*batch, I]`.

    Returns:
        `((h', c'), h')`.

    Example:
        >>> params = layer_norm_lstm(3, 4, forget_bias=0.0).init(jax.random.key(0))
        >>> (h, c), y = layer_norm_lstm_step(params, (jnp.zeros(4), jnp.ones(4)), jnp.zeros(3))
        >>> c.tolist()                          # nothing comes in: every gate is one half, the candidate is 0
        [0.5, 0.5, 0.5, 0.5]
    """
    return recur(params, carry, project(params, x), product, unnoted)


def project(params: Params, x: Array) -> Array:
    """`gain_ih * norm(x w_ih) + b_ih`, all of the step that does not depend on the carry.

    Args:
        params: `w_ih [I, G*H]`, `gain_ih [G*H]`, `b_ih [G*H]`.
        x: `[*batch, I]` or `[T, *batch, I]`.

    Returns:
        `[*batch, G*H]` or `[T, *batch, G*H]`.
    """
    z = layer_norm(product(x, params["w_ih"]), params["gain_ih"])
    return z + spread(params["b_ih"], z)


def recur(params: Params, carry: LSTMCarry, z: Array, dot, note) -> tuple[LSTMCarry, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: `w_hh [H, 4*H]`, `gain_hh [4*H]`, `gain_c [H]`, `b_c [H]`, and `b_hh [4*H]` or not.
        carry: `(h, c)`, each `[*batch, H]`.
        z: the projected input `[*batch, 4*H]`.
        dot: the product with a weight.
        note: names a quantity.

    Returns:
        `((h', c'), h')`.
    """
    h, c = carry
    from_state = add_bias(layer_norm(dot(h, params["w_hh"]), params["gain_hh"]), params)
    i, f, g, o = jnp.split(z + from_state, 4, axis=-1)
    i, f, o = note("i", jax.nn.sigmoid(i)), note("f", jax.nn.sigmoid(f)), note("o", jax.nn.sigmoid(o))
    g = note("g", jnp.tanh(g))
    c = note("c", f * c + i * g)
    h = note("h", o * jnp.tanh(layer_norm(c, params["gain_c"]) + spread(params["b_c"], c)))
    return (h, c), h
