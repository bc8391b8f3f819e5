"""A model that writes: from a prompt as text to pieces of text, as they come."""

from collections.abc import Iterator
from itertools import chain

import jax

from jaxrnn.cell import Cell
from jaxrnn.config import Sampling
from jaxrnn.data.text import END_OF_LINE, TOKENIZERS
from jaxrnn.data.vocabulary import Vocabulary, encode
from jaxrnn.errors import InputError
from jaxrnn.sampling import make_generate
from jaxrnn.types import Params


def write_on(cell: Cell, params: Params, vocabulary: Vocabulary, choice: Sampling, seed: int) -> Iterator[str]:
    """Write on from a prompt.

    Args:
        cell: the model, symbols in and logits out.
        params: its parameters.
        vocabulary: its symbols.
        choice: prompt, length, and how the next symbol is chosen. Without a prompt the model begins a line.
        seed: of the draws; the same seed gives the same text.

    Returns:
        The prompt, if there is one, and what follows, in pieces as soon as they are known.

    Raises:
        InputError: at once, if a symbol of the prompt was never seen in training.
    """
    prompt = opening(vocabulary, choice.prompt)
    drawn = make_generate(cell)(
        params,
        prompt,
        choice.length,
        jax.random.key(seed),
        temperature=choice.temperature,
        top_k=choice.top_k,
        top_p=choice.top_p,
    )
    symbols = (vocabulary.symbols[number] for number in chain(prompt, (ids.item() for ids in drawn)))
    pieces = TOKENIZERS[vocabulary.tokenizer].pieces(symbols)
    if choice.prompt is None:
        next(pieces)
    return pieces


def opening(vocabulary: Vocabulary, prompt: str | None) -> list[int]:
    """Turn a prompt into ids.

    Args:
        vocabulary: the symbols.
        prompt: some text; None stands for a line's end, or the most frequent symbol where lines have none.

    Returns:
        At least one id.

    Raises:
        InputError: if the prompt is empty, or has a symbol that was never seen in training.
    """
    if prompt is None:
        known = [symbol for symbol in ("\n", END_OF_LINE) if symbol in vocabulary.symbols]
        return [vocabulary.symbols.index(known[0]) if known else 0]
    if not prompt:
        raise InputError("sampling.prompt = '': expected some text to go on from; leave it out to begin a line")
    return encode(vocabulary, prompt, exact=True, name="sampling.prompt").tolist()
