"""The likeliest texts that a model can write, by beam search."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cell import Cell
from jaxrnn.choices import is_whole, require
from jaxrnn.sampling import check_prompt, make_prime
from jaxrnn.types import Params


class Beam(NamedTuple):
    """Texts, the likeliest first.

    Attributes:
        ids: int32 `[N, length]`, what follows the prompt.
        log_probabilities: `[N]`, of each as a whole, given the prompt.
    """

    ids: np.ndarray
    log_probabilities: np.ndarray


def make_beam_search(cell: Cell) -> Callable[..., Beam]:
    """Make the function that looks for the likeliest continuations of a prompt, with its compiled parts made once.

    Args:
        cell: symbols in, logits out: int `[B]` -> `[B, V]`, such as a `language_model`.

    Returns:
        `search(params, prompt, length, width) -> Beam`, which equals::

            texts = {prompt: 0.0}
            for t in range(length):
                longer = {text + [v]: score + log p(v | text) for text, score in texts.items() for v in range(V)}
                texts = the `width` likeliest of longer

        With a width of 1 that is the likeliest symbol at each step, with one of V^length the likeliest text there is.
        Where there are fewer texts than the width, there are fewer. Values that make no sense raise `InputError`.

    Cost:
        A step of `width` rows and a choice among `width` times V numbers for each symbol; the carries of the rows are
        moved with them. Two integers are kept for each row and symbol.

    References:
        B. Lowerre, "The HARPY Speech Recognition System", 1976. I. Sutskever, O. Vinyals, Q. Le, "Sequence to Sequence
        Learning with Neural Networks", NIPS 2014, section 3.2.

    Example:
        >>> from jaxrnn.stepwise import from_step
        >>> echo = from_step(lambda key: {}, lambda shape, key=None: jnp.zeros(shape),
        ...                  lambda params, carry, x: (carry, 9.0 * jax.nn.one_hot(x + 1, 5)))
        >>> make_beam_search(echo)({}, [0, 1], length=3, width=2).ids[0].tolist()
        [2, 3, 4]
    """
    prime = make_prime(cell)

    @partial(jax.jit, static_argnames="length")
    def grow(params, carry, ids, length):
        def one_step(state, _):
            carry, ids, scores = state
            carry, logits = cell.step(params, carry, ids)
            longer = scores[:, None] + jax.nn.log_softmax(logits.astype(scores.dtype))
            scores, best = jax.lax.top_k(longer.reshape(-1), len(ids))
            parents, ids = jnp.divmod(best.astype(jnp.int32), logits.shape[-1])
            return (jax.tree.map(lambda leaf: leaf[parents], carry), ids, scores), (parents, ids)

        def one_back(row, step):
            parents, ids = step
            return parents[row], ids[row]

        rows = jnp.arange(len(ids), dtype=jnp.int32)
        alone = jnp.where(rows == 0, 0.0, -jnp.inf).astype(float)  # all rows are one text as yet, which counts once
        (_, _, scores), steps = jax.lax.scan(one_step, (carry, ids, alone), length=length)
        return jax.lax.scan(one_back, rows, steps, reverse=True)[1].T, scores

    def search(params: Params, prompt: Any, length: int, width: int) -> Beam:
        prompt = check_prompt(prompt, cell.output_size, length)
        require(is_whole(width), "beam: width", width, "a whole number, at least 1")
        carry, ids = prime(params, prompt, width)
        texts, scores = jax.device_get(grow(params, carry, ids, length))
        require(not np.isnan(scores).any(), "beam: the model's logits", "NaN", "numbers; was its training sound?")
        real = scores > -np.inf
        return Beam(texts[real], scores[real])

    return search
