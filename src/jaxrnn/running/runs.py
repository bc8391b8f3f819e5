"""A run is a folder. This file knows what lies where in it, and writes it so that nothing is ever half there.

::

    runs/stdlib-lstm-1/
        config.toml       the whole configuration
        vocabulary.json   the symbols, with their fingerprint
        corpus.json       what was read: origin, digest, splits
        metrics.jsonl     one JSON object for each update, validation and test
        snapshots/        step_N to go on from, best_N where the validation score was best
        samples/          what the model wrote
        analysis/         the report of `jaxrnn analyze`
        lock              held by the process that trains
"""

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import msgspec

from jaxrnn.config import Config
from jaxrnn.errors import InputError, naming_refusals
from jaxrnn.folders import flush, replace_file, write_file
from jaxrnn.settings import resolve

RUNS = Path("runs")
_MEND = "mend that, and go on with --resume"


class Run(NamedTuple):
    """Where the parts of a run lie.

    Attributes:
        folder: the run.
        config: `config.toml`.
        vocabulary: `vocabulary.json`.
        corpus: `corpus.json`.
        metrics: `metrics.jsonl`.
        snapshots: the folder of snapshots.
        samples: the folder of samples.
    """

    folder: Path
    config: Path
    vocabulary: Path
    corpus: Path
    metrics: Path
    snapshots: Path
    samples: Path


class _Row(msgspec.Struct):
    """What every line of metrics has."""

    kind: str
    step: int


def at(folder: Path) -> Run:
    """Name the parts of the run in a folder, whether it exists or not.

    Args:
        folder: the run's folder.

    Returns:
        The paths.

    Example:
        >>> at(Path("runs/hello")).metrics.as_posix()
        'runs/hello/metrics.jsonl'
    """
    names = ("config.toml", "vocabulary.json", "corpus.json", "metrics.jsonl", "snapshots", "samples")
    return Run(folder, *(folder / name for name in names))


def free_folder(config: Config, parent: Path = RUNS) -> Path:
    """Find a name for a new run: corpus, cell and the first number that is free.

    Args:
        config: the run's configuration.
        parent: where runs lie.

    Returns:
        A path that does not exist.

    Example:
        >>> free_folder(Config(), Path("nowhere")).as_posix()
        'nowhere/stdlib-lstm-1'
    """
    name = os.path.basename(os.path.abspath(os.path.expanduser(config.data.corpus)))  # `.` has one as well
    corpus = re.sub(r"\W+", "-", name.lstrip(".").split(".")[0]).strip("-") or "stdin"
    folders = (parent / f"{corpus}-{config.model.cell}-{number}" for number in itertools.count(1))
    with naming_refusals(parent, "choose a place: --run DIR", "cannot be looked into"):
        return next(folder for folder in folders if not folder.exists())


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something already.

    Args:
        folder: where a new run shall lie.

    Raises:
        InputError: if it exists and is not an empty folder, is one that no other can take the place of, or cannot be
            made.
    """
    if folder.resolve() == Path.cwd():
        raise InputError(f"--run {folder}: is the folder that you are in; choose one in it, such as {RUNS / 'mine'}")
    with naming_refusals(f"--run {folder}", "choose another", "cannot be looked into"):
        taken = folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None)
        is_run = at(folder).config.exists()
    if taken:
        remedy = "go on with it by --resume, or choose another name" if is_run else "choose another"
        raise InputError(f"--run {folder}: exists already; {remedy}")
    if folder.is_symlink() or os.path.ismount(folder):
        raise InputError(f"--run {folder}: is a link or a mount point; choose a folder in it: {folder / 'mine'}")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise InputError(f"--run {folder}: cannot be written (no folder can be made in {above}); choose another place")


def create(folder: Path, files: Mapping[str, str], more: Callable[[Run], object] | None = None) -> Run:
    """Make a run's folder, all of it at once: it is built beside its place and renamed into it.

    Args:
        folder: where to; see `check_free`.
        files: the text of each of its first files, by name.
        more: puts there what else it must have from its beginning.

    Returns:
        The run.

    Raises:
        InputError: if the folder exists, or cannot be written.
    """
    check_free(folder)
    with naming_refusals(f"--run {folder}", "choose another place"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            building.chmod(0o755)  # mkdtemp makes it private
            for name, text in files.items():
                write_file(building / name, text.encode("utf-8"))
            if more:
                more(at(building))
            flush(building)
            made = building.rename(folder)
            flush(folder.parent)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    return at(folder)


def create_next(config: Config, files: Mapping[str, str], more: Callable[[Run], object] | None = None) -> Run:
    """Make a run's folder under the next free name: another training may take one between the look and the making.

    Args:
        config: the run's configuration.
        files: see `create`.
        more: likewise.

    Returns:
        The run.

    Raises:
        InputError: if it cannot be written.
    """
    while True:
        folder = free_folder(config)
        try:
            return create(folder, files, more)
        except InputError:
            if not folder.exists():
                raise


def find(folder: Path) -> tuple[Run, Config]:
    """Find a run that was made before.

    Args:
        folder: where it lies.

    Returns:
        The run and its configuration.

    Raises:
        InputError: if there is no run, with the names of those that there are, or if it may not be read.
    """
    run = at(folder)
    with naming_refusals(folder, "choose another", "cannot be looked into"):
        there = run.config.is_file()
        others = [] if there else sorted(path.parent.as_posix() for path in folder.parent.glob("*/config.toml"))
    if not there:
        known = f"; there are: {', '.join(others)}" if others else ""
        raise InputError(f"{folder}: no such run (expected a folder with a config.toml){known}")
    return run, resolve(run.config)


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Keep other trainers out for as long as the `with` block lasts; a killed process holds no lock.

    Args:
        run: the run.

    Yields:
        Nothing.

    Raises:
        InputError: if another process is training this run, or if this one may not write there.
    """
    lock = filelock.FileLock(run.folder / "lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(f"{run.folder}: another process is training this run; wait for it or stop it") from None
    except OSError as error:
        refused = f"cannot be written ({error.strerror or error}), so it cannot be trained"
        raise InputError(f"{run.folder}: {refused}; mend that, or go on with a copy") from None
    try:
        yield
    finally:
        lock.release()


def append(run: Run, row: Mapping[str, Any]) -> None:
    """Write one line of metrics.

    Args:
        run: the run.
        row: numbers and text; must have `step`. A number that is not finite becomes null.

    Raises:
        InputError: if the disk refuses.
    """
    with naming_refusals(run.metrics, _MEND), run.metrics.open("ab") as file:
        file.write(msgspec.json.encode(row) + b"\n")


def flush_metrics(run: Run) -> None:
    """See to it that the disk has all lines of metrics.

    Args:
        run: the run.

    Raises:
        InputError: if the disk refuses.
    """
    with naming_refusals(run.metrics, _MEND), run.metrics.open("ab") as file:
        os.fsync(file.fileno())


def metrics(run: Run) -> list[dict[str, Any]]:
    """Read the lines of metrics, up to one that a killed process left unfinished.

    Args:
        run: the run.

    Returns:
        One dict a line; none where there is no file yet.

    Raises:
        InputError: if the file cannot be read, or a line is not as `append` has written it.
    """
    with naming_refusals(run.metrics, "mend its permissions", "cannot be read"):
        lines = run.metrics.read_bytes().splitlines(keepends=True) if run.metrics.exists() else []
    rows = []
    for number, line in enumerate(lines, 1):
        if line.endswith(b"\n"):
            try:
                rows.append(msgspec.json.decode(line))
                msgspec.convert(rows[-1], _Row)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise InputError(f"{run.metrics}: line {number} is damaged; take it out, and go on") from None
    return rows


def rewind(run: Run, step: int, validated: int) -> None:
    """Drop the lines of metrics that a resumed run will write again.

    Args:
        run: the run.
        step: the updates that the snapshot holds.
        validated: the updates at the last validation that it holds.

    Raises:
        InputError: if the disk refuses; the file is then as it was, or whole and new.
    """
    last = {"update": step, "validation": validated}  # and no test: it comes again at the end
    kept = [row for row in metrics(run) if row["step"] <= last.get(row["kind"], -1)]
    _replace(run.metrics, b"".join(msgspec.json.encode(row) + b"\n" for row in kept))


def change_config(run: Run, text: str) -> None:
    """Write another `config.toml`, all of it at once.

    Args:
        run: the run.
        text: the whole configuration.

    Raises:
        InputError: if the disk refuses; the file is then as it was, or whole and new.
    """
    _replace(run.config, text.encode("utf-8"))


def keep_sample(run: Run, name: str, text: str) -> None:
    """Keep what the model wrote.

    Args:
        run: the run.
        name: of the snapshot whose parameters wrote it.
        text: the sample.

    Raises:
        InputError: if the disk refuses.
    """
    with naming_refusals(run.samples, _MEND):
        run.samples.mkdir(exist_ok=True)
    _replace(run.samples / f"{name}.txt", text.encode("utf-8"))


def _replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another, so that at any moment one of them is there."""
    with naming_refusals(path, _MEND):
        replace_file(path, content)
