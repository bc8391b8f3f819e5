"""Recurrent cells of Flax (linen) as cells: every estimator but `snap1`, `stack` and the train step take them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import FlaxError

from jaxrnn.cell import Cell
from jaxrnn.choices import require
from jaxrnn.errors import InputError
from jaxrnn.shapes import check_sizes
from jaxrnn.stepwise import from_step


def from_linen(module: nn.RNNCellBase, input_size: int) -> Cell:
    """Make a cell of a recurrent cell of Flax.

    Its step is `module.apply`, its parameters are what stands under `"params"` in Flax's variables, and its carry is
    Flax's own: an LSTM has `(c, h)` there. It unrolls by the scan of the step: right everywhere, and slower than
    the fused cells of `jaxrnn.cells`, which have the same equations.

    Args:
        module: such as `nn.GRUCell(features=32)`, or a cell of your own that keeps to the protocol of `nn.RNNCellBase`;
            with parameters alone, no other variables and no random numbers in a step.
        input_size: I.

    Returns:
        The cell.

    Raises:
        InputError: for anything else, such as a cell of `flax.nnx`, or an `nn.RNN`, which is a cell already unrolled.

    Example:
        >>> from jaxrnn.compose import with_readout
        >>> cell = with_readout(from_linen(nn.GRUCell(features=8), input_size=3), output_size=1)
        >>> carry, ys = cell.unroll(cell.init(jax.random.key(0)), cell.initial_carry(2), jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 1)
    """
    recurrent = isinstance(module, nn.Module) and hasattr(module, "initialize_carry")
    require(recurrent, "from_linen: module", type(module), "a recurrent cell of flax.linen: not of nnx, nor an nn.RNN")
    axes = getattr(module, "num_feature_axes", 1)
    require(axes == 1, f"from_linen: the feature axes of {type(module).__name__}", axes, "1")
    check_sizes("from_linen", input_size=input_size)

    def initial_carry(batch_shape: tuple[int, ...], key: Any = None) -> Any:
        del key  # it would be for noise; Flax draws the carry's start from it
        start = module.initialize_carry(jax.random.key(0), (input_size,))  # all rows alike, wherever they are
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (*batch_shape, *a.shape)), start)

    def init(key: Any) -> Any:
        return module.init(key, initial_carry(()), jnp.zeros(input_size))["params"]

    def step(params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        return module.apply({"params": params}, carry, x)

    try:
        _, y = jax.eval_shape(step, jax.eval_shape(init, jax.random.key(0)), initial_carry(()), jnp.zeros(input_size))
    except (FlaxError, KeyError) as error:
        needed = "a cell with parameters, no other variables and no random numbers in a step"
        raise InputError(f"from_linen: {type(module).__name__}: expected {needed} ({error})") from error
    return from_step(init, initial_carry, step, input_size=input_size, output_size=y.shape[-1])
