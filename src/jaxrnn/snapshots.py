"""Snapshots: everything that survives an update, in a folder that is either complete or not there.

A snapshot is a folder of three files (`jaxrnn.folders` has how they are written and verified):

- `arrays.safetensors`: every leaf of the state under its name, such as `state.params['w_hh']`. Typed keys are stored
  as their key data, dtypes that the format lacks (bfloat16, complex) as bytes; equal states give equal files;
- `meta.json`: whatever else must survive (counters, data cursor, configuration), as JSON;
- `manifest.json`: the format's version, size and SHA-256 of the other files, name, dtype and shape of every leaf,
  library versions, and a digest of itself.

Array formats do not notice a flipped bit, so nothing is used that the manifest does not vouch for. Nothing is ever
unpickled.

**Names.** In one parent folder a snapshot is called `<kind>_<N>`, N the number of updates done: `step_N` to go on
from, `best_N` for the best validation score. The highest N counts, so a new best is saved beside the old one, and only
then is the old one pruned: at every instant there is one.
"""

import itertools
import json
import os
import platform
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import msgspec
import numpy as np
import optax
import safetensors.numpy

import jaxrnn
from jaxrnn import folders
from jaxrnn.errors import InputError, naming_refusals
from jaxrnn.trees import is_key

ARRAYS, META = "arrays.safetensors", "meta.json"

_VERSIONS = {
    "python": platform.python_version(),
    **{module.__name__: module.__version__ for module in (jaxrnn, jax, jaxlib, np, optax, safetensors)},
}
_NAME = re.compile(r"(?P<kind>[a-z]+)_(?P<number>[0-9]+)(?P<replaced>\.old-[0-9]+)?")


class SnapshotWarning(UserWarning):
    """A snapshot is damaged or cannot be read, and an older one takes its place."""


class _Leaf(msgspec.Struct):
    """What the manifest says of one leaf of the state; `key` is the implementation of a typed key, else empty."""

    name: str
    dtype: str
    shape: list[int]
    key: str = ""

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def save(folder: str | os.PathLike, state: Any, meta: dict) -> Path:
    """Writes a snapshot; whatever happens meanwhile, the folder holds all of it or what it held before.

    Args:
        folder: where to; called `<kind>_<N>` for `newest` to find it. Missing parents are made. A snapshot that is
            there already is replaced.
        state: any pytree of arrays, typed keys and Python numbers.
        meta: what JSON can hold.

    Returns:
        The folder.

    Raises:
        InputError: a leaf or `meta` cannot be stored, or the disk is full or refuses: then nothing has changed.

    Cost:
        Twice the bytes of the state in host memory, as in `load`, and five flushes of the disk.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as run:
        ...     folder = save(f"{run}/step_3", {"w": jnp.ones(2)}, {"epoch": 1})
        ...     state, meta = load(folder, {"w": jnp.zeros(2)})
        >>> state["w"].tolist(), meta
        ([1.0, 1.0], {'epoch': 1})
    """
    folder = Path(folder)
    named = _named_leaves(state)
    about = {"leaves": [_describe(name, leaf) for name, leaf in named], "versions": _VERSIONS}
    try:
        text = json.dumps(meta, indent=1)
    except (TypeError, ValueError) as error:
        raise InputError(f"meta: {error}; give only what JSON can hold: text, numbers, lists, dicts") from error
    arrays = safetensors.numpy.save({name: _stored(leaf) for name, leaf in named})
    folders.write(folder, {ARRAYS: arrays, META: text.encode()}, about)
    return folder


def load(folder: str | os.PathLike, like: Any) -> tuple[Any, dict]:
    """Reads a snapshot, every file verified, every leaf compared with what is expected.

    Args:
        folder: a snapshot.
        like: a pytree of the expected structure, shapes and dtypes, such as a fresh state or what `jax.eval_shape`
            gives. A leaf comes back as what it is in `like`: a JAX array (on the same devices, where that one is
            committed to some), a NumPy array, or a Python number.

    Returns:
        `(state, meta)` as they were saved.

    Raises:
        InputError: the snapshot is missing, damaged, of a newer format, or of another structure, shape or dtype.
    """
    folder = Path(folder)
    manifest, contents = _read(folder)
    described = {leaf.name: leaf for leaf in msgspec.convert(manifest["leaves"], list[_Leaf])}
    named = _named_leaves(like)
    _compare(folder, {name: _describe(name, leaf) for name, leaf in named}, described)
    arrays = safetensors.numpy.load(contents[ARRAYS])
    leaves = [_restored(arrays[name], described[name], leaf) for name, leaf in named]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), json.loads(contents[META])


def load_meta(folder: str | os.PathLike) -> dict:
    """Reads what was saved beside the state, to know for what state to ask.

    Args:
        folder: a snapshot.

    Returns:
        `meta` as it was saved.

    Raises:
        InputError: the snapshot is missing, damaged or of a newer format; every file is verified.
    """
    return json.loads(_read(Path(folder))[1][META])


def verify(folder: str | os.PathLike) -> bool:
    """Whether a snapshot is exactly as it was written: every file, every bit, nothing missing, nothing added.

    Args:
        folder: a snapshot, or anything else.

    Returns:
        True or False; damage is never an exception. A snapshot of a newer format may be intact too, though `load`
        refuses it.
    """
    try:
        folders.read(Path(folder))
    except InputError:
        return False
    return True


def newest(parent: str | os.PathLike, kind: str = "step") -> Path | None:
    """Finds the newest snapshot that verifies, trying older ones in turn.

    A damaged one is renamed to `<name>.damaged`, so that it is met only once; one that cannot be read at present (no
    permission, a failing disk) stays as it is. Either is named on a `SnapshotWarning`.

    Args:
        parent: the folder of the snapshots; it need not exist.
        kind: `step` to go on from, `best` for the best validation score.

    Returns:
        The snapshot's folder, or None where there is no good one.
    """
    for folder in _snapshots(Path(parent), kind):
        try:
            folders.read(folder)
        except InputError as fault:
            if not folder.exists():  # pruned while it was read: a newer one is there by now
                return newest(parent, kind)
            fate = _quarantine(folder) if isinstance(fault, folders.Damaged) else "left as it is"
            warnings.warn(f"{fault} ({fate}; an older snapshot is tried)", SnapshotWarning, stacklevel=2)
        else:
            return folder
    return None


def listed(parent: str | os.PathLike, kinds: Iterable[str] = ("step", "best")) -> list[tuple[int, Path]]:
    """Names the snapshots that there are, without opening them.

    Args:
        parent: the folder of the snapshots; it need not exist.
        kinds: as in `newest`.

    Returns:
        How many updates each holds, and its folder; the fewest updates first.
    """
    found = [folder for kind in kinds for folder in _snapshots(Path(parent), kind) if "." not in folder.name]
    return sorted((int(folder.name.rpartition("_")[2]), folder) for folder in found)


def prune(parent: str | os.PathLike, keep: int, kind: str = "step") -> list[Path]:
    """Removes all but the newest snapshots of a kind, and what dead processes have left half-written.

    Where none of those to be kept verifies, the newest that does is kept too; where none does at all, nothing is
    removed. Only the process that saves may call it.

    Args:
        parent: the folder of the snapshots.
        keep: how many of the newest stay, at least 1.
        kind: as in `newest`; snapshots of other kinds are not touched.

    Returns:
        The folders that were removed.

    Raises:
        InputError: `keep` is below 1, or a folder cannot be removed.
    """
    if keep < 1:
        raise InputError(f"keep: {keep} snapshots would leave nothing to go on from; keep at least 1")
    folders.clear_leftovers(Path(parent))
    found = _snapshots(Path(parent), kind)
    removable = found[keep:]
    if not any(map(verify, found[:keep])):
        last_good = next(filter(verify, removable), None)
        removable = [folder for folder in removable if last_good not in (None, folder)]
    for folder in removable:
        folders.remove(folder)
    return removable


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A verified folder of a format that this version knows."""
    manifest, contents = folders.read(folder)
    if manifest["format"] > folders.FORMAT:
        newer = f"written in format {manifest['format']}, this jaxrnn reads up to {folders.FORMAT}"
        raise InputError(f"{folder}: {newer}: upgrade jaxrnn")
    return manifest, contents


def _snapshots(parent: Path, kind: str) -> list[Path]:
    """Snapshots of a kind by their names, newest first; one that is just being replaced comes after its successor."""
    with naming_refusals(parent, "mend its permissions", "cannot be read"):
        names = [_NAME.fullmatch(path.name) for path in parent.iterdir()] if parent.is_dir() else []
    ours = [name for name in names if name and name["kind"] == kind]
    ours.sort(key=lambda name: (-int(name["number"]), name["replaced"] or ""))
    return [parent / name[0] for name in ours]


def _quarantine(folder: Path) -> str:
    """Renames a damaged snapshot out of the way, as far as this is allowed; tells what became of it."""
    names = (
        f"{folder.name}.damaged{suffix}" for suffix in itertools.chain([""], map("-{}".format, itertools.count(2)))
    )
    aside = next(path for path in map(folder.with_name, names) if not path.exists())
    try:
        os.rename(folder, aside)
    except OSError as error:
        return f"cannot be renamed: {error.strerror}"
    return f"renamed to {aside.name}"


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Every leaf with the Python expression that reaches it, such as `state.params['w_hh']`."""
    return [("state" + jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _describe(name: str, leaf: Any) -> _Leaf:
    """Name, dtype and shape of an array, a `ShapeDtypeStruct` or a Python number."""
    if _has_keys(leaf):
        implementation = str(jax.random.key_impl(leaf)) if isinstance(leaf, jax.Array) else ""
        return _Leaf(name, str(leaf.dtype), list(leaf.shape), implementation)
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    if dtype.kind in "OSUMm" or dtype.names:
        raise InputError(f"{name}: {type(leaf).__name__} is no array of numbers; text and the like belong in meta")
    return _Leaf(name, dtype.name, list(np.shape(leaf)))


def _has_keys(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and is_key(leaf)


def _is_native(dtype: np.dtype) -> bool:
    """Whether safetensors knows this dtype of NumPy's: bool, integers and reals up to 64 bits."""
    return dtype.isbuiltin == 1 and dtype.kind in "biuf" and dtype.itemsize <= 8


def _stored(leaf: Any) -> np.ndarray:
    """The leaf as safetensors can hold it: laid out plainly (it writes memory as it lies), a strange dtype as bytes."""
    array = np.asarray(jax.random.key_data(leaf) if _has_keys(leaf) else leaf)
    array = np.asarray(array, np.dtype(array.dtype.name), order="C")
    return array if _is_native(array.dtype) else array.reshape(*array.shape, 1).view(np.uint8)


def _restored(array: np.ndarray, described: _Leaf, like: Any) -> Any:
    """The inverse of `_stored`, as the kind of leaf that `like` is."""
    if described.key:
        value = jax.random.wrap_key_data(jnp.array(array), impl=described.key)
    else:
        dtype = np.dtype(described.dtype)
        array = array if _is_native(dtype) else array.view(dtype).reshape(described.shape)
        if isinstance(like, bool | int | float | complex | np.generic):
            return type(like)(array.item())
        if isinstance(like, np.ndarray):
            return array
        value = jnp.array(array)
    return jax.device_put(value, like.sharding) if getattr(like, "committed", False) else value


def _compare(folder: Path, expected: dict[str, _Leaf], found: dict[str, _Leaf]) -> None:
    """Refuses leaves that are not the expected ones, naming the first that differs."""
    pairs = [(name, str(expected.get(name, "nothing")), str(found.get(name, "nothing"))) for name in expected | found]
    different = [pair for pair in pairs if pair[1] != pair[2]]
    if different:
        name, ours, theirs = different[0]
        raise InputError(
            f"{folder}: {name}: expected {ours}, found {theirs} ({len(different)} of {len(pairs)} leaves differ); "
            "set up model and optimizer as they were when the snapshot was saved"
        )
