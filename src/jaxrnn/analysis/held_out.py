"""Text that a model has not been trained on, as symbols with labels: the beginnings of several files, one by one."""

import codecs
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxrnn.analysis.labels import (
    STRING,
    LabelFunction,
    Labels,
    NotPython,
    at_symbols,
    python_labels,
    text_labels,
)
from jaxrnn.choices import require
from jaxrnn.data.reading import Document, read, scan
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.data.vocabulary import Vocabulary, replace_unseen, unknown_id
from jaxrnn.errors import InputError

_FILES = 64  # where there is more text than is wanted it is taken from so many files, or from all


class HeldOut(NamedTuple):
    """A text of N symbols.

    Attributes:
        ids: `[N]` the symbols as the model knows them.
        pieces: the text of each.
        labels: `[N]` each, what holds after each symbol.
        starts: `[F]` where the pieces of the files begin.
        files: their names.
        left_out: the names of files that are not Python though they are called so.
        unseen: how many symbols are left out, for the model does not know them.
    """

    ids: np.ndarray
    pieces: Sequence[str]
    labels: dict[str, np.ndarray]
    starts: np.ndarray
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    unseen: int


class _Part(NamedTuple):
    """The symbols of a file's beginning: what they are, their text, what holds after each; how many of them lack."""

    ids: np.ndarray
    pieces: list[str]
    labels: dict[str, np.ndarray]
    unseen: int
    read: int


def read_held_out(
    documents: Sequence[Document],
    vocabulary: Vocabulary,
    length: int,
    functions: Sequence[LabelFunction] | None = None,
    more: Sequence[LabelFunction] = (),
) -> HeldOut:
    """Read the beginnings of files, as many as it takes, and label them.

    Where the files are more text than is wanted each gives its beginning, up to the end of a line; where strings are
    labelled, not of one within a string, for a model would take the next file for the rest of it. Labels of Python
    files are computed from the whole of a file, from its first byte even where the split begins in the middle, so that
    no string or bracket is torn; those of other files from what is read. Symbols that the model has never seen are read
    as its unknown symbol; where it has none they are left out, and labels stay true.

    Args:
        documents: the files, in the order of their digests: an order without meaning, the same for everybody.
        vocabulary: of the model.
        length: about how many symbols are wanted; there may be fewer.
        functions: what labels a text, in characters; None for `text_labels`, and `python_labels` too where all files
            end in `.py` or `.py.gz` and the tokenizer keeps the text's form.
        more: what labels it besides.

    Returns:
        The text.

    Raises:
        NotPython: none of the files is, though all are called so.
        InputError: there is no file; a label's function refuses a file, which is named, or does not give one value a
            character; two labels have one name.

    Cost:
        One pass over each file read; about 10 µs a character where Python is tokenized.
    """
    tokenizer = TOKENIZERS[vocabulary.tokenizer]
    if functions is None:
        python = tokenizer.keeps_form and all(map(_is_python, documents))
        functions = (python_labels, text_labels) if python else (text_labels,)
    require(documents, "read_held_out: documents", [], "one file or more")
    documents = sorted(documents, key=lambda document: document.digest)
    sizes = [document.stop - document.start for document in documents]
    most = most_of_one(sizes[:_FILES], length)
    while True:
        parts, refused = _beginnings(documents, vocabulary, length, most, (*functions, *more))
        if sum(part.read for _, part in parts) >= length or most >= max(sizes):
            break
        most *= 2  # sizes are in bytes: where symbols are longer, small files give less than was reckoned with
    if not parts:
        raise next(iter(refused.values()))
    pieces = [piece for _, part in parts for piece in part.pieces]
    labels = {name: np.concatenate([part.labels[name] for _, part in parts]) for name in parts[0][1].labels}
    starts = np.cumsum([0, *(len(part.ids) for _, part in parts)])[:-1]
    ids = np.concatenate([part.ids for _, part in parts])
    files, unseen = tuple(_name(document) for document, _ in parts), sum(part.unseen for _, part in parts)
    return HeldOut(ids, pieces, labels, starts, files, tuple(refused), unseen)


def halves(text: HeldOut) -> tuple[HeldOut, HeldOut]:
    """Part a text in two: where a file begins, if one does so near the middle.

    Args:
        text: what to part.

    Returns:
        The first and the second half; what is left out counts in the first.

    Example:
        >>> text = HeldOut(np.arange(12), "abcdefghijkl", {}, np.array([0, 7]), ("a.txt", "b.txt"), (), 0)
        >>> [(half.pieces, half.files) for half in halves(text)]
        [('abcdefg', ('a.txt',)), ('hijkl', ('b.txt',))]
    """
    middle = len(text.ids) // 2
    near = text.starts[np.abs(text.starts - middle) < middle // 3]
    middle = int(near[np.argmin(np.abs(near - middle))]) if len(near) else middle
    return _cut(text, 0, middle), _cut(text, middle, len(text.ids))._replace(unseen=0)


def _cut(text: HeldOut, start: int, stop: int) -> HeldOut:
    """A stretch of a text."""
    ends = np.append(text.starts[1:], len(text.ids))
    here = (text.starts < stop) & (ends > start)
    return text._replace(
        ids=text.ids[start:stop],
        pieces=text.pieces[start:stop],
        labels={name: label[start:stop] for name, label in text.labels.items()},
        starts=np.maximum(text.starts[here] - start, 0),
        files=tuple(name for name, is_here in zip(text.files, here.tolist(), strict=True) if is_here),
    )


def most_of_one(sizes: Sequence[int], length: int) -> int:
    """Say how much one file may give, so that all together give what is wanted and none more than it has to.

    Args:
        sizes: of the files.
        length: how much is wanted.

    Returns:
        The least share with which they reach it; where all of them do not, the largest size.

    Example:
        >>> most_of_one([10, 500, 400], 210), most_of_one([10, 20], 100)
        (100, 20)
    """
    for given, size in enumerate(sorted(sizes)):
        left = len(sizes) - given
        if size * left >= length:
            return -(-length // left)
        length -= size
    return max(sizes)


def _name(document: Document) -> str:
    """A file's name, with the folder it is in: enough to know it by."""
    return "/".join(document.path.parts[-2:])


def _is_python(document: Document) -> bool:
    """Whether a file is called so."""
    return document.path.name.removesuffix(".gz").endswith(".py")


def _beginnings(
    documents: Sequence[Document],
    vocabulary: Vocabulary,
    length: int,
    most: int,
    functions: Sequence[LabelFunction],
) -> tuple[list[tuple[Document, _Part]], dict[str, NotPython]]:
    """The beginnings of documents, at most so many symbols each, until there are enough; and which are not Python."""
    parts: list[tuple[Document, _Part]] = []
    refused: dict[str, NotPython] = {}
    for document in documents:
        if sum(len(part.ids) for _, part in parts) >= length:
            break
        try:
            parts.append((document, _beginning(document, vocabulary, most, functions)))
        except NotPython as error:
            refused[_name(document)] = error
    return parts, refused


def _beginning(document: Document, vocabulary: Vocabulary, most: int, functions: Sequence[LabelFunction]) -> _Part:
    """The first symbols of a document, at most so many, up to the end of a line that ends within no string."""
    tokenizer = TOKENIZERS[vocabulary.tokenizer]
    text = ""
    for block in read([document], tokenizer.encoding, tokenizer.cut):
        text += block
        if len(text) >= most and len(tokenizer.split(text)) >= most:
            break
    symbols = tokenizer.split(text)[:most]
    pieces = list(symbols if tokenizer.encoding == "latin-1" else tokenizer.pieces(symbols))
    lengths = np.array([len(piece) for piece in pieces], int)  # also where there is none
    before, whole = "", "".join(pieces)
    if _is_python(document) and tokenizer.keeps_form:
        whole = "".join(read([scan(document.path, name=str(document.path))], tokenizer.encoding))
        before = "".join(read([document._replace(start=0, stop=document.start)], tokenizer.encoding))
    span = slice(len(before), len(before) + int(lengths.sum()))
    labelled = _labelled if tokenizer.encoding == "utf-8" else _labelled_bytes
    labels = {name: label[span] for name, label in labelled(_name(document), whole, functions).items()}
    labels, ids = at_symbols(labels, lengths), tokenizer.lookup(vocabulary.symbols)(text)[: len(pieces)]
    part = _Part(ids, pieces, labels, unseen=0, read=len(pieces))
    if len(pieces) == most:
        part = _some(part, np.arange(_last_end(pieces, labels)))
    if unknown_id(vocabulary) is not None:
        return part._replace(ids=replace_unseen(vocabulary, part.ids))
    known = np.flatnonzero(part.ids >= 0)
    return _some(part, known)._replace(unseen=len(part.ids) - len(known))


def _some(part: _Part, places: np.ndarray) -> _Part:
    """Some of the symbols of a part."""
    labels = {name: label[places] for name, label in part.labels.items()}
    return part._replace(ids=part.ids[places], pieces=[part.pieces[at] for at in places.tolist()], labels=labels)


def _last_end(pieces: Sequence[str], labels: Labels) -> int:
    """Where the last line ends that does not end within a string; the last line of all, or all, where there is none."""
    ends = np.array([piece == "\n" for piece in pieces], bool)
    outside = ends & ~labels.get(STRING, np.zeros(len(pieces), bool))
    return int(np.flatnonzero(outside if outside.any() else ends)[-1]) + 1 if ends.any() else len(pieces)


def _labelled(name: str, text: str, functions: Sequence[LabelFunction]) -> dict[str, np.ndarray]:
    """What all functions say of a file: each label once, with one value for each character."""
    labels: dict[str, np.ndarray] = {}
    for function in functions:
        for label, values in _called(name, text, function).items():
            if label in labels:
                raise InputError(f"label {label!r}: there are two of this name; rename one")
            expected = f"({len(text)},), one value for each character of {name}"
            require(np.shape(values) == (len(text),), f"label {label!r}: the shape", np.shape(values), expected)
            labels[label] = values
    return labels


def _labelled_bytes(name: str, text: str, functions: Sequence[LabelFunction]) -> dict[str, np.ndarray]:
    """The same of bytes, given as Latin-1: where they are UTF-8, of the characters that they stand for.

    What holds after a character holds after its last byte, and until then what held before it.
    """
    coded = text.encode("latin-1")
    begins = (np.frombuffer(coded, np.uint8) & 0xC0) != 0x80
    torn = int(np.argmax(begins[:4])) if begins.any() else 0  # where a text is cut, a character may be
    try:
        whole = codecs.getincrementaldecoder("utf-8")().decode(coded[torn:])
    except UnicodeDecodeError:
        whole = ""
    if not whole:
        return _labelled(name, text, functions)
    labels = _labelled(name, whole, functions)
    within = ~np.append(begins[1:], True)[: len(begins)]  # a byte of the same character follows
    at = np.clip(np.cumsum(begins) - 1 - within, 0, len(whole) - 1)
    return {label: values[at] for label, values in labels.items()}


def _called(name: str, text: str, function: LabelFunction) -> Labels:
    """What one function says of a file, which its refusals name."""
    try:
        return function(text)
    except InputError as error:
        raise type(error)(f"{name}: {error}") from error
