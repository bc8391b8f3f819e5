"""Tokenizers: how a text falls into symbols, and how symbols become text again.

A tokenizer is a `NamedTuple` of pure functions over `str`. Four of them are here: `CHARACTER`, `BYTE`, `WORD` and
`WHITESPACE` (the Penn Treebank form). Bytes travel as the 256 characters U+0000 to U+00FF (that is, as Latin-1), so
that a byte tokenizer is a character tokenizer over another reading of the same file.

Characters and bytes are counted and encoded by NumPy on code points: no Python runs per character.
"""

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

END_OF_LINE = "<eos>"
"""The symbol of a line's end in the Penn Treebank form."""

Encoder = Callable[[str], np.ndarray]
"""From a text to its ids, int32 `[N]`, with -1 for a symbol that the vocabulary does not hold."""


class Tokenizer(NamedTuple):
    """How a text falls into symbols. All functions are pure.

    Laws (each a test): `tally(text) == Counter(split(text))`; `lookup(symbols)(text)` are the positions of
    `split(text)` in `symbols`; with `i = cut(text)`, `split(text) + split(more)` pieces together from
    `split(text[:i])` and `split(text[i:] + more)` for whatever comes after; `"".join(pieces(split(text)))` is the
    text again (for `WHITESPACE`: the text with single spaces).

    Attributes:
        name: what a config calls it.
        noun: what a symbol is called, in the singular.
        line_end: the symbol that ends a line.
        keeps_form: whether a text can be had back from its symbols as it was, its white space too.
        encoding: how a file's bytes are read: `"utf-8"`, or `"latin-1"` where symbols are bytes.
        unknown: the symbol that stands for all that a vocabulary does not hold; None where that cannot happen.
        alphabet: the symbols where they are known beforehand; empty where they are counted from the text.
        split: (text) -> its symbols, in order.
        tally: (text) -> how often each symbol occurs.
        lookup: (symbols) -> the function from a text to ids.
        cut: (text) -> the last place where the text may be cut without tearing a symbol.
        pieces: (symbols) -> the pieces of text that they stand for, as they come.
    """

    name: str
    noun: str
    line_end: str
    keeps_form: bool
    encoding: str
    unknown: str | None
    alphabet: tuple[str, ...]
    split: Callable[[str], Sequence[str]]
    tally: Callable[[str], Counter[str]]
    lookup: Callable[[Sequence[str]], Encoder]
    cut: Callable[[str], int]
    pieces: Callable[[Iterable[str]], Iterator[str]]


# Characters and bytes ------------------------------------------------------------------------------------------------


def _code_points(text: str) -> np.ndarray:
    """The text's code points, uint32 `[N]`; a lone surrogate (an undecodable argument) is a code point as well."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _tally_characters(text: str) -> Counter[str]:
    """`Counter(text)`, by one bin count."""
    counts = np.bincount(_code_points(text))
    return Counter({chr(point): int(counts[point]) for point in np.flatnonzero(counts)})


def _character_lookup(symbols: Sequence[str]) -> Encoder:
    """The encoder that looks every code point up in one table."""
    table = np.full(0x110000, -1, np.int32)
    table[[ord(symbol) for symbol in symbols]] = np.arange(len(symbols), dtype=np.int32)
    return lambda text: table[_code_points(text)]


def _utf8_pieces(symbols: Iterable[str]) -> Iterator[str]:
    """Characters from bytes, each as soon as its last byte has come; what is not UTF-8 reads as U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for symbol in symbols:
        if piece := decoder.decode(symbol.encode("latin-1")):
            yield piece
    if piece := decoder.decode(b"", final=True):
        yield piece


CHARACTER = Tokenizer(
    name="character",
    noun="character",
    line_end="\n",
    keeps_form=True,
    encoding="utf-8",
    unknown="\ufffd",  # Unicode's own REPLACEMENT CHARACTER
    alphabet=(),
    split=lambda text: text,
    tally=_tally_characters,
    lookup=_character_lookup,
    cut=len,
    pieces=iter,
)
"""Every Unicode character (code point) is a symbol."""

BYTE = CHARACTER._replace(
    name="byte",
    noun="byte",
    encoding="latin-1",
    unknown=None,
    alphabet=tuple(map(chr, range(256))),
    pieces=_utf8_pieces,
)
"""Every byte is a symbol, all 256 of them: reads any file and any prompt. Samples are shown as UTF-8."""


# Words ---------------------------------------------------------------------------------------------------------------

_WORD_OR_MARK = re.compile(r"\w+|\W")
_LETTERS = re.compile(r"\w*")


def _word_lookup(split: Callable[[str], Sequence[str]], symbols: Sequence[str]) -> Encoder:
    """The encoder that looks every symbol of a split text up in a dictionary."""
    index = {symbol: position for position, symbol in enumerate(symbols)}
    return lambda text: np.fromiter((index.get(symbol, -1) for symbol in split(text)), np.int32)


def _before_last_word(text: str) -> int:
    """Where the letters that the text ends in begin: the word may go on in the text that follows."""
    last_word = _LETTERS.match(text[::-1])
    return len(text) - (last_word.end() if last_word else 0)


def _after_last_space(text: str) -> int:
    """Where what stands behind the last space or line end begins."""
    return max(text.rfind(" "), text.rfind("\n")) + 1


def _split_lines(text: str) -> list[str]:
    """What stands between white space, with a symbol for every line end."""
    return text.replace("\n", f" {END_OF_LINE} ").split()


def _line_pieces(symbols: Iterable[str]) -> Iterator[str]:
    """Words with single spaces between them, in lines."""
    at_start = True
    for symbol in symbols:
        if symbol == END_OF_LINE:
            yield "\n"
        else:
            yield symbol if at_start else " " + symbol
        at_start = symbol == END_OF_LINE


def _word_tokenizer(name: str, split: Callable[[str], list[str]], cut: Callable, pieces: Callable) -> Tokenizer:
    """A tokenizer whose symbols are found by a function that splits."""
    return Tokenizer(
        name=name,
        noun="word",
        line_end="\n",
        keeps_form=True,
        encoding="utf-8",
        unknown="<unk>",
        alphabet=(),
        split=split,
        tally=lambda text: Counter(split(text)),
        lookup=lambda symbols: _word_lookup(split, symbols),
        cut=cut,
        pieces=pieces,
    )


WORD = _word_tokenizer("word", _WORD_OR_MARK.findall, _before_last_word, iter)
"""Words (letters, digits, underscores) and, each a symbol of its own, every other character: round trips exactly."""

WHITESPACE = _word_tokenizer("whitespace", _split_lines, _after_last_space, _line_pieces)._replace(
    line_end=END_OF_LINE, keeps_form=False
)
"""What stands between white space is a symbol, a line's end is `<eos>`: the form of the Penn Treebank files."""

TOKENIZERS = {tokenizer.name: tokenizer for tokenizer in (CHARACTER, BYTE, WORD, WHITESPACE)}
"""The tokenizers by name, as a vocabulary stores it."""
