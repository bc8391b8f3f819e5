"""What recurrent layers share: the input's product, and a carry of zeros."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxrnn.cell import Recurrence, as_shape, product
from jaxrnn.shapes import check_last_axis, spread
from jaxrnn.types import Array, Carry, Params


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


def layer_recurrence(
    name: str, input_size: int, initial_carry: Callable[..., Carry], recur: Callable[..., tuple[Carry, Array]]
) -> Recurrence:
    """Make the recurrence of a layer, which refuses inputs and carries of other shapes by name.

    Args:
        name: the cell's name.
        input_size: I.
        initial_carry: `(batch_shape, key=None) -> carry`.
        recur: `(params, carry, z [*batch, G*H], dot, note) -> (carry, y)`.

    Returns:
        The recurrence, with `project_input` for its projection. It raises an AssertionError (from chex) for an input
        whose last axis is not I, and for a carry that is not like `initial_carry(*batch)`.
    """
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


def add_bias(z: Array, params: Params) -> Array:
    """Add the recurrent bias where the parameters have one.

    Args:
        z: `[*batch, G*H]`.
        params: with `b_hh [G*H]`, or without.

    Returns:
        `[*batch, G*H]`.
    """
    return z + spread(params["b_hh"], z) if "b_hh" in params else z


def zero_state(hidden_size: int, dtype: jnp.dtype | type) -> Callable[..., Array]:
    """A state of zeros for every row.

    Args:
        hidden_size: H.
        dtype: a float dtype; `float` is JAX's default one.

    Returns:
        `(batch_shape, key=None) -> [*batch, H]`; a key changes nothing, for the layer is not noisy.
    """

    def initial_state(batch_shape, key=None):
        del key
        return jnp.zeros((*as_shape(batch_shape), hidden_size), jax.dtypes.canonicalize_dtype(dtype))

    return initial_state
