"""Folders of files that are written whole or not at all, and read verified or not at all.

Beside the files lies `manifest.json`: the format's version, the size and SHA-256 of every file, what the writer says
about them and, at its end, the SHA-256 of all of itself that comes before. So no bit can change unnoticed.

`write` puts everything into `NAME.tmp-<pid>`, each file flushed to the disk, the manifest last; then that folder is
flushed, renamed to `NAME`, and the parent flushed. A crash at any instant leaves the old state of affairs or the new
one, and perhaps a temporary folder, which nobody reads. Where `NAME` is there already, it is called `NAME.old-<pid>`
for the instant between two renames (one cannot exchange two folders portably), so that it is never lost.

One process at a time writes into a parent folder; any number may read.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from jaxrnn.errors import InputError, naming_refusals

FORMAT = 1
MANIFEST = "manifest.json"

_DIGEST_BEGIN, _DIGEST_LENGTH, _DIGEST_END = b',\n "digest": "', 64, b'"\n}\n'
_LEFTOVER = re.compile(r".+\.(?:tmp|old)-(?P<pid>[0-9]+)")


class Damaged(InputError):
    """A folder is not as it was written."""


class _File(msgspec.Struct):
    """What the manifest says of one file."""

    size: int
    sha256: str


class _Envelope(msgspec.Struct):
    """The part of a manifest that every version of the format has."""

    format: int
    files: dict[str, _File]


def write(folder: Path, contents: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
    """Writes a folder of files so that, whatever happens meanwhile, it holds all of them or what it held before.

    Args:
        folder: the folder; missing parents are made, one that was written before is replaced.
        contents: the bytes of each file by name.
        about: further entries of the manifest, anything that JSON can hold.

    Raises:
        InputError: the disk is full or refuses, or something else has that name; then nothing has changed.

    Cost:
        Two flushes of the disk more than there are files.
    """
    files = {name: _File(len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}
    manifest = _seal({"format": FORMAT, "files": files, **about})
    with naming_refusals(folder, "free some space or choose another place"):
        if folder.exists() and not (folder / MANIFEST).exists():
            raise InputError(f"{folder}: holds something else; choose another name or remove it")
        _make(folder.parent)
        _commit(folder, {**contents, MANIFEST: manifest})


def read(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Reads a folder that `write` has written. What is returned is what was verified.

    A fault counts only where the manifest stayed the same meanwhile; else the folder was being replaced, and is read
    anew.

    Args:
        folder: the folder.

    Returns:
        `(manifest, contents)`: all entries of the manifest, and the bytes of each file by name.

    Raises:
        Damaged: a file is missing, added, or not bit for bit as it was written.
        InputError: there is no such folder, or it cannot be read.
    """
    while True:
        sealed = _manifest(folder)
        try:
            return _verified(folder, sealed)
        except InputError:
            if _manifest(folder) == sealed:
                raise


def _manifest(folder: Path) -> bytes | None:
    """The bytes of a folder's manifest, or None where there is none."""
    with naming_refusals(folder, "mend its permissions or its disk", "cannot be read"):
        try:
            return (folder / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _verified(folder: Path, sealed: bytes | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `read` returns, held against the manifest."""
    with naming_refusals(folder, "mend its permissions or its disk", "cannot be read"):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give one that was saved")
        if sealed is None:
            raise _damaged(folder, f"{MANIFEST} is missing")
        if not _is_sealed(sealed):
            raise _damaged(folder, f"{MANIFEST} does not match its own digest")
        present = {path.name for path in folder.iterdir()}
        expected = msgspec.json.decode(sealed, type=_Envelope).files
        astray = present ^ {MANIFEST, *expected}
        if astray:
            name = min(astray)
            raise _damaged(folder, f"{name} is {'added' if name in present else 'missing'}")
        contents = {name: (folder / name).read_bytes() for name in expected}
    for name, data in contents.items():
        if expected[name] != _File(len(data), hashlib.sha256(data).hexdigest()):
            raise _damaged(folder, f"{name} does not match its size and SHA-256")
    return msgspec.json.decode(sealed), contents


def remove(folder: Path) -> None:
    """Removes a folder, out of sight at once: no reader ever meets a half-removed one.

    Args:
        folder: the folder, its name as it was given to `write`.

    Raises:
        InputError: it cannot be removed.
    """
    with naming_refusals(folder, "mend its permissions", "cannot be removed"):
        doomed = _beside(folder, "tmp")
        _settle(doomed)
        os.rename(folder, doomed)
        _settle(doomed)


def clear_leftovers(parent: Path) -> None:
    """Clears away what dead processes have left half-written, and puts back what they were about to replace.

    Args:
        parent: a folder that this process alone writes into.

    Raises:
        InputError: a leftover cannot be removed.
    """
    with naming_refusals(parent, "mend its permissions", "cannot be cleared of leftovers"):
        for path in list(parent.iterdir()):
            leftover = _LEFTOVER.fullmatch(path.name)
            if leftover and not _is_other_process(int(leftover["pid"])):
                _settle(path)


def write_file(path: Path, data: bytes) -> None:
    """Writes a new file; once this returns, the disk has its content.

    Args:
        path: where there is nothing yet.
        data: all of it.

    Raises:
        OSError: the disk is full or refuses, or there is something already.
    """
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush(folder: Path) -> None:
    """Flushes the entries of a folder, its files' names, to the disk.

    Args:
        folder: the folder.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Puts a file in the place of another, or where there was none: at any moment one of them is there, and whole.

    Args:
        path: the file.
        data: all of its bytes.

    Raises:
        OSError: the disk is full or refuses; the file is then as it was, or whole and new.
    """
    beside = _beside(path, "tmp")
    beside.unlink(missing_ok=True)
    try:
        write_file(beside, data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)  # there still where something has failed
    flush(path.parent)


def _commit(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes beside the folder, then renames; whatever fails, each step done so far is undone, the last first."""
    temporary, replaced = _beside(folder, "tmp"), _beside(folder, "old")
    for leftover in (temporary, replaced):
        _settle(leftover)
    with contextlib.ExitStack() as undo:
        os.mkdir(temporary)
        undo.callback(shutil.rmtree, temporary)
        for name, data in contents.items():
            write_file(temporary / name, data)
        flush(temporary)
        if folder.exists():
            os.rename(folder, replaced)
            undo.callback(os.rename, replaced, folder)
        os.rename(temporary, folder)
        undo.callback(os.rename, folder, temporary)
        flush(folder.parent)
        undo.pop_all()
    with contextlib.suppress(OSError):
        _settle(replaced)


def _settle(leftover: Path) -> None:
    """Removes a leftover; but an old folder whose successor never arrived goes back to its place."""
    name, _, state = leftover.name.rpartition(".")
    owner = leftover.with_name(name)
    if not leftover.exists():
        return
    if state.startswith("old-") and not owner.exists():
        os.rename(leftover, owner)
    else:
        shutil.rmtree(leftover)


def _beside(folder: Path, state: str) -> Path:
    return folder.with_name(f"{folder.name}.{state}-{os.getpid()}")


def _is_other_process(pid: int) -> bool:
    """Whether a living process other than this one has that number; our own old number may come back to us."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _make(folder: Path) -> None:
    """Makes a folder and its parents, each flushed into its parent."""
    if not folder.is_dir():
        _make(folder.parent)
        os.mkdir(folder)
        flush(folder.parent)


def _seal(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as JSON whose last entry is the SHA-256 of every byte before it."""
    body = msgspec.json.format(msgspec.json.encode(manifest), indent=1).removesuffix(b"\n}") + _DIGEST_BEGIN
    return body + hashlib.sha256(body).hexdigest().encode() + _DIGEST_END


def _is_sealed(data: bytes) -> bool:
    """Whether every byte is as `_seal` made it."""
    end = len(data) - len(_DIGEST_END)
    begin = max(end - _DIGEST_LENGTH, 0)
    return data[end:] == _DIGEST_END and data[begin:end] == hashlib.sha256(data[:begin]).hexdigest().encode()


def _damaged(folder: Path, what: str) -> Damaged:
    return Damaged(f"{folder}: damaged: {what}; restore it or use an older one")
