"""A cell with an affine readout on top."""

from jaxrnn.cell import Cell, check_cell
from jaxrnn.compose.pointwise import dense
from jaxrnn.compose.stack import stack
from jaxrnn.errors import InputError


def with_readout(cell: Cell, output_size: int, **dense_options) -> Cell:
    """Put an affine readout on a cell: `y = h w + b`.

    What the readout means is the loss's business: `softmax_cross_entropy` over classes, `sigmoid_cross_entropy` of one
    unit, `squared_error` of any number.

    Args:
        cell: a cell with a fixed output size.
        output_size: O.
        **dense_options: see `jaxrnn.compose.pointwise.dense`.

    Returns:
        A cell with params `{"cell": ..., "readout": {"w": [H, O], "b": [O]}}`, the carry `(the cell's carry, ())`, and
        outputs `[*batch, O]`.

    Raises:
        InputError: for what is no cell, and for a cell without a fixed output size.

    Example:
        >>> import jax
        >>> from jaxrnn.cells.gru import gru
        >>> cell = with_readout(gru(3, 4), 2)
        >>> cell.step(cell.init(jax.random.key(0)), cell.initial_carry(5), jax.numpy.ones((5, 3)))[1].shape
        (5, 2)
    """
    check_cell("with_readout: cell", cell)
    if cell.output_size is None:
        remedy = "build it with output_size=..., or put a layer such as dropout into a stack with the cell below it"
        raise InputError(f"with_readout: the cell has no fixed output size; {remedy}")
    return stack(cell, dense(cell.output_size, output_size, **dense_options), names=("cell", "readout"))
