"""The minimal gated unit of Zhou et al. (2016): a GRU with one gate for both purposes."""

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import add_bias, project_input, recurrent_layer
from jaxrnn.initializers import Initializer
from jaxrnn.types import Array, Params


def mgu(
    input_size: int,
    hidden_size: int,
    *,
    w_ih: Initializer | None = None,
    w_hh: Initializer = initializers.orthogonal,
    b_ih: Initializer = initializers.zeros,
    b_hh: Initializer | None = initializers.zeros,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a minimal gated unit.

    Its equations::

        f = sigmoid(x w_if + b_if + h w_hf + b_hf)
        n = tanh(x w_in + b_in + (f * h) w_hn + b_hn)
        h' = (1 - f) * h + f * n                                # the output

    The one gate f resets the state and updates it; there are two thirds of the parameters of a GRU.

    Args:
        input_size: I.
        hidden_size: H.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[H, H]`.
        b_ih: initializer of the input biases `[2, H]`.
        b_hh: initializer of the recurrent biases `[2, H]`, or None for a single bias.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, 2*H]`, `w_hh [H, 2*H]`, `b_ih [2*H]`, `b_hh [2*H]`, gates in the order f, n, and
        carry `h [*batch, H]`. It notes `f`, `n`, `h`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        G. Zhou, J. Wu, C. Zhang, Z. Zhou, "Minimal Gated Unit for Recurrent Neural Networks", International Journal of
        Automation and Computing 13(3), 2016, arXiv:1603.09420, section 3.

    Example:
        >>> cell = mgu(3, 4)
        >>> h, ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)
    """
    sizes = (input_size, hidden_size, 2)
    return recurrent_layer("mgu", sizes, recur, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh, dtype=dtype)


def mgu_step(params: Params, carry: Array, x: Array) -> tuple[Array, Array]:
    """One step of the minimal gated unit, for direct use.

    Args:
        params: as `mgu` makes them.
        carry: h `[*batch, H]`.
        x: `[*batch, I]`.

    Returns:
        `(h', h')`, each `[*batch, H]`.

    Example:
        >>> params = {"w_ih": jnp.zeros((1, 2)), "w_hh": jnp.zeros((1, 2)), "b_ih": jnp.zeros(2)}
        >>> mgu_step(params, jnp.ones(1), jnp.ones(1))[0].tolist()     # the gate is one half, the candidate is 0
        [0.5]
    """
    return recur(params, carry, project_input(params, x), product, unnoted)


def recur(params: Params, h: Array, z: Array, dot, note) -> tuple[Array, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: `w_hh [H, 2*H]`, and `b_hh [2*H]` or not.
        h: `[*batch, H]`.
        z: the projected input `[*batch, 2*H]`.
        dot: the product with a weight.
        note: names a quantity.

    Returns:
        `(h', h')`.
    """
    (z_f, z_n), (w_f, w_n) = jnp.split(add_bias(z, params), 2, axis=-1), jnp.split(params["w_hh"], 2, axis=-1)
    f = note("f", jax.nn.sigmoid(dot(h, w_f, z_f)))
    n = note("n", jnp.tanh(dot(f * h, w_n, z_n)))
    h = note("h", (1 - f) * h + f * n)
    return h, h
