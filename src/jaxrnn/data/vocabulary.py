"""Vocabularies: the symbols that a model knows, in the order of their ids."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxrnn.data.text import TOKENIZERS, Tokenizer
from jaxrnn.errors import InputError


class Vocabulary(NamedTuple):
    """The symbols that a model knows: a symbol's id is its position.

    Attributes:
        tokenizer: the name of the tokenizer that makes the symbols.
        symbols: the symbols, in the order of their ids. `V = len(symbols)`.

    Example:
        >>> vocabulary = Vocabulary("character", ("l", "e", "h", "o"))
        >>> decode(vocabulary, encode(vocabulary, "hello"))
        'hello'
    """

    tokenizer: str
    symbols: tuple[str, ...]


def build_vocabulary(
    tokenizer: Tokenizer, counts: Counter[str], *, elsewhere: Iterable[str] = (), minimum_count: int = 1
) -> Vocabulary:
    """The vocabulary of a training text: its symbols, the most frequent first, ties in code-point order.

    The tokenizer's unknown symbol joins them only where it is needed: where a symbol is too rare, or is met in the
    other splits and not in training. So a text without such symbols gets exactly its own symbols. It counts as
    often as what it stands for in training, and as the text has it itself: it is the last where that is never.

    Args:
        tokenizer: what made the symbols. If its alphabet is fixed, that is the vocabulary.
        counts: how often each symbol occurs in the training text.
        elsewhere: the symbols of the other splits; they get no id of their own.
        minimum_count: a symbol that occurs less often in training is left out.

    Returns:
        The vocabulary.

    Example:
        >>> from jaxrnn.data.text import CHARACTER
        >>> build_vocabulary(CHARACTER, Counter("hello")).symbols
        ('l', 'e', 'h', 'o')
        >>> build_vocabulary(CHARACTER, Counter("hello"), elsewhere="jello").symbols
        ('l', 'e', 'h', 'o', '�')
        >>> build_vocabulary(CHARACTER, Counter("hello"), minimum_count=2).symbols     # 3 of 5
        ('�', 'l')
    """
    if tokenizer.alphabet:
        return Vocabulary(tokenizer.name, tokenizer.alphabet)
    kept = {symbol: count for symbol, count in counts.items() if count >= minimum_count}
    missing = (counts.keys() | set(elsewhere)) - kept.keys()
    if missing and tokenizer.unknown is not None:
        kept[tokenizer.unknown] = kept.get(tokenizer.unknown, 0) + sum(counts[symbol] for symbol in missing)
    return Vocabulary(tokenizer.name, tuple(sorted(kept, key=lambda symbol: (-kept[symbol], symbol))))


def unknown_id(vocabulary: Vocabulary) -> int | None:
    """The id that stands for every symbol the vocabulary does not hold.

    Args:
        vocabulary: a vocabulary.

    Returns:
        The unknown symbol's id, or None if the vocabulary has no such symbol.

    Example:
        >>> unknown_id(Vocabulary("word", ("the", "<unk>"))), unknown_id(Vocabulary("word", ("the",)))
        (1, None)
    """
    unknown = TOKENIZERS[vocabulary.tokenizer].unknown
    return vocabulary.symbols.index(unknown) if unknown in vocabulary.symbols else None


def line_end(vocabulary: Vocabulary) -> int | None:
    r"""The id of the symbol that ends a line.

    Args:
        vocabulary: a vocabulary.

    Returns:
        The id, or None if the vocabulary has no such symbol.

    Example:
        >>> line_end(Vocabulary("character", ("a", "\n"))), line_end(Vocabulary("whitespace", ("<eos>", "the")))
        (1, 0)
    """
    end = TOKENIZERS[vocabulary.tokenizer].line_end
    return vocabulary.symbols.index(end) if end in vocabulary.symbols else None


def encode(vocabulary: Vocabulary, text: str, *, exact: bool = False, name: str = "text") -> np.ndarray:
    """The ids of a text's symbols.

    Args:
        vocabulary: the symbols and their ids.
        text: any text; for a byte vocabulary, its UTF-8 bytes are the symbols.
        exact: True refuses every symbol that is not in the vocabulary (a prompt); False reads it as the unknown
            symbol where the vocabulary has one (a corpus).
        name: what the text is called in an error.

    Returns:
        `[N]` ids, int32.

    Raises:
        InputError: a symbol is not in the vocabulary (with `exact`, or when there is no unknown symbol): it is named.

    Cost:
        About 20 ns a character for characters and bytes, 400 ns a symbol for words.

    Example:
        >>> encode(Vocabulary("character", ("l", "e", "h", "o")), "hello").tolist()
        [2, 1, 0, 0, 3]
    """
    ids = ids_of(vocabulary, text)
    if (ids < 0).any():
        if exact or unknown_id(vocabulary) is None:
            raise unseen_error(vocabulary, text, ids, name)
        ids = replace_unseen(vocabulary, ids)
    return ids


def ids_of(vocabulary: Vocabulary, text: str) -> np.ndarray:
    """The ids of a text's symbols, and -1 for each that the vocabulary does not hold.

    Args:
        vocabulary: the symbols and their ids.
        text: any text; for a byte vocabulary, its UTF-8 bytes are the symbols.

    Returns:
        `[N]` ids, int32.

    Example:
        >>> ids_of(Vocabulary("word", ("be", " ", "to")), "to be not").tolist()
        [2, 1, 0, 1, -1]
    """
    tokenizer = TOKENIZERS[vocabulary.tokenizer]
    if tokenizer.encoding != "utf-8":
        text = text.encode("utf-8", "surrogateescape").decode(tokenizer.encoding)
    return tokenizer.lookup(vocabulary.symbols)(text)


def replace_unseen(vocabulary: Vocabulary, ids: np.ndarray) -> np.ndarray:
    """Ids with every -1 made the unknown symbol's id.

    Args:
        vocabulary: a vocabulary, which must have an unknown symbol if there is a -1.
        ids: `[N]` ids, -1 for what the vocabulary does not hold.

    Returns:
        `[N]` ids.
    """
    return np.where(ids < 0, np.int32(unknown_id(vocabulary) or 0), ids)


def unseen_error(vocabulary: Vocabulary, text: str, ids: np.ndarray, name: str) -> InputError:
    """The error that names the symbols which a vocabulary does not hold, the first few of them.

    Args:
        vocabulary: the vocabulary.
        text: the text, as its tokenizer splits it.
        ids: `[N]` the text's ids, -1 for what the vocabulary does not hold.
        name: what the text is called.

    Returns:
        The error, to be raised.
    """
    symbols = TOKENIZERS[vocabulary.tokenizer].split(text)
    unseen = list(dict.fromkeys(symbols[position] for position in np.flatnonzero(ids < 0).tolist()))
    shown = ", ".join(map(repr, unseen[:8])) + (f" and {len(unseen) - 8} more" if len(unseen) > 8 else "")
    return InputError(
        f"{name}: {shown} not in the vocabulary; expected symbols of the training text "
        f"({len(vocabulary.symbols)} kinds, tokenizer '{vocabulary.tokenizer}'): leave them out, or train on text "
        "that has them"
    )


def decode(vocabulary: Vocabulary, ids: Sequence[int] | np.ndarray) -> str:
    r"""The text of `[N]` ids.

    For text as it comes, use `TOKENIZERS[vocabulary.tokenizer].pieces` on the symbols.

    Args:
        vocabulary: what the ids mean.
        ids: `[N]` ids of any integer type.

    Returns:
        The text.

    Raises:
        InputError: for an id that is no symbol's, such as the -1 of `ids_of`.

    Example:
        >>> decode(Vocabulary("whitespace", ("<eos>", "the", "cat")), [1, 2, 0, 1])
        'the cat\nthe'
    """
    tokenizer, symbols, ids = TOKENIZERS[vocabulary.tokenizer], vocabulary.symbols, np.asarray(ids)
    known = (0 <= ids) & (ids < len(symbols))
    if not known.all():
        raise InputError(f"decode: id {ids[~known][0]}: expected 0 to {len(symbols) - 1}")
    return "".join(tokenizer.pieces(symbols[i] for i in ids.tolist()))


def fingerprint(vocabulary: Vocabulary) -> str:
    """SHA-256 over the tokenizer's name and the symbols in order: equal exactly if ids mean the same.

    Args:
        vocabulary: a vocabulary.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> fingerprint(Vocabulary("character", ("a", "b")))[:8]
        'bd07d3d2'
    """
    return hashlib.sha256(json.dumps([vocabulary.tokenizer, vocabulary.symbols]).encode()).hexdigest()


def to_json(vocabulary: Vocabulary) -> str:
    """The vocabulary as JSON, with its fingerprint.

    Args:
        vocabulary: a vocabulary.

    Returns:
        What `from_json` reads.
    """
    content = {**vocabulary._asdict(), "fingerprint": fingerprint(vocabulary)}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def from_json(text: str, *, name: str = "vocabulary.json") -> Vocabulary:
    """The vocabulary that `to_json` wrote.

    Args:
        text: the JSON.
        name: the file's name, for the error.

    Returns:
        The vocabulary.

    Raises:
        InputError: it is no vocabulary, or its symbols are not those that the fingerprint was made of.

    Example:
        >>> vocabulary = Vocabulary("character", ("l", "e", "h", "o"))
        >>> from_json(to_json(vocabulary)) == vocabulary
        True
    """
    try:
        content = json.loads(text)
        vocabulary = Vocabulary(content["tokenizer"], tuple(content["symbols"]))
        if vocabulary.tokenizer in TOKENIZERS and content["fingerprint"] == fingerprint(vocabulary):
            return vocabulary
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"{name}: not a vocabulary, or changed since it was written (its fingerprint does not match); "
        "restore the file from where it was trained"
    )
