"""A model that is told the target gives its loss in the place of its logits, which need never be held all at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxrnn.cell import Cell, Recurrence, step_of
from jaxrnn.cross_entropy import readout_cross_entropy
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.marks import marked_as, silence, unmarked
from jaxrnn.types import Array, Penalized, Told


def loss_where_told(model: Cell, trunk: Cell, block: int | None) -> Cell:
    """Let a model give the cross-entropy of the target where the input tells it (`Told`), and its logits elsewhere.

    Args:
        model: a trunk with an affine readout over V symbols on top, as a stack whose topmost layer is called "readout".
        trunk: the stack of all layers but that.
        block: `unroll` holds the logits of so many symbols at a time, see `readout_cross_entropy`; None: of all. `step`
            holds all those of its one step, and so can be differentiated forward.

    Returns:
        The model. Its output for a `Told` input is the loss, `[*batch]`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrnn.compose import language_model
        >>> from jaxrnn.cells.gru import gru
        >>> model = language_model(gru(3, 4), 10, vocabulary_block=4)
        >>> params, ids = model.init(jax.random.key(0)), jnp.arange(10).reshape(5, 2)
        >>> _, logits = model.unroll(params, model.initial_carry(2), ids)
        >>> _, losses = model.unroll(params, model.initial_carry(2), Told(ids, ids[::-1]))
        >>> losses.shape, bool(jnp.allclose(losses, softmax_cross_entropy(logits, ids[::-1])))
        ((5, 2), True)
    """

    def whole(method, params, carry, x):
        x, target = _told_apart(x)
        carry, y = method(params, carry, x)
        if target is None:
            return carry, y
        return carry, _in_place_of_output(y, lambda logits: silence(x, softmax_cross_entropy(logits, target)))

    def unroll(params, carry, xs):
        inputs, targets = _told_apart(xs)
        if block is None or targets is None:
            return whole(model.unroll, params, carry, xs)
        w, b = params["readout"]["w"], params["readout"]["b"]
        loss = partial(readout_cross_entropy, w=w, b=b, targets=targets, block=block)
        *carry, top = carry
        carry, hs = trunk.unroll(params, tuple(carry), inputs)
        return (*carry, top), _in_place_of_output(hs, lambda hs: silence(inputs, loss(hs)))

    def recur(params, carry, x, dot, note):
        return whole(partial(step_of, model.recurrence, dot=dot, note=note), params, carry, x)

    return model._replace(
        step=partial(whole, model.step), unroll=unroll, recurrence=Recurrence(lambda params, x: x, recur)
    )


def _told_apart(x: Any) -> tuple[Any, Array | None]:
    """The input without the target, and the target, or None where it is not told."""
    plain = unmarked(x)
    return (marked_as(x, plain.x), plain.target) if isinstance(plain, Told) else (x, None)


def _in_place_of_output(y: Any, loss: Callable[[Array], Array]) -> Any:
    """The loss of an output; a penalty that came with it comes with the loss."""
    return y._replace(y=loss(y.y)) if isinstance(y, Penalized) else loss(y)
