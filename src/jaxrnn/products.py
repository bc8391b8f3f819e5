"""The product with a weight, and the precision of its operands: what every `dot` of a cell comes down to.

Mixed precision rounds both sides of a product to bfloat16, whose 8 bits of mantissa multiply fast where hardware knows
them, and sums in the precision that the sides had. All else, parameters, carries, gates, losses and gradients, stays
as it is. `jax_default_matmul_precision` asks for the same, but XLA on CPU does not heed it, so it is done here.

References:
    P. Micikevicius et al., "Mixed Precision Training", ICLR 2018, arXiv:1710.03740 (float32 master weights and sums).
    D. Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", arXiv:1905.12322.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from jaxrnn.types import Array

# The dtype that products are made from in what is being traced, None for that of their sides. JAX keeps what it has
# traced under one value apart from what it has traced under another.
_operands = jax.make_user_context(default_value=None)
_reverse_only = jax.make_user_context(default_value=False)


def mixed_matmul(a: Array, w: Array, *, by_rows: bool = False) -> Array:
    """Multiply in the narrower of two dtypes and sum in the wider: `a @ w`, where the two are the same.

    Args:
        a: `[..., I]`.
        w: `[I, O]`; by rows `[O, I]`, and what is computed is `a @ w.T`.
        by_rows: how the right side lies; see `quick_by_rows`.

    Returns:
        `[..., O]` in the wider dtype.

    Example:
        >>> mixed_matmul(jnp.full((1, 2), 1 + 2**-9), jnp.ones((2, 1), jnp.bfloat16))          # rounded to 1, twice
        Array([[2.]], dtype=float32)
    """
    narrow, wide = sorted((a.dtype, w.dtype), key=lambda dtype: dtype.itemsize)
    along = ((a.ndim - 1,), (1 if by_rows else 0,)), ((), ())
    result = jax.lax.dot_general(a.astype(narrow), w.astype(narrow), along, preferred_element_type=wide)
    return result if narrow == wide else _by_rows(result)


def quick_by_rows(dtype: Any) -> bool:
    """Tell whether a loop's product is quicker with its right side laid out `[O, I]` instead of `[I, O]`.

    XLA on CPU packs the right side at every step: of bfloat16 in pairs along I, which lie side by side in `[O, I]`, of
    float32 as it lies in `[I, O]`. In the other layout bfloat16 takes up to a sixth longer, and float32 a fifth, with
    four rows on the left three times as long (in trials of which no figures were kept, with weights from `[100, 400]`
    to `[1024, 4096]`, on one core and on two).

    Args:
        dtype: of both sides.

    Returns:
        True where `[O, I]` is the quicker layout.
    """
    return jax.default_backend() == "cpu" and dtype == jnp.bfloat16


def promoted(a: Array, w: Array) -> tuple[Array, Array]:
    """Bring both sides of a product to the dtype that JAX gives `a @ w`.

    `mixed_matmul` takes the narrower dtype of two, which is right for a side that was rounded on purpose. Of integers,
    and of inputs that came in another dtype than the weights, it would round or cut off the weights.

    Args:
        a: one side.
        w: the other.

    Returns:
        Both, in one dtype.

    Example:
        >>> [side.dtype.name for side in promoted(jnp.ones((1, 2), int), jnp.ones((2, 1)))]
        ['float32', 'float32']
    """
    dtype = jnp.result_type(a, w)
    return a.astype(dtype), w.astype(dtype)


def narrowed(a: Array) -> Array:
    """Round one side of a product to the dtype that products are made from, where there is one.

    Args:
        a: an array.

    Returns:
        `a` in that dtype; `a` itself where there is none, or none narrower.
    """
    dtype = _operands.value
    return a if dtype is None or jnp.dtype(dtype).itemsize >= a.dtype.itemsize else a.astype(dtype)


def matmul(a: Array, w: Array) -> Array:
    """`a @ w` of the operands as they are to be rounded, backwards too.

    Args:
        a: `[N, I]`.
        w: `[I, O]`.

    Returns:
        `[N, O]`, of the dtype of `a @ w`. Where operands are rounded its gradients are products of rounded operands,
        summed in that dtype. There, and within `in_reverse`, there is reverse mode only.
    """
    a, w = promoted(a, w)
    narrow = narrowed(w).dtype
    return _rounded_matmul(narrow, a, w) if _reverse_only.value or narrow != w.dtype else a @ w


def weight_gradient(a: Array, d: Array) -> Array:
    """The gradient of the weight w of `a @ w`, which is the sum over rows of `a^T d`.

    Args:
        a: `[N, I]`.
        d: `[N, O]`, the cotangent of the product.

    Returns:
        `[I, O]` in the wider dtype.

    Example:
        >>> weight_gradient(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1.0], [10.0]])).tolist()
        [[31.0], [42.0]]
    """
    return mixed_matmul(_by_rows(a.T), d)


@jax.jit  # outside of it a layout can be asked for of few kinds of array
def _by_rows(a: Array) -> Array:
    """Let an array lie in memory row by row, even where it is a transpose, or where one will be made of it.

    XLA on CPU takes twice as long with a left side that lies column by column, and widens a bfloat16 one to float32. A
    bfloat16 product whose transpose is wanted ends in its error "Unsupported element type for DotThunk".
    """
    return with_layout_constraint(a, Layout(tuple(range(a.ndim)))) if jax.default_backend() == "cpu" else a


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded_matmul(dtype: Any, a: Array, w: Array) -> Array:
    """The product of operands of a dtype. JAX's own derivative would round the gradients, too."""
    return _forward(dtype, a, w)[0]


def _forward(dtype, a, w):
    w = _by_rows(w.astype(dtype))
    return mixed_matmul(a, w), (a.astype(dtype), w)


def _backward(dtype, saved, d):
    a, w = saved
    return mixed_matmul(d, w, by_rows=True), weight_gradient(a, d)


_rounded_matmul.defvjp(_forward, _backward)


def in_reverse(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function make its products so that their gradients are quick; it then has reverse mode only.

    Args:
        function: any function.

    Returns:
        The function, with the same values and gradients.
    """

    def run(*arguments):
        with _reverse_only(True):
            return function(*arguments)

    return run


def made_from(dtype: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function make its products from operands of a dtype.

    Args:
        dtype: such as `jax.numpy.bfloat16`; None: of the dtype that they have.
        function: any function, called with arrays or within `jit`.

    Returns:
        The function, inside which products are made so.

    Example:
        >>> coarse = made_from(jnp.bfloat16, matmul)
        >>> coarse(jnp.full((1, 1), 1 + 2**-9), jnp.ones((1, 1))).item()
        1.0
    """

    def run(*arguments):
        with _operands(dtype):
            return function(*arguments)

    return run


def as_now(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that JAX calls later, such as one of a derivative, make its products as those made now.

    Args:
        function: any function.

    Returns:
        The function, or itself where operands are not rounded.
    """
    return function if _operands.value is None else made_from(_operands.value, function)
