"""A cell whose products are made from bfloat16 operands."""

from typing import Any

import jax.numpy as jnp

from jaxrnn.cell import Cell, Recurrence
from jaxrnn.choices import require
from jaxrnn.products import made_from
from jaxrnn.shapes import is_float_dtype


def mixed_precision(cell: Cell, dtype: Any = jnp.bfloat16) -> Cell:
    """Make every product with a weight from rounded operands, summed in the dtype of the cell.

    Forwards and backwards::

        a @ w   ->  sum_i round(a)_i * round(w)_i
        d @ w.T ->  sum_o round(d)_o * round(w)_o                # the cotangent of a
        a.T @ d ->  sum_n round(a)_n * round(d)_n                # the gradient of w

    Parameters, carry, gates, outputs and gradients keep their dtype, so there is nothing to scale: bfloat16 has the
    range of float32 (float16 has not: its gradients may be lost at both ends). Put it around a whole model, or around
    the layers that are to have it. Where a layer multiplies the table beneath it (`jaxrnn.lookup`), the cotangents of
    equal symbols are added up before they are rounded, and only so far `unroll` is not the scan of `step`.

    Args:
        cell: a cell of any make: a layer, a stack, a language model.
        dtype: of the operands, a float dtype; None: as they are.

    Returns:
        A cell with the same parameters and carry. Reverse mode only: no rule that pushes derivatives forward (`rtrl`,
        `uoro`) takes it. Not rounded are the logits of `vocabulary_block`, those of the targets with
        `vocabulary_sample`, and products that a cell's equations make by themselves, past `dot` and
        `jaxrnn.cell.product`.

    Raises:
        InputError: for a dtype that is no float.

    Cost:
        A rounded copy of each operand; products at the speed that the hardware has for `dtype`. Where it has no
        instructions for it, rounding is extra work.

    References:
        P. Micikevicius et al., "Mixed Precision Training", ICLR 2018, arXiv:1710.03740.

    Example:
        >>> import jax
        >>> from jaxrnn.cells import lstm
        >>> plain, coarse = lstm(3, 4), mixed_precision(lstm(3, 4))
        >>> params, xs = plain.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (5, 2, 3))
        >>> ys, rounded = (cell.unroll(params, cell.initial_carry(2), xs)[1] for cell in (plain, coarse))
        >>> rounded.dtype, 0 < float(abs(ys - rounded).max()) < 0.01
        (dtype('float32'), True)
    """
    require(
        dtype is None or is_float_dtype(dtype), "mixed_precision: dtype", dtype, "a float dtype, such as 'bfloat16'"
    )
    project, recur = (made_from(dtype, function) for function in cell.recurrence)
    return cell._replace(
        step=made_from(dtype, cell.step), unroll=made_from(dtype, cell.unroll), recurrence=Recurrence(project, recur)
    )
