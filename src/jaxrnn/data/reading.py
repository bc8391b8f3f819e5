r"""Reading text: bytes from plain and packed files, as blocks of text that never hold a whole file.

What is stated once here holds for every corpus. Text is UTF-8. A byte order mark at a file's start is dropped. Line
ends are read as Python's text mode reads them: CRLF and CR become `\n`. NUL and every other character count as they
are. Documents are joined by one `\n`. Where symbols are bytes (encoding `latin-1`), every byte of a file is kept.
"""

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from jaxrnn.errors import InputError

BLOCK_BYTES = 1 << 20
"""How much of a file is in memory at a time."""


class Document(NamedTuple):
    """A part of a file: the bytes from `start` to `stop`, counted in the unpacked file.

    Attributes:
        path: the file; one that ends in `.gz` is unpacked while it is read.
        start: the first byte.
        stop: the byte after the last.
        digest: SHA-256 of the whole unpacked file.
    """

    path: Path
    start: int
    stop: int
    digest: str


def unpacked(path: Path) -> IO[bytes]:
    """Open a file to read its bytes.

    Args:
        path: the file; one that ends in `.gz` is unpacked.

    Returns:
        The stream, to be closed.

    Raises:
        OSError: it cannot be read.
    """
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def scan(path: Path, *, name: str) -> Document:
    """The whole file as a document: its size and digest, from one pass over it.

    Args:
        path: the file.
        name: the setting that named it, for the error.

    Returns:
        The document from byte 0 to the end.

    Raises:
        InputError: the file is missing, not readable or not a whole gzip file.
    """
    digest, size = hashlib.sha256(), 0
    for block in _bytes(path, 0, None, name=name):
        digest.update(block)
        size += len(block)
    return Document(path, 0, size, digest.hexdigest())


def read(documents: Iterable[Document], encoding: str, cut: Callable[[str], int] = len) -> Iterator[str]:
    r"""The documents' text, one `\n` between two of them, in blocks that tear no symbol.

    Args:
        documents: what to read, in order.
        encoding: `"utf-8"`, or `"latin-1"` for bytes as characters.
        cut: (text) -> the last place where it may be cut (`Tokenizer.cut`).

    Yields:
        Blocks of text of about `BLOCK_BYTES`, none empty.

    Raises:
        InputError: a file has bytes that are not UTF-8 (with their position), is not readable, or has become shorter.
    """
    rest = ""
    for piece in _joined(documents, encoding):
        text = rest + piece
        end = cut(text)
        if end:
            yield text[:end]
        rest = text[end:]
    if rest:
        yield rest


def line_start_after(path: Path, position: int, *, reach: int) -> int:
    """A byte at or after `position` where a file may be cut: the start of a line, if one comes within `reach` bytes.

    If none does: the start of a UTF-8 character.

    Args:
        path: the file.
        position: a byte of the unpacked file, 1 or more.
        reach: how many bytes are searched for a line's end.

    Returns:
        The position of the first byte after the cut.
    """
    window = b"".join(_bytes(path, position - 1, position + max(reach, 4), name=str(path)))
    end_of_line = window[: reach + 1].find(b"\n")
    if end_of_line >= 0:
        return position + end_of_line
    return position + next((i for i, byte in enumerate(window[1:5]) if byte & 0xC0 != 0x80), 0)


def _joined(documents: Iterable[Document], encoding: str) -> Iterator[str]:
    """The documents' text in blocks that end anywhere."""
    for number, document in enumerate(documents):
        if number:
            yield "\n"
        if encoding == "utf-8":
            yield from _decoded(document)
        else:
            for block in _all_of(document):
                yield block.decode(encoding)


def _decoded(document: Document) -> Iterator[str]:
    r"""The document's text: UTF-8 decoded strictly, the byte order mark dropped, line ends made `\n`."""
    decoder = codecs.getincrementaldecoder("utf-8" if document.start else "utf-8-sig")()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    position = document.start
    for block in _then_end(_all_of(document)):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            at = position + len(block) - len(error.object) + error.start
            raise InputError(
                f"{document.path}: byte {at} (0x{error.object[error.start]:02x}) is not UTF-8 text; convert the file "
                "to UTF-8, or train on bytes: --data.tokenizer byte"
            ) from None
        position += len(block)
        yield newlines.decode(text, final=not block)


def _all_of(document: Document) -> Iterator[bytes]:
    """The document's bytes in blocks; what is kept under its digest must not be made from fewer."""
    missing = document.stop - document.start
    for block in _bytes(document.path, document.start, document.stop, name=str(document.path)):
        missing -= len(block)
        yield block
    if missing:
        raise InputError(f"'{document.path}' became shorter while it was read; leave it alone, and start again")


def _then_end(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks, then an empty one that says: this was all."""
    yield from blocks
    yield b""


def _bytes(path: Path, start: int, stop: int | None, *, name: str) -> Iterator[bytes]:
    """The unpacked file's bytes from `start` to `stop` (None: its end), in blocks."""
    try:
        with unpacked(path) as file:
            if start:
                file.seek(start)
            while stop is None or start < stop:
                block = file.read(BLOCK_BYTES if stop is None else min(BLOCK_BYTES, stop - start))
                if not block:
                    break
                start += len(block)
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name}: '{path}' is not a whole gzip file ({error}); get it again, or unpack it") from None
    except OSError as error:
        raise InputError(f"{name}: cannot read '{path}' ({error.strerror or error}); expected a text file") from None
