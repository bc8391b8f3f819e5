"""The letters of the library, the marks that travel with an input, and the penalties that come with an output.

Arrays are time-major everywhere and products are `x @ w`. One legend of letters holds in every docstring:

| letter | size of                      | letter | size of             |
|--------|------------------------------|--------|---------------------|
| `T`    | time steps                   | `O`    | output              |
| `K`    | time steps in a chunk        | `V`    | vocabulary          |
| `B`    | batch (independent rows)     | `L`    | layers              |
| `I`    | input                        | `G`    | gates               |
| `H`    | hidden units                 | `P`    | parameters, in all  |
| `E`    | embedding                    | `N`    | things in a list    |

`*batch` stands for any number of leading batch axes, often just `B`, or none at all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array
Params = Any
Carry = Any
Step = Callable[[Params, Carry, Any], tuple[Carry, Any]]
"""`(params, carry, x) -> (carry, y)`: a cell's `step`; and its `unroll`, where x and y have time in front."""
Loss = Callable[[Any, Any], Array]
"""`(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`: one number for each step and row, see `jaxrnn.losses`.

Each is made from the output and the target of its own step and row alone: credit reaches no output whose own number has
weight 0. A loss that mixes steps (a mean over time, CTC) is for `jax.grad` around `unroll`."""


class Marked(NamedTuple):
    """An input together with the marks of sequence boundaries and padding.

    Where `reset` is true a row starts anew before the step: its carry is replaced by the initial carry, and no
    gradient crosses. Where `keep` is false the step is padding: the carry passes through untouched and the output is
    zero, whatever the input holds. Every cell takes a `Marked` input in place of a plain one, in `step` as in `unroll`.

    Attributes:
        x: `[*batch, I]` for `step`, `[T, *batch, I]` for `unroll` (no last axis where inputs are integer ids).
        reset: bool `[*batch]` or `[T, *batch]`, or None for "never".
        keep: bool `[*batch]` or `[T, *batch]`, or None for "always".

    Example:
        >>> import jax.numpy as jnp
        >>> xs = jnp.ones((3, 2, 5))                       # T = 3, B = 2, I = 5
        >>> keep = jnp.array([[True, True], [True, False], [True, False]])
        >>> Marked(xs, keep=keep).x.shape                  # the second row is one step long
        (3, 2, 5)
    """

    x: Any
    reset: Array | None = None
    keep: Array | None = None


class Told(NamedTuple):
    """An input together with the target: a model that understands it gives the loss in the place of the output.

    Such is every `jaxrnn.compose.language_model`; `jaxrnn.gradients.told` tells targets to a model.

    Attributes:
        x: the input, `[*batch, ...]` or `[T, *batch, ...]`.
        target: the target, `[*batch]` or `[T, *batch]`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn.cells import gru
        >>> from jaxrnn.compose import language_model
        >>> model, ids = language_model(gru(4, 8), 10), jnp.zeros((5, 2), int)             # T = 5, B = 2, V = 10
        >>> model.unroll(model.init(jax.random.key(0)), model.initial_carry(2), Told(ids, ids))[1].shape
        (5, 2)
    """

    x: Any
    target: Array


class Penalized(NamedTuple):
    """An output that brings a penalty along: a term of the loss, in training only (`jaxrnn.compose.with_penalties`).

    Attributes:
        y: `[*batch, O]`, the output.
        penalty: `[*batch]`, what to add to the loss of each row and step.

    Example:
        >>> import jax.numpy as jnp
        >>> Penalized(jnp.ones((3, 2, 5)), jnp.zeros((3, 2))).penalty.shape        # T = 3, B = 2, O = 5
        (3, 2)
    """

    y: Any
    penalty: Array
