"""A model that writes: from a prompt as text to pieces of text, as they come."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from jaxrnn.beam import make_beam_search
from jaxrnn.config import Sampling
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.data.vocabulary import Vocabulary, encode, ids_of, line_end, unknown_id
from jaxrnn.errors import InputError
from jaxrnn.running.run_text import find_beginning
from jaxrnn.running.trained import Trained
from jaxrnn.sampling import make_generate
from jaxrnn.trees import threefry


class Text(NamedTuple):
    """A text that is being written.

    Attributes:
        pieces: the prompt, if there is one, and what follows, in pieces as soon as they are known, up to the first stop
            string.
        drawn: the ids of what follows the prompt: all of them once the pieces have been read.
    """

    pieces: Iterator[str]
    drawn: list[int]


class Writer(NamedTuple):
    """A model, ready to write again and again: its programs are compiled once.

    Attributes:
        stream: `(choice, seed, stops=()) -> Text`, which comes as it is drawn. At once raises `InputError` for a symbol
            of the prompt that was never seen in training.
        batch: `(choice, seed, samples, stops=()) -> list[Text]`, so many texts made side by side, each with the prompt.
            The first is what `stream` gives.
        likeliest: `(choice, width) -> list[(Text, float)]`, the texts of `choice.length` symbols that beam search
            finds, the likeliest first, each with the logarithm of its probability. Nothing is drawn at random.
    """

    stream: Callable[..., Text]
    batch: Callable[..., list[Text]]
    likeliest: Callable[..., list[tuple[Text, float]]]


class Opening(NamedTuple):
    """What a model reads before it writes; at least one id in all.

    Attributes:
        unshown: ids that nobody has given: their text is not shown.
        given: the ids of the prompt.
    """

    unshown: list[int]
    given: list[int]


def make_writer(best: Trained) -> Writer:
    """Let a model write.

    Args:
        best: the model.

    Returns:
        The writer.
    """
    vocabulary, begins_at = best.vocabulary, find_beginning(best.config.data, best.vocabulary)
    generate, search = make_generate(best.cell), make_beam_search(best.cell)

    def drawn(choice: Sampling, seed: int, samples: int) -> tuple[Opening, Iterator[np.ndarray]]:
        read = opening(vocabulary, choice.prompt, begins_at)
        how = {"temperature": choice.temperature, "top_k": choice.top_k, "top_p": choice.top_p}
        return read, generate(best.params, [*chain(*read)], choice.length, threefry(seed), samples=samples, **how)

    def stream(choice: Sampling, seed: int, stops: Sequence[str] = ()) -> Text:
        read, ids = drawn(choice, seed, 1)
        return _text(vocabulary, read, (one.item() for one in ids), stops)

    def batch(choice: Sampling, seed: int, samples: int, stops: Sequence[str] = ()) -> list[Text]:
        read, ids = drawn(choice, seed, samples)
        return [_text(vocabulary, read, column.tolist(), stops) for column in np.stack(list(ids), axis=1)]

    def likeliest(choice: Sampling, width: int) -> list[tuple[Text, float]]:
        read = opening(vocabulary, choice.prompt, begins_at)
        found = search(best.params, [*chain(*read)], choice.length, width)
        texts = (_text(vocabulary, read, ids.tolist(), ()) for ids in found.ids)
        return list(zip(texts, found.log_probabilities.tolist(), strict=True))

    return Writer(stream, batch, likeliest)


def _text(vocabulary: Vocabulary, read: Opening, ids: Iterable[int], stops: Sequence[str]) -> Text:
    """The text of ids as they come, after a prompt; stop strings count in what follows it."""
    drawn: list[int] = []

    def noted() -> Iterator[int]:
        for number in ids:
            drawn.append(number)
            yield number

    def shown(numbers: Iterable[int]) -> Iterator[str]:
        symbols = (vocabulary.symbols[number] for number in chain(*read, numbers))
        return islice(TOKENIZERS[vocabulary.tokenizer].pieces(symbols), len(read.unshown), None)

    def characters(numbers: Iterable[int]) -> int:
        return sum(map(len, shown(numbers)))

    def pieces() -> Iterator[str]:
        length = 0
        for piece in until(shown(noted()), stops, after=characters([])):
            length += len(piece)
            yield piece
        while drawn and characters(drawn) > length:  # symbols of the stop string
            drawn.pop()

    return Text(pieces(), drawn)


def until(pieces: Iterator[str], stops: Sequence[str], after: int = 0) -> Iterator[str]:
    """Hand text on until a stop string comes, and never a part of one.

    Args:
        pieces: text as it comes.
        stops: the strings to stop at, none of them empty; they are left out. The first one that is complete counts.
        after: how many characters come first in which none is looked for.

    Yields:
        The text before the first stop string, each part of it as soon as no stop string can have begun in it.

    Example:
        >>> list(until(iter(["on", "e. tw", "o. E", "N", "D. three"]), ["END"]))
        ['on', 'e. tw', 'o. ']
    """
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


def opening(vocabulary: Vocabulary, prompt: str | None, begins_at: int | None = None) -> Opening:
    r"""Turn a prompt into ids.

    Args:
        vocabulary: the symbols.
        prompt: some text; None or no text stands for a line's end, or where lines have none for the most frequent known
            symbol.
        begins_at: the symbol at which the network starts anew, which in training comes before every text; or None.

    Returns:
        What is to be read.

    Raises:
        InputError: if the prompt has no symbol, or one that was never seen in training.

    Example:
        >>> letters = Vocabulary("character", ("a", "b", "\n"))
        >>> opening(letters, "ba"), opening(letters, None), opening(letters, "ba", begins_at=2)
        (Opening(unshown=[], given=[1, 0]), Opening(unshown=[2], given=[]), Opening(unshown=[2], given=[1, 0]))
    """
    if not prompt:
        end = line_end(vocabulary)
        return Opening([int(unknown_id(vocabulary) == 0) if end is None else end], [])
    try:
        ids = encode(vocabulary, prompt, exact=True, name="sampling.prompt").tolist()
    except InputError as error:
        raise InputError(f"{error}{_about_unknown(vocabulary)}") from None
    if not ids:  # words may be parted by spaces that are no symbols
        raise InputError(f"sampling.prompt = {prompt!r}: expected some text to go on from, or '' to begin a line")
    return Opening([] if begins_at is None else [begins_at], ids)


def _about_unknown(vocabulary: Vocabulary) -> str:
    """What became of symbols that are not in the vocabulary, where it has one that stands for them."""
    unknown = unknown_id(vocabulary)
    if unknown is None:
        return ""
    symbol = vocabulary.symbols[unknown]
    in_prompt = ids_of(vocabulary, symbol).tolist() == [unknown]  # a tokenizer may part "<unk>" in three
    may = "a prompt may have it, and " if in_prompt else ""
    return f"; rare ones were read as {symbol!r} ({may}jaxrnn sample --no-unknown never writes it)"
