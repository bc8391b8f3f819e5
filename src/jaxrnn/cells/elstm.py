"""The element-wise LSTM of Irie, Gopalakrishnan & Schmidhuber (2024): each unit remembers by itself alone."""

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import derive_layer, project_input
from jaxrnn.initializers import Initializer
from jaxrnn.shapes import spread
from jaxrnn.types import Array, Params


def elstm(
    input_size: int,
    hidden_size: int,
    *,
    w_ih: Initializer | None = None,
    w_c: Initializer | None = None,
    w_co: Initializer = initializers.orthogonal,
    b_ih: Initializer = initializers.zeros,
    forget_bias: float = 0.0,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make an element-wise LSTM.

    Its equations::

        f, g, o = split(x w_ih + b_ih)
        w_f, w_g = split(w_c)
        f = sigmoid(f + w_f * c)
        g = tanh(g + w_g * c)
        c' = f * c + (1 - f) * g
        h' = sigmoid(o + c' w_co) * c'                          # the output

    A unit of the carry hangs on its own past only: `dc'/dc` is diagonal. This is what makes the exact gradient forward
    in time affordable (`jaxrnn.gradients.snap1`). Units meet in the output gate, which is not part of the recurrence.

    Args:
        input_size: I.
        hidden_size: H.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_c: initializer of the recurrent weights, given as `[2, H]`; by default as `w_ih`.
        w_co: initializer of `[H, H]`, from the carry to the output gate.
        b_ih: initializer of the biases `[3, H]`.
        forget_bias: added to the forget gate's part of `b_ih`.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, 3*H]`, `w_c [2*H]`, `w_co [H, H]`, `b_ih [3*H]`, gates in the order f, g, o, and
        carry `c [*batch, H]`. It notes `f`, `g`, `o`, `c`, `h`. The paper calls the candidate z.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        K. Irie, A. Gopalakrishnan, J. Schmidhuber, "Exploring the Promise and Limits of Real-Time Recurrent Learning",
        ICLR 2024, arXiv:2305.19044, section 3.

    Example:
        >>> cell = elstm(3, 4)
        >>> c, ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape, c.shape
        ((5, 2, 4), (2, 4))
    """

    def init(key):
        uniform = initializers.uniform(hidden_size)
        key_layer, key_c, key_co = jax.random.split(key, 3)
        layer = initializers.recurrent_params(
            key_layer,
            (input_size, hidden_size, 3),
            w_ih=w_ih or uniform,
            w_hh=None,
            b_ih=initializers.raised(b_ih, gate=0, by=forget_bias),
            b_hh=None,
            dtype=dtype,
        )
        canonical = layer["b_ih"].dtype
        return layer | {
            "w_c": (w_c or uniform)(key_c, (2, hidden_size), canonical).reshape(-1),
            "w_co": w_co(key_co, (hidden_size, hidden_size), canonical),
        }

    return derive_layer("elstm", (input_size, hidden_size), init, recur, dtype=dtype)


def elstm_step(params: Params, carry: Array, x: Array) -> tuple[Array, Array]:
    """One step of the element-wise LSTM, for direct use.

    Args:
        params: as `elstm` makes them.
        carry: c `[*batch, H]`.
        x: `[*batch, I]`.

    Returns:
        `(c', h')`, each `[*batch, H]`.

    Example:
        >>> params = {"w_ih": jnp.zeros((1, 3)), "w_c": jnp.zeros(2), "w_co": jnp.zeros((1, 1)), "b_ih": jnp.zeros(3)}
        >>> c, h = elstm_step(params, jnp.ones(1), jnp.ones(1))
        >>> c.tolist(), h.tolist()              # every gate is one half, the candidate is 0
        ([0.5], [0.25])
    """
    return recur(params, carry, project_input(params, x), product, unnoted)


def recur(params: Params, c: Array, z: Array, dot, note) -> tuple[Array, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: `w_c [2*H]` and `w_co [H, H]`.
        c: `[*batch, H]`.
        z: the projected input `[*batch, 3*H]`.
        dot: the product with a weight.
        note: names a quantity.

    Returns:
        `(c', h')`.
    """
    f, g, o = jnp.split(z, 3, axis=-1)
    w_f, w_g = (spread(w, c) for w in jnp.split(params["w_c"], 2))
    f = note("f", jax.nn.sigmoid(f + w_f * c))
    g = note("g", jnp.tanh(g + w_g * c))
    c = note("c", f * c + (1 - f) * g)
    o = note("o", jax.nn.sigmoid(dot(c, params["w_co"], o)))
    return c, note("h", o * c)
