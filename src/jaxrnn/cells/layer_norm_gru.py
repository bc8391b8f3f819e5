"""The GRU with layer normalisation of Ba, Kiros & Hinton (2016)."""

import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, product, unnoted
from jaxrnn.cells.gru import gated
from jaxrnn.cells.layer import add_bias, layer_norm, recurrent_layer
from jaxrnn.initializers import Initializer
from jaxrnn.shapes import spread
from jaxrnn.types import Array, Params


def layer_norm_gru(
    input_size: int,
    hidden_size: int,
    *,
    w_ih: Initializer | None = None,
    w_hh: Initializer = initializers.orthogonal,
    b_ih: Initializer = initializers.zeros,
    b_hh: Initializer | None = initializers.zeros,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a GRU with layer normalisation, reset after the product.

    Its equations, where `norm2` brings the two gates r, z together and the candidate n by itself to mean 0 and
    variance 1 (plus 1e-5) in each row::

        x_r, x_z, x_n = split(gain_ih * norm2(x w_ih) + b_ih)
        h_r, h_z, h_n = split(gain_hh * norm2(h w_hh) + b_hh)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = tanh(x_n + r * h_n)
        h' = (1 - z) * n + z * h                                # the output

    Args:
        input_size: I.
        hidden_size: H.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[H, H]`.
        b_ih: initializer of the input biases `[3, H]`.
        b_hh: initializer of the recurrent biases `[3, H]`, or None for a single bias.
        dtype: of parameters and carry.

    Returns:
        A cell with the params of `jaxrnn.cells.gru.gru` and the gains `gain_ih [3*H]` and `gain_hh [3*H]`, which start
        at 1, gates in the order r, z, n, and carry `h [*batch, H]`. It notes `r`, `z`, `n`, `h`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    References:
        J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", arXiv:1607.06450, equations 27 to 29 (their z is
        1 - z here).

    Example:
        >>> import jax
        >>> cell = layer_norm_gru(3, 4)
        >>> h, ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)
    """

    def more(key, dtype):
        del key
        return {name: jnp.ones(3 * hidden_size, dtype) for name in ("gain_ih", "gain_hh")}

    return recurrent_layer(
        "layer_norm_gru",
        (input_size, hidden_size, 3),
        recur,
        more=more,
        project=project,
        w_ih=w_ih,
        w_hh=w_hh,
        b_ih=b_ih,
        b_hh=b_hh,
        dtype=dtype,
    )


def layer_norm_gru_step(params: Params, carry: Array, x: Array) -> tuple[Array, Array]:
    """One step of the GRU with layer normalisation, for direct use.

    Args:
        params: as `layer_norm_gru` makes them.
        carry: h `[*batch, H]`.
        x: `[*batch, I]`.

    Returns:
        `(h', h')`, each `[*batch, H]`.

    Example:
        >>> import jax
        >>> params = layer_norm_gru(3, 2, w_hh=initializers.zeros).init(jax.random.key(0))
        >>> layer_norm_gru_step(params, jnp.ones(2), jnp.zeros(3))[0].tolist()     # every gate is one half
        [0.5, 0.5]
    """
    return recur(params, carry, project(params, x), product, unnoted)


def project(params: Params, x: Array) -> Array:
    """`gain_ih * norm2(x w_ih) + b_ih`, all of the step that does not depend on the carry.

    Args:
        params: `w_ih [I, 3*H]`, `gain_ih [3*H]`, `b_ih [3*H]`.
        x: `[*batch, I]` or `[T, *batch, I]`.

    Returns:
        `[*batch, 3*H]` or `[T, *batch, 3*H]`.
    """
    z = _norm_gates_and_candidate(product(x, params["w_ih"]), params["gain_ih"])
    return z + spread(params["b_ih"], z)


def recur(params: Params, h: Array, z: Array, dot, note) -> tuple[Array, Array]:
    """The part of the step that depends on the carry; see `jaxrnn.cell.Recurrence`.

    Args:
        params: `w_hh [H, 3*H]`, `gain_hh [3*H]`, and `b_hh [3*H]` or not.
        h: `[*batch, H]`.
        z: the projected input `[*batch, 3*H]`.
        dot: the product with a weight.
        note: names a quantity.

    Returns:
        `(h', h')`.
    """
    normed = _norm_gates_and_candidate(dot(h, params["w_hh"]), params["gain_hh"])
    h = gated(z, add_bias(normed, params), h, note)
    return h, h


def _norm_gates_and_candidate(a: Array, gain: Array) -> Array:
    """Normalise the two gates together and the candidate by itself: `[*batch, 3*H]`."""
    gates = gain.shape[0] // 3 * 2
    parts = (layer_norm(a[..., :gates], gain[:gates]), layer_norm(a[..., gates:], gain[gates:]))
    return jnp.concatenate(parts, axis=-1)
