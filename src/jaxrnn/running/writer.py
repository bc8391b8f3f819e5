"""A model that writes: from a prompt as text to pieces of text, as they come."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from jaxrnn.beam import make_beam_search
from jaxrnn.cell import Cell
from jaxrnn.config import Sampling
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.data.vocabulary import Vocabulary, encode, line_end
from jaxrnn.errors import InputError
from jaxrnn.sampling import make_generate
from jaxrnn.trees import threefry
from jaxrnn.types import Params


class Writer(NamedTuple):
    """A model, ready to write again and again: its programs are compiled once.

    Attributes:
        stream: `(choice, seed, stops=()) -> Iterator[str]`, the prompt, if there is one, and what follows, in pieces as
            soon as they are known, up to the first stop string. At once raises `InputError` for a symbol of the prompt
            that was never seen in training.
        batch: `(choice, seed, samples, stops=()) -> list[str]`, so many texts made side by side, each with the prompt.
            The first is what `stream` gives.
        likeliest: `(choice, width) -> list[(str, float)]`, the texts of `choice.length` symbols that beam search finds,
            the likeliest first, each with the logarithm of its probability. Nothing is drawn.
    """

    stream: Callable[..., Iterator[str]]
    batch: Callable[..., list[str]]
    likeliest: Callable[..., list[tuple[str, float]]]


def make_writer(cell: Cell, params: Params, vocabulary: Vocabulary) -> Writer:
    """Let a model write.

    Args:
        cell: the model, symbols in and logits out.
        params: its parameters.
        vocabulary: its symbols.

    Returns:
        The writer.
    """
    generate, search = make_generate(cell), make_beam_search(cell)
    pieces_of = TOKENIZERS[vocabulary.tokenizer].pieces

    def drawn(choice: Sampling, seed: int, samples: int) -> tuple[list[int], Iterator[np.ndarray]]:
        prompt = opening(vocabulary, choice.prompt)
        how = {"temperature": choice.temperature, "top_k": choice.top_k, "top_p": choice.top_p}
        return prompt, generate(params, prompt, choice.length, threefry(seed), samples=samples, **how)

    def pieces(prompt: Sequence[int], ids: Iterator[int], choice: Sampling, stops: Sequence[str]) -> Iterator[str]:
        """The text of ids, without a prompt that nobody gave; stop strings count in what is drawn."""
        written = pieces_of(vocabulary.symbols[number] for number in chain(prompt, ids))
        given = "".join(pieces_of(vocabulary.symbols[number] for number in prompt))
        if choice.prompt is None:
            next(written)
        return until(written, stops, after=0 if choice.prompt is None else len(given))

    def stream(choice: Sampling, seed: int, stops: Sequence[str] = ()) -> Iterator[str]:
        prompt, ids = drawn(choice, seed, 1)
        return pieces(prompt, (one.item() for one in ids), choice, stops)

    def batch(choice: Sampling, seed: int, samples: int, stops: Sequence[str] = ()) -> list[str]:
        prompt, ids = drawn(choice, seed, samples)
        columns = np.stack(list(ids), axis=1)
        return ["".join(pieces(prompt, iter(column.tolist()), choice, stops)) for column in columns]

    def likeliest(choice: Sampling, width: int) -> list[tuple[str, float]]:
        prompt = opening(vocabulary, choice.prompt)
        found = search(params, prompt, choice.length, width)
        texts = ("".join(pieces(prompt, iter(ids.tolist()), choice, ())) for ids in found.ids)
        return list(zip(texts, found.log_probabilities.tolist(), strict=True))

    return Writer(stream, batch, likeliest)


def until(pieces: Iterator[str], stops: Sequence[str], after: int = 0) -> Iterator[str]:
    """Hand text on until a stop string comes, and never a part of one.

    Args:
        pieces: text as it comes.
        stops: the strings to stop at; they are left out. The first one that is complete counts.
        after: how many characters come first in which none is looked for.

    Yields:
        The text before the first stop string, each part of it as soon as no stop string can have begun in it.

    Raises:
        InputError: for an empty stop string.

    Example:
        >>> list(until(iter(["on", "e. tw", "o. E", "N", "D. three"]), ["END"]))
        ['on', 'e. tw', 'o. ']
    """
    if "" in stops:
        raise InputError("--stop '': expected some text to stop at; leave it out to stop at the length only")
    held = ""
    for piece in pieces:
        free, piece = piece[:after], piece[after:]
        after -= len(free)
        held += piece
        found = [(held.index(stop) + len(stop), held.index(stop)) for stop in stops if stop in held]
        if found:
            _, end = min(found)  # the first to be complete, however the text is cut into pieces
            if last := free + held[:end]:
                yield last
            return
        safe = len(held) - max((_begun(held, stop) for stop in stops), default=0)
        if free or safe:
            yield free + held[:safe]
        held = held[safe:]
    if held:
        yield held


def _begun(text: str, stop: str) -> int:
    """How many characters at a text's end may be the beginning of a stop string."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


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
        return [line_end(vocabulary) or 0]
    ids = encode(vocabulary, prompt, exact=True, name="sampling.prompt").tolist()
    if not ids:  # words may be parted by spaces that are no symbols
        raise InputError(
            f"sampling.prompt = {prompt!r}: expected some text to go on from; leave it out to begin a line"
        )
    return ids
