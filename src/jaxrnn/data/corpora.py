"""Corpora: which texts are read, and how they fall into training, validation and test splits.

A corpus is named by one word (`--data.corpus`): `stdlib`, a text that everybody knows by name (`jaxrnn.data.named`), a
text file, a folder, a `.gz` of a text, or `-` for standard input. Splits are made without chance, so that everybody
gets the same ones:

- a single text is cut by position: first training, then validation, then test, cut at a line's start if one is near;
- a folder is split by file, in the order of the SHA-256 of each file's relative path: files go to the test split until
  it has its share of bytes, then to validation, and the rest is for training;
- or each split is given as a file or folder of its own.
"""

import hashlib
import json
import os
import platform
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, NamedTuple

from jaxrnn.data.cache import cache_folder, store
from jaxrnn.data.named import NAMED, fetch
from jaxrnn.data.reading import Document, line_start_after, scan
from jaxrnn.errors import InputError, naming_refusals

STDLIB = "stdlib"
STANDARD_INPUT = "-"
TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".py")
"""The files that a folder is searched for, each also with `.gz` behind."""

_NAME = "data.corpus"
_CUT_REACH = 4096
_STDLIB_RARE = 20
_STDLIB_LEFT_OUT = {
    *("test", "tests", "idle_test"),  # test suites
    *("site-packages", "dist-packages"),  # what was installed beside it
    "pydoc_data",  # the language reference as one string of 750 kB: it would be most of the split it fell into
    "encodings",  # generated tables, nearly the same in every file: a split by file would test on what was trained
}


class Corpus(NamedTuple):
    """A text in its splits.

    Attributes:
        name: the word that named it.
        origin: where it comes from, to be printed: "Python 3.11.7", or the path.
        splits: for each split's name the documents it is made of, in order.
        minimum_count: a symbol that occurs less often in training is read as the unknown symbol.
    """

    name: str
    origin: str
    splits: dict[str, tuple[Document, ...]]
    minimum_count: int = 1


def open_corpus(
    source: str,
    *,
    valid: str | None = None,
    test: str | None = None,
    shares: tuple[float, float] = (0.05, 0.05),
    cache: Path | None = None,
) -> Corpus:
    """The corpus that a word names, with the splits `train`, `valid` and `test`.

    Args:
        source: `stdlib`, a name of `jaxrnn.data.named`, a file, a folder, or `-` for standard input. (A file called
            `stdlib` is `./stdlib`.)
        valid: the file or folder of the validation split; then `test` is needed too, and `source` is all training.
        test: the file or folder of the test split.
        shares: how much of the bytes goes to validation and to test, both above 0, where `source` has to be split.
        cache: the cache folder, where standard input is kept (see `cache.cache_folder`).

    Returns:
        The corpus. Nothing of it is in memory; every file has been read once, for its digest.

    Raises:
        InputError: a file is missing, empty or not readable, cannot be fetched, a folder has no such files, or too
            little to be split.
    """
    if (valid is None) != (test is None):
        raise InputError("data.valid, data.test: only one is given; give a file or folder for both, or for neither")
    if source == STDLIB and valid is None:
        return _stdlib_corpus(shares)
    if source in NAMED and valid is None:
        return _named_corpus(source, shares, cache)
    if valid is not None and test is not None:
        if source in (STDLIB, *NAMED) and not os.path.exists(source):
            raise InputError(
                f"{_NAME}: '{source}' is split in a way of its own; leave out data.valid and data.test, or "
                "name the training text: --data.corpus FILE"
            )
        parts = {"train": (_NAME, source), "valid": ("data.valid", valid), "test": ("data.test", test)}
        splits = {split: _documents(path, cache, name=name) for split, (name, path) in parts.items()}
        return Corpus(source, source, splits)
    documents = _documents(source, cache, name=_NAME, known=(STDLIB, *NAMED))
    place = os.path.expanduser(source)
    if os.path.isdir(place):
        return Corpus(source, source, _split_by_file(documents, Path(place), shares))
    return Corpus(source, source, _split_by_position(documents[0], shares))


def whole_text(source: str) -> Corpus:
    """The corpus with one split, `text`, that is all of a file, folder or standard input: for evaluation.

    Args:
        source: a file, a folder, or `-` for standard input.

    Returns:
        The corpus.

    Raises:
        InputError: a file is missing, empty or not readable, or a folder has no such files.
    """
    return Corpus(source, source, {"text": _documents(source, None, name="--text")})


def corpus_digest(corpus: Corpus) -> str:
    """SHA-256 over every split's name and its documents' bytes: equal exactly if the splits hold the same text.

    Paths do not count: a corpus that has moved is the same corpus.

    Args:
        corpus: a corpus.

    Returns:
        64 hexadecimal digits.
    """
    content = {split: [document[1:] for document in documents] for split, documents in corpus.splits.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# The three ways to split ---------------------------------------------------------------------------------------------


def _split_by_position(document: Document, shares: tuple[float, float]) -> dict[str, tuple[Document, ...]]:
    """One file: training first, then validation, then test."""
    size = document.stop
    share_valid, share_test = shares
    reach = min(_CUT_REACH, size // 200, round(size * min(shares)) // 2)  # a cut must not pass over a whole split
    ends = (max(1, round(size * share)) for share in (1 - share_valid - share_test, 1 - share_test))
    first, second = (line_start_after(document.path, end, reach=reach) for end in ends)
    if not 0 < first < second < size:
        raise InputError(
            f"{_NAME}: '{document.path}' has {size} bytes, too few to be split into training, validation and test "
            "text; give a longer text, or files of their own: --data.valid FILE --data.test FILE"
        )
    parts = {"train": (0, first), "valid": (first, second), "test": (second, size)}
    return {split: (document._replace(start=start, stop=stop),) for split, (start, stop) in parts.items()}


def _split_by_file(
    documents: tuple[Document, ...], folder: Path, shares: tuple[float, float]
) -> dict[str, tuple[Document, ...]]:
    """A folder: by file, in the order of the digest of the relative path; each split is then sorted by path."""
    if len(documents) < 3:
        raise InputError(
            f"{_NAME}: folder '{folder}' has {len(documents)} text files, and a split by file needs 3; add files, or "
            "give each split its own: --data.valid FILE --data.test FILE"
        )

    def place(document: Document) -> bytes:
        """What the files are ordered by."""
        return hashlib.sha256(os.fsencode(document.path.relative_to(folder).as_posix())).digest()

    total = sum(document.stop for document in documents)
    waiting = sorted(documents, key=place)
    splits: dict[str, tuple[Document, ...]] = {}
    for split, share, left in (("test", shares[1], 2), ("valid", shares[0], 1)):
        taken: list[Document] = []
        while sum(document.stop for document in taken) < share * total and len(waiting) > left:
            taken.append(waiting.pop(0))
        splits[split] = tuple(taken)
    splits["train"] = tuple(waiting)
    return {split: tuple(sorted(splits[split], key=lambda d: d.path.parts)) for split in ("train", "valid", "test")}


def _stdlib_corpus(shares: tuple[float, float]) -> Corpus:
    """The source text of the running Python's standard library.

    Its few characters beyond ASCII stand in a handful of tables: those that occur fewer than 20 times in the training
    files are read as U+FFFD, in all splits.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in _walk(folder, _NAME, leave_out=_is_no_library_source) if path.suffix == ".py"]
    documents = tuple(document for document in (scan(path, name=_NAME) for path in paths) if document.stop)
    if len(documents) < 100:
        raise InputError(
            f"{_NAME}: this Python ({sys.executable}) has no source text of its standard library in '{folder}'; "
            "name a text file or a folder instead: --data.corpus FILE"
        )
    origin = f"Python {platform.python_version()}"
    return Corpus(STDLIB, origin, _split_by_file(documents, folder, shares), minimum_count=_STDLIB_RARE)


def _named_corpus(name: str, shares: tuple[float, float], cache: Path | None) -> Corpus:
    """A text that everybody knows, with its usual splits where it has some."""
    files = fetch(name, place=cache_folder(cache))
    documents = {split: (scan(path, name=_NAME),) for split, path in files.items()}
    splits = documents if "train" in documents else _split_by_position(documents["text"][0], shares)
    return Corpus(name, NAMED[name].origin, splits)


def _is_no_library_source(name: str) -> bool:
    """Test suites, installed packages, and what is written when a machine's Python is built or set up."""
    return name in _STDLIB_LEFT_OUT or name.startswith(("config-", "_sysconfigdata", "sitecustomize", "usercustomize"))


# Finding files -------------------------------------------------------------------------------------------------------


def _documents(source: str, cache: Path | None, *, name: str, known: tuple[str, ...] = ()) -> tuple[Document, ...]:
    """The documents of a file, a folder or standard input, at least one and none empty; a name must be `known`."""
    if source == STANDARD_INPUT:
        if sys.stdin is None:
            raise InputError(f"{name}: standard input is closed; give a text to it, or name a file")
        stdin = nullcontext(sys.stdin.buffer)
        return (_nonempty(scan(_keep(lambda: stdin, cache, name, "standard input"), name=name), source, name),)
    place = os.path.expanduser(source)  # as text: a path takes '' for the folder one is in, and fails on a long name
    if os.path.isdir(place):
        return _folder(Path(place), name)
    if not os.path.exists(place):
        choices = ", ".join(map(repr, (STANDARD_INPUT, *known)))
        raise InputError(f"{name}: no file or folder '{source}'; give a text file, a folder, {choices}")
    kept = Path(place) if os.path.isfile(place) else _keep(lambda: open(place, "rb"), cache, name, place)
    return (_nonempty(scan(kept, name=name), source, name),)


def _nonempty(document: Document, source: str, name: str) -> Document:
    """The document, if there is anything in it."""
    if not document.stop:
        raise InputError(f"{name}: '{source}' is empty; expected text")
    return document


def _folder(folder: Path, name: str) -> tuple[Document, ...]:
    """The text files of a folder and the folders in it, in the order of their paths; empty ones are left out."""
    paths = list(_walk(folder, name))
    wanted = [path for path in paths if path.name.removesuffix(".gz").endswith(TEXT_SUFFIXES)]
    documents = tuple(document for document in (scan(path, name=name) for path in wanted) if document.stop)
    if not documents:
        seen = Counter(path.suffix or "no suffix" for path in paths).most_common(3)
        found = ", ".join(f"{suffix} ({number})" for suffix, number in seen) or "nothing"
        raise InputError(
            f"{name}: folder '{folder}' has no text in files ending in {', '.join(TEXT_SUFFIXES)}; it has {found}: "
            "name a file, or give the files one of these endings"
        )
    return documents


def _walk(folder: Path, name: str, leave_out: Callable[[str], bool] = lambda name: False) -> Iterator[Path]:
    """Every file below a folder, sorted by path, without hidden ones and those whose name (or folder's) is left out."""

    def keep(names: Iterable[str]) -> list[str]:
        """The names that are not hidden or left out, in order."""
        return sorted(name for name in names if not name.startswith((".", "__pycache__")) and not leave_out(name))

    def refuse(error: OSError) -> None:
        remedy = "mend its permissions, or take it out of there"
        raise InputError(f"{name}: folder '{error.filename}' cannot be read ({error.strerror}); {remedy}") from None

    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = keep(folders)
        yield from (Path(root, name) for name in keep(files))


def _keep(opened: Callable[[], AbstractContextManager[IO[bytes]]], cache: Path | None, name: str, place: str) -> Path:
    """What is no file on a disk, kept as one in the cache under its own digest, because it is read more than once."""

    def pieces() -> Iterator[bytes]:  # its refusals are not those of the cache
        with naming_refusals(name, "expected a text file", f"cannot read '{place}'"), opened() as stream:
            while piece := stream.read(1 << 20):
                yield piece

    return store(cache_folder(cache) / "inputs", pieces(), suffix=".txt")
