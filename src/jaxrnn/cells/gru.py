"""The gated recurrent unit of Cho et al. (2014), in both published forms."""

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.layer import add_bias, project_input, recurrent_layer
from jaxrnn.initializers import Initializer
from jaxrnn.types import Array, Params


def gru(
    input_size: int,
    hidden_size: int,
    *,
    reset_after: bool = True,
    w_ih: Initializer | None = None,
    w_hh: Initializer = initializers.orthogonal,
    b_ih: Initializer = initializers.zeros,
    b_hh: Initializer | None = initializers.zeros,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a GRU cell.

    Its equations::

        r = sigmoid(x w_ir + b_ir + h w_hr + b_hr)
        z = sigmoid(x w_iz + b_iz + h w_hz + b_hz)
        n = tanh(x w_in + b_in + r * (h w_hn + b_hn))           # reset after the product, or
        n = tanh(x w_in + b_in + (r * h) w_hn + b_hn)           # reset before it
        h' = (1 - z) * n + z * h                                # the output

    The two forms are different functions of the same parameters, and weights trained for one do not fit the other.
    PyTorch, cuDNN, Flax and the paper's first version reset after the product; its third and some textbooks before it.

    Args:
        input_size: I.
        hidden_size: H.
        reset_after: which form.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[H, H]`.
        b_ih: initializer of the input biases `[3, H]`.
        b_hh: initializer of the recurrent biases `[3, H]`, or None for a single bias.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, 3*H]`, `w_hh [H, 3*H]`, `b_ih [3*H]`, `b_hh [3*H]`, gates in the order r, z, n, and
        carry `h [*batch, H]`. It notes `r`, `z`, `n`, `h`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
        EMNLP 2014, arXiv:1406.1078 (version 1: reset after, version 3: before, in section 2.3).

    Example:
        >>> cell = gru(3, 4, reset_after=False)
        >>> h, ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)
    """
    recur = recur_reset_after if reset_after else recur_reset_before
    sizes = (input_size, hidden_size, 3)
    return recurrent_layer("gru", sizes, recur, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh, dtype=dtype)


def gru_step(params: Params, carry: Array, x: Array, *, reset_after: bool = True) -> tuple[Array, Array]:
    """One step of the GRU, for direct use.

    Args:
        params: as `gru` makes them.
        carry: h `[*batch, H]`.
        x: `[*batch, I]`.
        reset_after: which form.

    Returns:
        `(h', h')`, each `[*batch, H]`.

    Example:
        >>> params = {"w_ih": jnp.zeros((1, 3)), "w_hh": jnp.zeros((1, 3)), "b_ih": jnp.zeros(3)}
        >>> gru_step(params, jnp.ones(1), jnp.ones(1))[0].tolist()     # every gate is one half, the candidate is 0
        [0.5]
    """
    recur = recur_reset_after if reset_after else recur_reset_before
    return recur(params, carry, project_input(params, x), product, unnoted)


def recur_reset_after(params: Params, h: Array, z: Array, dot, note) -> tuple[Array, Array]:
    """The part of the step that depends on the carry, `n = tanh(z_n + r * (h w_hn + b_hn))`.

    Args:
        params: `w_hh [H, 3*H]`, and `b_hh [3*H]` or not.
        h: `[*batch, H]`.
        z: the projected input `[*batch, 3*H]`.
        dot: the product with a weight.
        note: names a quantity.

    Returns:
        `(h', h')`.
    """
    h = gated(z, add_bias(dot(h, params["w_hh"]), params), h, note)
    return h, h


def gated(from_input: Array, from_state: Array, h: Array, note) -> Array:
    """The new state of a GRU that resets after the product.

    Args:
        from_input: what the input adds to r, z and n, `[*batch, 3*H]`.
        from_state: what the state adds to them, `[*batch, 3*H]`; r resets the last part.
        h: `[*batch, H]`.
        note: names a quantity.

    Returns:
        `[*batch, H]`.
    """
    x_r, x_z, x_n = jnp.split(from_input, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(from_state, 3, axis=-1)
    r = note("r", jax.nn.sigmoid(x_r + h_r))
    z = note("z", jax.nn.sigmoid(x_z + h_z))
    n = note("n", jnp.tanh(x_n + r * h_n))
    return note("h", (1 - z) * n + z * h)


def recur_reset_before(params: Params, h: Array, z: Array, dot, note) -> tuple[Array, Array]:
    """The part of the step that depends on the carry, `n = tanh(z_n + (r * h) w_hn + b_hn)`.

    Args:
        params: `w_hh [H, 3*H]`, and `b_hh [3*H]` or not.
        h: `[*batch, H]`.
        z: the projected input `[*batch, 3*H]`.
        dot: the product with a weight.
        note: names a quantity.

    Returns:
        `(h', h')`.
    """
    hidden_size = h.shape[-1]
    w_gates, w_candidate = params["w_hh"][:, : 2 * hidden_size], params["w_hh"][:, 2 * hidden_size :]
    z = add_bias(z, params)
    z_gates, z_candidate = z[..., : 2 * hidden_size], z[..., 2 * hidden_size :]
    r, update = jnp.split(jax.nn.sigmoid(dot(h, w_gates, z_gates)), 2, axis=-1)
    r, update = note("r", r), note("z", update)
    n = note("n", jnp.tanh(dot(r * h, w_candidate, z_candidate)))
    h = note("h", (1 - update) * n + update * h)
    return h, h
