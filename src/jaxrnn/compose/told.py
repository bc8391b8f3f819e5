"""A model that is told the target gives its loss in the place of its logits, which need never be held all at once."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from jaxrnn.cell import Cell, Recurrence, step_of
from jaxrnn.choices import require
from jaxrnn.compose.noise import Noise
from jaxrnn.cross_entropy import readout_cross_entropy
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.marks import marked_as, silence, unmarked
from jaxrnn.sampled_cross_entropy import sampled_cross_entropy
from jaxrnn.shapes import check_params
from jaxrnn.types import Array, Penalized, Told


def loss_where_told(model: Cell, trunk: Cell, block: int | None, sample: int | None = None) -> Cell:
    """Let a model give the cross-entropy of the target where the input tells it (`Told`), and its logits elsewhere.

    Args:
        model: a trunk with an affine readout over V symbols on top, as a stack whose topmost layer is called "readout".
        trunk: the stack of all layers but that.
        block: `unroll` holds the logits of so many symbols at a time, see `readout_cross_entropy`; None: of all. `step`
            holds all those of its one step, and so can be differentiated forward.
        sample: estimate the loss from the logits of so many symbols, the same ones for all rows and steps, where the
            carry of the readout is a `Noise` with a key; see `sampled_cross_entropy`. None: never.

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
    assert trunk.output_size is not None and model.output_size is not None  # a readout has both
    shapes = {"w": (trunk.output_size, model.output_size), "b": (model.output_size,)}

    def either(of_model, of_trunk, block=None):
        def run(params, carry, x):
            x, target = _told_apart(x)
            if target is None or not _fit(params, carry):
                return of_model(params, carry, x)  # which refuses what does not fit
            loss = _loss_of_readout(carry[-1], block, sample)
            if loss is None:
                carry, y = of_model(params, carry, x)
                return carry, _in_place_of_output(y, lambda logits: silence(x, softmax_cross_entropy(logits, target)))
            check_params("language_model: readout", params["readout"], shapes)
            (*below, top), (w, b) = carry, (params["readout"]["w"], params["readout"]["b"])
            below, y = of_trunk(params, tuple(below), x)
            return (*below, top), _in_place_of_output(y, lambda hs: silence(x, loss(hs, w, b, target)))

        return run

    def recur(params, carry, x, dot, note):
        # The columns of symbols drawn depend on the key in the carry: the products with them are none of `dot`'s.
        methods = (partial(step_of, cell.recurrence, dot=dot, note=note) for cell in (model, trunk))
        return either(*methods)(params, carry, x)

    recurrence = Recurrence(lambda params, x: x, recur)
    unroll = either(model.unroll, trunk.unroll, block)
    return model._replace(step=either(model.step, trunk.step), unroll=unroll, recurrence=recurrence)


def _loss_of_readout(carry: Any, block: int | None, sample: int | None) -> Callable[..., Array] | None:
    """How to make the loss from what the readout reads, or None: from all its logits."""
    expected = "a Noise, as initial_carry gives it"
    require(sample is None or isinstance(carry, Noise), "language_model: the readout's carry", type(carry), expected)
    if sample is not None and carry.key is not None:
        key = jax.random.fold_in(carry.key, 1)  # 0 is for the next key of the chain, see `jaxrnn.trees.renew_keys`
        return partial(sampled_cross_entropy, key, sample=sample)
    return None if block is None else partial(readout_cross_entropy, block=block)


def _fit(params: Any, carry: Any) -> bool:
    """Whether there are parameters of a readout, and a carry of its own."""
    return isinstance(carry, tuple) and len(carry) > 1 and isinstance(params, Mapping) and "readout" in params


def _told_apart(x: Any) -> tuple[Any, Array | None]:
    """The input without the target, and the target, or None where it is not told."""
    plain = unmarked(x)
    return (marked_as(x, plain.x), plain.target) if isinstance(plain, Told) else (x, None)


def _in_place_of_output(y: Any, loss: Callable[[Array], Array]) -> Any:
    """The loss of an output; a penalty that came with it comes with the loss."""
    return y._replace(y=loss(y.y)) if isinstance(y, Penalized) else loss(y)
