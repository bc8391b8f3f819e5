"""What recurrent layers share: parameters for each gate, the input's product, and a carry of zeros."""

from collections.abc import Callable
from functools import partial

import chex
import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, Recurrence, as_shape, product
from jaxrnn.fused import derive
from jaxrnn.initializers import Initializer
from jaxrnn.shapes import check_last_axis, spread
from jaxrnn.types import Array, Carry, Params


def recurrent_layer(
    name: str,
    sizes: tuple[int, int, int],
    recur: Callable[..., tuple[Carry, Array]],
    *,
    states: int = 1,
    w_ih: Initializer | None = None,
    w_hh: Initializer = initializers.orthogonal,
    b_ih: Initializer = initializers.zeros,
    b_hh: Initializer | None = initializers.zeros,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a cell of one recurrent layer, whose gates lie side by side in `w_ih`, `w_hh` and the biases.

    Args:
        name: the cell's name, for messages.
        sizes: `(I, H, G)`.
        recur: `(params, carry, z [*batch, G*H], dot, note) -> (carry, y [*batch, H])`, all that depends on the carry.
        states: how many `[*batch, H]` the carry has: one is the carry itself, more are a tuple.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[H, H]`.
        b_ih: initializer of the input biases `[G, H]`.
        b_hh: initializer of the recurrent biases `[G, H]`, or None for a single bias.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, G*H]`, `w_hh [H, G*H]`, `b_ih [G*H]` and, unless left out, `b_hh [G*H]`.

    Example:
        >>> fading = recurrent_layer("fading", (3, 4, 1), lambda params, h, z, dot, note: (0.5 * h + z,) * 2)
        >>> fading.step(fading.init(jax.random.key(0)), fading.initial_carry(2), jnp.ones((2, 3)))[1].shape
        (2, 4)
    """
    input_size, hidden_size, _ = sizes
    w_ih = w_ih or initializers.uniform(hidden_size)
    init = partial(initializers.recurrent_params, sizes=sizes, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh, dtype=dtype)
    return derive_layer(name, (input_size, hidden_size), init, recur, states=states, dtype=dtype)


def derive_layer(
    name: str,
    sizes: tuple[int, int],
    init: Callable[[Array], Params],
    recur: Callable[..., tuple[Carry, Array]],
    *,
    states: int = 1,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a cell of one recurrent layer with parameters of its own, of which `w_ih` and `b_ih` project the input.

    Args:
        name: the cell's name, for messages.
        sizes: `(I, H)`.
        init: `(key) -> params`, with `w_ih [I, G*H]` and `b_ih [G*H]` among them.
        recur: `(params, carry, z [*batch, G*H], dot, note) -> (carry, y [*batch, H])`.
        states: how many `[*batch, H]` the carry has: one is the carry itself, more are a tuple.
        dtype: of the carry.

    Returns:
        The cell. It raises an AssertionError (from chex) for an input whose last axis is not I, and for a carry that is
        not like its `initial_carry(*batch)`.
    """
    input_size, hidden_size = sizes

    def initial_carry(batch_shape, key=None):
        del key  # the layer is not noisy
        shape, canonical = (*as_shape(batch_shape), hidden_size), jax.dtypes.canonicalize_dtype(dtype)
        zeros = tuple(jnp.zeros(shape, canonical) for _ in range(states))
        return zeros if states > 1 else zeros[0]

    recurrence = _checked_recurrence(name, input_size, initial_carry, recur)
    return derive(init, initial_carry, recurrence, input_size=input_size, output_size=hidden_size)


def project_input(params: Params, x: Array) -> Array:
    """`z = x w_ih + b_ih`, all of a layer's step that does not depend on the carry.

    Args:
        params: `w_ih [I, G*H]`, `b_ih [G*H]`.
        x: `[*batch, I]` or `[T, *batch, I]`.

    Returns:
        `[*batch, G*H]` or `[T, *batch, G*H]`.
    """
    z = product(x, params["w_ih"])
    return z + spread(params["b_ih"], z)


def add_bias(z: Array, params: Params) -> Array:
    """Add the recurrent bias where the parameters have one.

    Args:
        z: `[*batch, G*H]`.
        params: with `b_hh [G*H]`, or without.

    Returns:
        `[*batch, G*H]`.
    """
    return z + spread(params["b_hh"], z) if "b_hh" in params else z


def _checked_recurrence(
    name: str, input_size: int, initial_carry: Callable[..., Carry], recur: Callable[..., tuple[Carry, Array]]
) -> Recurrence:
    """The recurrence of a layer, which refuses inputs and carries of other shapes by name."""
    one_row = jax.eval_shape(lambda: initial_carry(()))

    def project(params, x):
        check_last_axis(f"{name}: the input x [*batch, I]", x, input_size)
        return project_input(params, x)

    def recur_checked(params, carry, z, dot, note):
        batch = z.shape[:-1]
        expected = jax.tree.map(lambda a: jax.ShapeDtypeStruct((*batch, *a.shape), a.dtype), one_row)
        message = f"{name}: the carry (tree 0) must be like initial_carry({batch}) (tree 1)"
        chex.assert_trees_all_equal_shapes(carry, expected, custom_message=message)
        return recur(params, carry, z, dot, note)

    return Recurrence(project, recur_checked)
