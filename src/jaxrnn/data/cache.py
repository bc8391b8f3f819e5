"""The cache on disk: folders of files that can be made again, written whole or not at all, and checked when read.

An entry is a folder named by a digest of what it was made from. It is built under a temporary name and renamed into
place, so two processes can build it at the same time: one of them wins, both read the same. Its manifest, written
last, has the length and SHA-256 of every file; an entry that does not match its manifest is built again.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from jaxrnn.errors import InputError, naming_refusals

ENVIRONMENT_VARIABLE = "JAXRNN_CACHE"
_MANIFEST = "manifest.json"
_BUILDING = ".building-"
_ABANDONED_SECONDS = 24 * 3600
_ATTEMPTS = 3


def cache_folder(folder: Path | None = None) -> Path:
    """Where the cache is: `folder` if given, else `$JAXRNN_CACHE`, else the user's cache folder.

    Args:
        folder: a folder, or None.

    Returns:
        The folder; it need not be there yet.

    Raises:
        InputError: if it begins with a home folder, `~`, that is not known.

    Example:
        >>> cache_folder(Path("elsewhere")).as_posix()
        'elsewhere'
    """
    chosen = folder or os.environ.get(ENVIRONMENT_VARIABLE) or platformdirs.user_cache_path("jaxrnn")
    try:
        return Path(chosen).expanduser()
    except RuntimeError:
        remedy = f"choose another folder: {ENVIRONMENT_VARIABLE}=FOLDER"
        raise InputError(f"cache folder '{chosen}': its home folder is not known; {remedy}") from None


def key(*parts: Any) -> str:
    """A digest of what an entry is made from.

    Args:
        parts: anything JSON can write.

    Returns:
        32 hexadecimal digits, a name for `entry`.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def entry(parent: Path, name: str, build: Callable[[Path], None]) -> Path:
    """The entry `parent / name`, built first if it is not there or is damaged.

    Args:
        parent: the folder of such entries; made if need be.
        name: the entry's key (`key`).
        build: writes the entry's files into the empty folder that it is given.

    Returns:
        The entry's folder, with its files as they were built.

    Raises:
        InputError: the cache cannot be written.

    Cost:
        Reads every file of the entry once, for its digest.
    """
    final = parent / name
    for _ in range(_ATTEMPTS):
        if is_whole(final):
            return final
        with _workplace(parent) as work:
            _build(work / "new", build)
            _put(work / "new", final, aside=work / "damaged")
    raise InputError(
        f"cache folder '{final}': reads back other bytes than were written; check the disk, or choose another folder: "
        f"{ENVIRONMENT_VARIABLE}=FOLDER"
    )


def is_whole(folder: Path) -> bool:
    """Whether an entry's files are exactly those of its manifest, in length and SHA-256.

    Args:
        folder: the entry's folder, which need not be there.

    Returns:
        True if nothing is missing, added or changed.
    """
    try:
        return json.loads((folder / _MANIFEST).read_text()) == _manifest(folder)
    except (OSError, ValueError):
        return False


def store(parent: Path, pieces: Iterable[bytes], *, suffix: str) -> Path:
    """Bytes as a file named by their SHA-256.

    Args:
        parent: the folder of such files; made if need be.
        pieces: the bytes, piece by piece.
        suffix: the end of the file's name.

    Returns:
        The file's path.

    Raises:
        InputError: the cache cannot be written.
    """
    with _workplace(parent) as work:
        with open(work / "new", "wb") as file:
            file.writelines(pieces)
        final = parent / f"{_file_digest(work / 'new')}{suffix}"
        os.replace(work / "new", final)
    return final


@contextmanager
def _workplace(parent: Path) -> Iterator[Path]:
    """A temporary folder in `parent`, on the same disk as what will be renamed; it is gone afterwards."""
    remedy = f"make room there, or choose another folder: {ENVIRONMENT_VARIABLE}=FOLDER"
    with naming_refusals(f"cache folder '{parent}'", remedy):
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        with tempfile.TemporaryDirectory(dir=parent, prefix=_BUILDING, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def _sweep(parent: Path) -> None:
    """Remove what a killed process has left behind more than a day ago."""
    for path in parent.glob(f"{_BUILDING}*"):
        with suppress(FileNotFoundError):  # another process has just finished with it
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    """Make the folder, have its files written, and seal them with a manifest."""
    folder.mkdir()
    build(folder)
    (folder / _MANIFEST).write_text(json.dumps(_manifest(folder), indent=1))


def _put(folder: Path, final: Path, *, aside: Path) -> None:
    """Rename a built entry into its place; a damaged one is moved aside, another process's new one stays."""
    try:
        if final.exists() and not is_whole(final):
            final.rename(aside)
        folder.rename(final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
            raise


def _manifest(folder: Path) -> dict[str, list]:
    """The length and SHA-256 of every file of an entry."""
    paths = sorted(path for path in folder.iterdir() if path.name != _MANIFEST)
    return {path.name: [path.stat().st_size, _file_digest(path)] for path in paths}


def _file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
