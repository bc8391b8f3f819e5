"""How weights start: functions `(key, shape, dtype) -> array`, the form that `jax.nn.initializers` has.

A cell draws the weights of each gate apart, `[I, H]` and `[H, H]`, and its biases all at once, `[G, H]`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrnn.choices import is_number, require
from jaxrnn.sums import sum_dtype
from jaxrnn.types import Array

Initializer = Callable[[Array, tuple[int, ...], jnp.dtype], Array]

zeros: Initializer = jax.nn.initializers.zeros
standard_normal: Initializer = jax.random.normal


def orthogonal(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Uniform over orthogonal matrices: the singular values are 1, and the product stretches no state.

    Args:
        key: a random key.
        shape: `[H, H]`, or any two axes: rows or columns are then orthonormal, whichever are fewer.
        dtype: a float dtype; one of 16 bits is rounded from float32, where the decomposition exists.

    Returns:
        `[H, H]`.

    References:
        A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact Solutions to the Nonlinear Dynamics of Learning in Deep Linear
        Neural Networks", ICLR 2014, arXiv:1312.6120.

    Example:
        >>> w = orthogonal(jax.random.key(0), (3, 3), jnp.float32)
        >>> bool(jnp.allclose(w.T @ w, jnp.eye(3), atol=1e-6))
        True
    """
    return jax.nn.initializers.orthogonal()(key, shape, sum_dtype(dtype)).astype(dtype)


def uniform(hidden_size: int) -> Initializer:
    """Uniform on `(-1/sqrt(H), 1/sqrt(H))`, as PyTorch starts every parameter of its recurrent layers.

    Args:
        hidden_size: H.

    Returns:
        An initializer.

    Raises:
        InputError: for a size below 1.

    Example:
        >>> bool(jnp.all(jnp.abs(uniform(16)(jax.random.key(0), (3, 5), float)) < 0.25))
        True
    """
    require(is_number(hidden_size) and hidden_size >= 1, "uniform: hidden_size", hidden_size, "at least 1")
    bound = 1.0 / math.sqrt(hidden_size)
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def fan_in_normal(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Normal with standard deviation `1/sqrt(fan in)`, where fan in is the length of the first axis.

    Args:
        key: a random key.
        shape: `[I, H]`.
        dtype: a float dtype.

    Returns:
        `[I, H]`.

    References:
        Y. LeCun, L. Bottou, G. B. Orr, K.-R. Müller, "Efficient BackProp", in "Neural Networks: Tricks of the Trade",
        Springer 1998, section 4.6.

    Example:
        >>> round(float(jnp.std(fan_in_normal(jax.random.key(0), (100, 1000), float))), 2)
        0.1
    """
    return jax.random.normal(key, shape, dtype) / math.sqrt(shape[0])


def normal(standard_deviation: float) -> Initializer:
    """Normal with mean 0 and the given standard deviation.

    Args:
        standard_deviation: 0 or more.

    Returns:
        An initializer.

    Raises:
        InputError: if it is no number of 0 or more.

    Example:
        >>> normal(0.01)(jax.random.key(0), (2, 3), float).shape
        (2, 3)
    """
    good = is_number(standard_deviation) and 0 <= standard_deviation < math.inf
    require(good, "normal: standard_deviation", standard_deviation, "0 or more, and finite")
    return lambda key, shape, dtype: jax.random.normal(key, shape, dtype) * float(standard_deviation)


def identity(scale: float = 1.0) -> Initializer:
    """A multiple of the identity: with ReLU units and scale 1, the IRNN.

    Args:
        scale: what stands on the diagonal.

    Returns:
        An initializer for square matrices.

    References:
        Q. V. Le, N. Jaitly, G. E. Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
        arXiv:1504.00941, section 2.

    Example:
        >>> identity(0.5)(jax.random.key(0), (2, 2), float).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    return lambda key, shape, dtype: float(scale) * jnp.eye(*shape, dtype=dtype)


def chrono(longest: float) -> Initializer:
    """LSTM biases spread over time scales up to `longest` steps: `b_f = log u`, `b_i = -b_f`, `u ~ U(1, longest - 1)`.

    A forget gate of constant value f remembers for about `1 / (1 - f)` steps, which is `1 + u` here, uniform between 2
    and `longest`.

    Args:
        longest: T_max, the longest dependency expected, in steps; more than 2.

    Returns:
        An initializer for LSTM biases `[4, H]`, gates in the order i, f, g, o. Use it with `forget_bias=0`.

    Raises:
        InputError: if `longest` is 2 or less; from the initializer, for other biases than those of four gates.

    References:
        C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, arXiv:1804.11188, equation 16.

    Example:
        >>> biases = chrono(100.0)(jax.random.key(0), (4, 8), float)
        >>> bool(jnp.all(biases[0] == -biases[1])), float(jnp.sum(jnp.abs(biases[2:])))
        (True, 0.0)
    """
    require(
        is_number(longest) and 2 < longest < math.inf, "chrono: longest", longest, "more than 2 time steps, and finite"
    )

    def initializer(key, shape, dtype):
        require(shape[0] == 4, "chrono: the number of gates", shape[0], "4, those of an LSTM: i, f, g, o")
        b_f = jnp.log(jax.random.uniform(key, shape[1:], dtype, 1.0, longest - 1.0))
        return jnp.zeros(shape, dtype).at[0].set(-b_f).at[1].set(b_f)

    return initializer


def raised(initializer: Initializer, gate: int, by: float) -> Initializer:
    """Add a number to one gate's biases, such as 1 to those of the forget gate, so that a cell remembers at first.

    Args:
        initializer: of biases `[G, H]`.
        gate: which of the G.
        by: the number, such as the `forget_bias` of a cell.

    Returns:
        An initializer of biases `[G, H]`.

    Raises:
        InputError: if it is no number.

    Example:
        >>> raised(zeros, gate=1, by=2.0)(jax.random.key(0), (3, 1), float).ravel().tolist()
        [0.0, 2.0, 0.0]
    """
    require(is_number(by), "raised: by (of a cell: forget_bias)", by, "a number")
    return lambda key, shape, dtype: initializer(key, shape, dtype).at[gate].add(by)


def recurrent_params(
    key: Array,
    sizes: tuple[int, int, int],
    *,
    state_size: int | None = None,
    w_ih: Initializer,
    w_hh: Initializer | None,
    b_ih: Initializer,
    b_hh: Initializer | None,
    dtype: jnp.dtype | type,
) -> dict[str, Array]:
    """Draw the parameters of a recurrent layer: one matrix for each gate, side by side.

    Args:
        key: a random key; each parameter and each gate has one of its own, split from it.
        sizes: `(I, H, G)`.
        state_size: of the state that w_hh multiplies, where it is not H.
        w_ih: draws `[I, H]` for each gate.
        w_hh: draws `[H, H]` for each gate; None leaves these matrices out.
        b_ih: draws `[G, H]`.
        b_hh: draws `[G, H]`; None leaves the second bias out.
        dtype: a float dtype; `float` is JAX's default one.

    Returns:
        `w_ih [I, G*H]`, `w_hh [H, G*H]`, `b_ih [G*H]` and `b_hh [G*H]`, but for what is left out.

    Example:
        >>> params = recurrent_params(jax.random.key(0), (2, 3, 4), w_ih=uniform(3), w_hh=orthogonal, b_ih=zeros,
        ...                           b_hh=None, dtype=float)
        >>> {name: array.shape for name, array in params.items()}
        {'w_ih': (2, 12), 'w_hh': (3, 12), 'b_ih': (12,)}
    """
    input_size, hidden_size, gates = sizes
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    keys = jax.random.split(key, 4)

    def matrix(initializer, key, rows):
        parts = [initializer(k, (rows, hidden_size), dtype) for k in jax.random.split(key, gates)]
        return jnp.concatenate(parts, axis=-1)

    params = {"w_ih": matrix(w_ih, keys[0], input_size)}
    if w_hh is not None:
        params["w_hh"] = matrix(w_hh, keys[1], state_size or hidden_size)
    params["b_ih"] = b_ih(keys[2], (gates, hidden_size), dtype).reshape(-1)
    if b_hh is not None:
        params["b_hh"] = b_hh(keys[3], (gates, hidden_size), dtype).reshape(-1)
    return params
