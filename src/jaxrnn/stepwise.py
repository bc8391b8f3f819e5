"""Cells of a `step` written by hand: what is derived from equations (`jaxrnn.fused`) is faster."""

from collections.abc import Callable

from jaxrnn.cell import Cell, as_shape, opaque, scan_unroll, step_of
from jaxrnn.marks import check_marks, heed_marks
from jaxrnn.types import Array, Carry, Params, Step


def from_step(
    init: Callable[[Array], Params],
    initial_carry: Callable[..., Carry],
    step: Step,
    *,
    input_size: int | None = None,
    output_size: int | None = None,
) -> Cell:
    """Make a cell of a `step` written in any way at all.

    Its `unroll` is the scan of the step, and its recurrence is the step itself: right everywhere, fast nowhere. Write
    `project` and `recur` and use `jaxrnn.fused.derive` where speed matters. The step need not know of marks: around it
    a `Marked` input does what `jaxrnn.marks.heed_marks` says.

    Args:
        init: `(key) -> params`.
        initial_carry: `(batch_shape, key=None) -> carry`; the cell's takes B for `(B,)`, this one sees the tuple.
        step: `(params, carry, x [*batch, I]) -> (carry, y [*batch, O])`, for plain inputs.
        input_size: I, where fixed.
        output_size: O, where fixed.

    Returns:
        The cell.

    Example:
        >>> import jax.numpy as jnp
        >>> leaky = from_step(
        ...     init=lambda key: {"a": jnp.array(0.5)},
        ...     initial_carry=lambda batch_shape, key=None: jnp.zeros(batch_shape),
        ...     step=lambda params, h, x: (params["a"] * h + x,) * 2,
        ... )
        >>> leaky.unroll(leaky.init(None), leaky.initial_carry((1,)), jnp.ones((3, 1)))[1].ravel().tolist()
        [1.0, 1.5, 1.75]
    """

    def carry_of(batch_shape, key=None):
        return initial_carry(as_shape(batch_shape), key)

    recurrence = heed_marks(opaque(step), carry_of)

    def marked_step(params, carry, x):
        return step_of(recurrence, params, carry, x)

    def unroll(params, carry, xs):
        check_marks(xs)
        return scan_unroll(marked_step)(params, carry, xs)

    return Cell(init, carry_of, marked_step, unroll, recurrence, input_size, output_size)
