"""The LSTM of NVIDIA's cuDNN: the cell of `lstm`, unrolled by one kernel for the whole sequence."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import rnn
from jax.extend import backend

from jaxrnn.cell import Cell, scan_unroll
from jaxrnn.cells.lstm import LSTMCarry, lstm
from jaxrnn.errors import InputError
from jaxrnn.types import Array, Marked, Params


def cudnn_lstm(input_size: int, hidden_size: int, **options: Any) -> Cell:
    """Make an LSTM cell whose `unroll` is cuDNN's, through `jax.experimental.rnn`.

    Parameters, carry, `step` and equations are those of `lstm`: what one has learnt the other goes on with. Combinators
    that work on equations, such as `zoneout`, take these, and so come to the fused loop instead of cuDNN's.

    Args:
        input_size: I.
        hidden_size: H.
        **options: initializers and forget bias, as of `lstm`; the dtype is float32.

    Returns:
        A cell. Its `unroll` raises an InputError away from CUDA, for other dtypes than float32, and for `Marked`
        inputs. It knows reverse mode only, and of `mixed_precision` nothing: products are in TF32 unless
        `jax_default_matmul_precision` is "highest".

    Cost:
        A copy of the weights in cuDNN's order, once for each `unroll`, and the inputs and outputs with the batch first.

    References:
        S. Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", arXiv:1410.0759. J. Appleyard, T. Kocisky,
        P. Blunsom, "Optimizing Performance of Recurrent Neural Networks on GPUs", arXiv:1604.01946.

    Example:
        >>> cell = cudnn_lstm(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> cell.step(params, cell.initial_carry(2), jnp.ones((2, 3)))[1].shape          # without cuDNN, anywhere
        (2, 4)
    """
    cell = lstm(input_size, hidden_size, dtype=jnp.float32, **options)

    def unroll(params, carry, xs):
        _check(cell, params, carry, xs)
        carry = jax.tree.map(jnp.float32, carry)  # what is weakly typed may have any dtype, and a scan casts it, too
        return unroll_with(rnn.lstm, params, carry, xs)

    return cell._replace(unroll=unroll)


def unroll_with(kernel: Callable[..., Any], params: Params, carry: LSTMCarry, xs: Array) -> tuple[LSTMCarry, Array]:
    """Unroll an LSTM with a kernel that takes its arguments as `jax.experimental.rnn.lstm` does.

    Args:
        kernel: that one, or one that computes the same.
        params: of `lstm`, with one bias or two.
        carry: `(h, c)`, each `[*batch, H]`.
        xs: `[T, *batch, I]`.

    Returns:
        `((h', c'), ys [T, *batch, H])`.
    """
    steps, *batch, inputs = xs.shape
    hidden = params["w_hh"].shape[0]
    rows_first = jnp.swapaxes(xs.reshape(steps, -1, inputs), 0, 1)
    h, c = (state.reshape(1, -1, hidden) for state in carry)  # one layer in one direction
    lengths = jnp.full(rows_first.shape[:1], steps, jnp.int32)
    ys, h, c = kernel(rows_first, h, c, pack(params), lengths, inputs, hidden, 1, 0.0, False, None)
    return (h.reshape(*batch, hidden), c.reshape(*batch, hidden)), jnp.swapaxes(ys, 0, 1).reshape(steps, *batch, hidden)


def pack(params: Params) -> Array:
    """Put the weights of a layer in cuDNN's order: `w_ih` and `w_hh`, transposed, then `b_ih` and `b_hh`.

    The order of the gates is the same, i, f, g, o.

    Args:
        params: of `lstm`; where it has one bias, the other is zero.

    Returns:
        `[4 * H * (I + H + 2)]`.

    Example:
        >>> pack(lstm(3, 4).init(jax.random.key(0))).shape
        (144,)
    """
    second = params.get("b_hh", jnp.zeros_like(params["b_ih"]))
    return jnp.concatenate([params["w_ih"].T.ravel(), params["w_hh"].T.ravel(), params["b_ih"], second])


def _check(cell: Cell, params: Params, carry: LSTMCarry, xs: Any) -> None:
    """Refuse what cuDNN, or JAX's door to it, does not take."""
    instead = "use lstm, which has the same parameters"
    if isinstance(xs, Marked):
        raise InputError(f"cudnn_lstm: the input has marks, which cuDNN does not know; {instead}")
    lasting = [leaf for leaf in jax.tree.leaves(carry) if not getattr(leaf, "weak_type", False)]
    dtypes = sorted({str(jnp.result_type(leaf)) for leaf in (xs, *jax.tree.leaves(params), *lasting)})
    if dtypes != ["float32"]:
        found = f"inputs, parameters and carry are {', '.join(dtypes)}"
        raise InputError(f"cudnn_lstm: {found}; expected float32, or {instead}")
    if 0 in xs.shape:
        raise InputError(f"cudnn_lstm: the input is {list(xs.shape)}; expected at least one step and one row")
    jax.eval_shape(scan_unroll(cell.step), params, carry, xs)  # the layer's own checks: the kernel has none
    if "cuda" not in backend.get_backend().platform_version.lower():
        raise InputError(f"cudnn_lstm: it runs on CUDA, and this is {jax.default_backend()!r}; {instead}")
