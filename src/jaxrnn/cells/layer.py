"""What recurrent layers share: parameters for each gate, the input's product, and a carry of zeros."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, Recurrence, product
from jaxrnn.choices import require
from jaxrnn.errors import InputError, expect
from jaxrnn.fused import derive
from jaxrnn.initializers import Initializer
from jaxrnn.shapes import check_last_axis, check_params, check_sizes, is_float_dtype, spread
from jaxrnn.sums import widened
from jaxrnn.types import Array, Carry, Params

NORM_EPSILON = 1e-5


def project_input(params: Params, x: Array) -> Array:
    """`z = x w_ih + b_ih`, all of a layer's step that does not depend on the carry.

    Args:
        params: `w_ih [I, G*H]`, `b_ih [G*H]`.
        x: `[*batch, I]` or `[T, *batch, I]`.

    Returns:
        `[*batch, G*H]` or `[T, *batch, G*H]`.

    Example:
        >>> params = {"w_ih": jnp.ones((2, 3)), "b_ih": jnp.array([0.0, 1.0, 2.0])}
        >>> project_input(params, jnp.ones((5, 2))).shape, project_input(params, jnp.ones(2)).tolist()
        ((5, 3), [2.0, 3.0, 4.0])
    """
    z = product(x, params["w_ih"])
    return z + spread(params["b_ih"], z)


def recurrent_layer(
    name: str,
    sizes: tuple[int, int, int],
    recur: Callable[..., tuple[Carry, Array]],
    *,
    states: Sequence[int] | None = None,
    more: Callable[[Array, jnp.dtype], Params] | None = None,
    project: Callable[[Params, Array], Array] = project_input,
    w_ih: Initializer | None = None,
    w_hh: Initializer | None = initializers.orthogonal,
    b_ih: Initializer = initializers.zeros,
    b_hh: Initializer | None = initializers.zeros,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a cell of one recurrent layer, whose gates lie side by side in `w_ih`, `w_hh` and the biases.

    Args:
        name: the cell's name, for messages.
        sizes: `(I, H, G)`.
        recur: `(params, carry, z [*batch, G*H], dot, note) -> (carry, y)`, all that depends on the carry.
        states: the size of each state `[*batch, S]` that the carry has: one is the carry itself, more are a tuple. The
            first is what `w_hh` multiplies, and as large as the output. By default there is one of H.
        more: `(key, dtype) -> params`, those that are not named below, such as peepholes or gains.
        project: `(params, x) -> z`, all that does not depend on the carry; by default `x w_ih + b_ih`.
        w_ih: initializer of each gate's `[I, H]`; by default uniform on (-1/sqrt(H), 1/sqrt(H)).
        w_hh: initializer of each gate's `[S, H]`, or None where states are not multiplied.
        b_ih: initializer of the input biases `[G, H]`.
        b_hh: initializer of the recurrent biases `[G, H]`, or None for a single bias.
        dtype: of parameters and carry.

    Returns:
        A cell with params `w_ih [I, G*H]`, `b_ih [G*H]`, unless left out `w_hh [S, G*H]` and `b_hh [G*H]`, and `more`.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    Example:
        >>> fading = recurrent_layer("fading", (3, 4, 1), lambda params, h, z, dot, note: (0.5 * h + z,) * 2)
        >>> fading.step(fading.init(jax.random.key(0)), fading.initial_carry(2), jnp.ones((2, 3)))[1].shape
        (2, 4)
    """
    input_size, hidden_size, _ = sizes
    check_sizes(name, input_size=input_size, hidden_size=hidden_size)
    states = states or (hidden_size,)
    gates = partial(
        initializers.recurrent_params,
        sizes=sizes,
        state_size=states[0],
        w_ih=w_ih or initializers.uniform(hidden_size),
        w_hh=w_hh,
        b_ih=b_ih,
        b_hh=b_hh,
        dtype=dtype,
    )

    def init(key):
        if more is None:
            return gates(key)
        key_gates, key_more = jax.random.split(key)
        return gates(key_gates) | more(key_more, jax.dtypes.canonicalize_dtype(dtype))

    return derive_layer(name, (input_size, *states), init, recur, project=project, dtype=dtype)


def add_bias(z: Array, params: Params) -> Array:
    """Add the recurrent bias where the parameters have one.

    Args:
        z: `[*batch, G*H]`.
        params: with `b_hh [G*H]`, or without.

    Returns:
        `[*batch, G*H]`.

    Example:
        >>> add_bias(jnp.ones(2), {"b_hh": jnp.array([1.0, 2.0])}).tolist(), add_bias(jnp.ones(2), {}).tolist()
        ([2.0, 3.0], [1.0, 1.0])
    """
    return z + spread(params["b_hh"], z) if "b_hh" in params else z


def layer_norm(a: Array, gain: Array) -> Array:
    """Bring a layer's numbers to mean 0 and variance 1, and scale each: `gain * (a - mean) / sqrt(variance + 1e-5)`.

    Mean and variance are over the last axis, for each row and time step by itself.

    Args:
        a: `[*batch, H]`.
        gain: `[H]`.

    Returns:
        `[*batch, H]`.

    References:
        J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", arXiv:1607.06450, equation 4 (the bias is left to
        the caller).

    Example:
        >>> layer_norm(jnp.array([1.0, 3.0]), jnp.array([1.0, 2.0])).round(3).tolist()
        [-1.0, 2.0]
    """
    wide = widened(a)  # in float16 the square of 256 is infinite
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return spread(gain, a) * (centred * jax.lax.rsqrt(variance + NORM_EPSILON)).astype(a.dtype)


def derive_layer(
    name: str,
    sizes: tuple[int, ...],
    init: Callable[[Array], Params],
    recur: Callable[..., tuple[Carry, Array]],
    *,
    project: Callable[[Params, Array], Array] = project_input,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a cell of one recurrent layer with parameters of its own.

    Args:
        name: the cell's name, for messages.
        sizes: I, and then the size of each state `[*batch, H]` that the carry has: one is the carry itself, more are a
            tuple. The first of them is the size of the output, too.
        init: `(key) -> params`.
        recur: `(params, carry, z, dot, note) -> (carry, y [*batch, H])`, all that depends on the carry.
        project: `(params, x) -> z [*batch, G*H]`, all that does not.
        dtype: of the carry.

    Returns:
        The cell. It raises an AssertionError (from chex) for an input whose last axis is not I, and for a carry that is
        not like its `initial_carry(*batch)`, and an InputError for an input of a wider dtype than its own, and for a
        carry of another dtype than a step makes of it.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1, and for a dtype that is no float.

    Example:
        >>> sums = derive_layer("sums", (3, 3), lambda key: {}, lambda params, h, z, dot, note: (h + z,) * 2,
        ...                     project=lambda params, x: x)
        >>> sums.unroll({}, sums.initial_carry(()), jnp.ones((5, 3)))[0].tolist()
        [5.0, 5.0, 5.0]
    """
    input_size, *state_sizes = sizes
    for size in state_sizes:
        check_sizes(name, input_size=input_size, hidden_size=size)
    require(is_float_dtype(dtype), f"{name}: dtype", dtype, "a float dtype, such as 'float32'")

    def initial_carry(batch_shape, key=None):
        del key  # the layer is not noisy
        canonical = jax.dtypes.canonicalize_dtype(dtype)
        zeros = [jnp.zeros((*batch_shape, size), canonical) for size in state_sizes]
        return tuple(zeros) if len(zeros) > 1 else zeros[0]

    recurrence = _checked(name, input_size, dtype, init, initial_carry, Recurrence(project, recur))
    return derive(init, initial_carry, recurrence, input_size=input_size, output_size=state_sizes[0])


def _checked(
    name: str, input_size: int, dtype: Any, init: Callable, initial_carry: Callable[..., Carry], recurrence: Recurrence
) -> Recurrence:
    """The recurrence of a layer, which refuses inputs, parameters and carries that do not fit by name."""
    one_row = jax.eval_shape(lambda: initial_carry(()))
    shapes = cache(lambda: {key: a.shape for key, a in jax.eval_shape(init, jax.random.key(0)).items()})

    def project(params, x):
        check_last_axis(f"{name}: the input x [*batch, I]", x, input_size)
        _check_dtype(name, x, jax.dtypes.canonicalize_dtype(dtype))
        check_params(name, params, shapes())
        return recurrence.project(params, x)

    def recur(params, carry, z, dot, note):
        batch = z.shape[:-1]
        expected = jax.tree.map(lambda a: jax.ShapeDtypeStruct((*batch, *a.shape), a.dtype), one_row)
        message = f"{name}: the carry (tree 0) must be like initial_carry({batch}) (tree 1); inputs have time first"
        expect(message, chex.assert_trees_all_equal_shapes, carry, expected)
        new, y = recurrence.recur(params, carry, z, dot, note)
        _check_lasting(name, carry, new)
        return new, y

    return Recurrence(project, recur)


def _check_dtype(name: str, x: Array, dtype: jnp.dtype) -> None:
    """Refuse an input that would change the dtype of the carry; integers and narrower floats are cast to it."""
    found = jnp.result_type(x)
    another = jnp.issubdtype(found, jnp.inexact) and found != dtype
    if another and (jnp.iscomplexobj(x) or jnp.finfo(found).bits >= jnp.finfo(dtype).bits):
        raise InputError(f"{name}: the input x is {found}, which {dtype} cannot hold; cast it, or build with its dtype")


def _check_lasting(name: str, carry: Carry, new: Carry) -> None:
    """Refuse a carry whose dtype a step would change; weakly typed leaves take any."""
    for before, after in zip(jax.tree.leaves(carry), jax.tree.leaves(new), strict=True):
        found, made = jnp.result_type(before), jnp.result_type(after)
        lasting = found == made or getattr(before, "weak_type", False)
        require(lasting, f"{name}: the dtype of the carry", f"{found}", f"{made}, as a step makes it")
