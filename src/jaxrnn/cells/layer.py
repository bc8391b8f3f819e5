"""What recurrent layers share: the input's product, and a carry of zeros."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrnn.cell import as_shape, product
from jaxrnn.shapes import check_last_axis, spread
from jaxrnn.types import Array, Params


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


def checked(name: str, input_size: int, project: Callable[[Params, Array], Array]) -> Callable[[Params, Array], Array]:
    """Let a projection refuse inputs of another size, by name.

    Args:
        name: the cell's name.
        input_size: I.
        project: `(params, x) -> z`.

    Returns:
        The projection, which raises an AssertionError for a last axis that is not I.
    """

    def project_checked(params, x):
        check_last_axis(f"{name}: the input x [*batch, I]", x, input_size)
        return project(params, x)

    return project_checked


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
