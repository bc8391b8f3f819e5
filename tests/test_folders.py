"""A folder is written whole or not at all under every fault, and no damage to it goes unnoticed."""

import errno
import itertools
import os
import resource
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from jaxrnn import folders
from jaxrnn.errors import InputError

pytestmark = pytest.mark.usefixtures("unflushed")

OLD = {"a": b"old" * 50, "b": b""}
NEW = {"a": b"new" * 70, "c": b"also new"}


def listing(parent):
    return sorted(path.name for path in parent.iterdir()) if parent.is_dir() else []


def standing(folder):
    """What a reader finds: the folder's files, or those of the one it is about to replace."""
    for place in [folder, *folder.parent.glob(f"{folder.name}.old-*")]:
        if place.exists():
            return folders.read(place)[1]
    return None


# Damage


@pytest.fixture
def intact(tmp_path):
    folder = tmp_path / "good"
    folders.write(folder, OLD, {"colour": "blue"})
    return folder


def is_damaged(folder):
    try:
        folders.read(folder)
    except folders.Damaged as fault:
        assert str(fault).startswith(f"{folder}: damaged: ") and "\n" not in str(fault)
        return True
    return False


def test_what_is_read_is_what_was_written(intact):
    manifest, contents = folders.read(intact)
    assert contents == OLD
    assert manifest["colour"] == "blue" and manifest["format"] == folders.FORMAT


@pytest.mark.parametrize("name", ["a", folders.MANIFEST])
def test_every_flipped_bit_is_noticed(intact, name):
    good = (intact / name).read_bytes()
    for position, bit in itertools.product(range(len(good)), range(8)):
        bad = bytearray(good)
        bad[position] ^= 1 << bit
        (intact / name).write_bytes(bad)
        assert is_damaged(intact), (position, bit)
    (intact / name).write_bytes(good)
    assert not is_damaged(intact)


@pytest.mark.parametrize("name", ["a", folders.MANIFEST])
def test_every_truncation_and_extension_is_noticed(intact, name):
    good = (intact / name).read_bytes()
    for bad in [*(good[:length] for length in range(len(good))), good + b"\0", good + b"\n", good + good]:
        (intact / name).write_bytes(bad)
        assert is_damaged(intact), len(bad)


def test_a_file_that_is_missing_or_added_is_noticed(intact, tmp_path):
    def notices(change):
        folder = tmp_path / "copy"
        shutil.copytree(intact, folder)
        change(folder)
        noticed = is_damaged(folder)
        shutil.rmtree(folder)
        return noticed

    assert not notices(lambda folder: None)
    assert notices(lambda folder: (folder / "a").unlink())
    assert notices(lambda folder: (folder / "b").unlink())
    assert notices(lambda folder: (folder / folders.MANIFEST).unlink())
    assert notices(lambda folder: (folder / "extra").touch())
    assert notices(lambda folder: (folder / "extra").mkdir())
    assert notices(lambda folder: (folder / "b").rename(folder / "B"))


def test_what_cannot_be_read_is_an_input_error_but_no_damage(intact, tmp_path):
    (intact / "a").unlink()
    (intact / "a").mkdir()
    for folder in (intact, tmp_path / "absent", intact / "b"):
        with pytest.raises(InputError, match=str(folder)) as caught:
            folders.read(folder)
        assert not isinstance(caught.value, folders.Damaged)


@pytest.mark.parametrize("seen", [folders.MANIFEST, "a"])
def test_a_folder_that_is_replaced_while_it_is_read_is_no_damage(intact, monkeypatch, seen):
    """Between one of its files and the next, the writer puts a new one in its place."""
    read_bytes, waiting = Path.read_bytes, [NEW]

    def slowly(path):
        data = read_bytes(path)
        if path.name == seen and waiting:
            folders.write(intact, waiting.pop(), {})
        return data

    monkeypatch.setattr(Path, "read_bytes", slowly)
    assert folders.read(intact)[1] == NEW


# Faults


class Killed(BaseException):
    """The process is gone: nothing it would still have done is done."""


class Machine:
    """The operating system as `folders` meets it, with one fault.

    At its call number `at` it raises `fault`: a `Killed` ends everything, after any other error the later calls work.
    A write that meets a fault leaves half of its bytes. `lose` is what a power failure does to a disk: data and names
    that were not flushed are gone.
    """

    def __init__(self, monkeypatch, fault=None, at=None):
        self.fault, self.at, self.calls = fault, at, 0
        self.names = {}  # of open files, by descriptor
        self.unflushed_data, self.unflushed_names, self.unflushed_renames = set(), set(), []
        calls = {"mkdir": self.mkdir, "rename": self.rename, "fsync": self.fsync}
        counted = {name: self.counting(call) for name, call in calls.items()}
        monkeypatch.setattr(folders, "os", types.SimpleNamespace(**{**vars(os), **counted, "open": self.open_folder}))
        monkeypatch.setattr(folders, "open", self.counting(self.open_file), raising=False)
        monkeypatch.setattr(folders, "shutil", types.SimpleNamespace(rmtree=self.counting(self.rmtree)))

    def meet(self):
        """Count one call; raise the fault if its time has come."""
        self.calls += 1
        if self.calls == self.at or (isinstance(self.fault, Killed) and self.calls > self.at):
            raise self.fault

    def counting(self, call):
        def counted(*args):
            self.meet()
            return call(*args)

        return counted

    def rename(self, source, target):
        os.rename(source, target)
        self.unflushed_renames.append((source, target))
        for unflushed in (self.unflushed_data, self.unflushed_names):
            for path in [path for path in unflushed if path.parent == source]:
                unflushed.remove(path)
                unflushed.add(target / path.name)

    def rmtree(self, folder):
        for path in sorted(folder.iterdir()):
            self.meet()
            path.unlink()
        folder.rmdir()

    def mkdir(self, path):
        os.mkdir(path)
        self.unflushed_names.add(Path(path))

    def open_file(self, path, mode):
        self.unflushed_data.add(path)
        self.unflushed_names.add(path)
        return File(self, path, mode)

    def open_folder(self, path, flags):
        descriptor = os.open(path, flags)
        self.names[descriptor] = path
        return descriptor

    def fsync(self, descriptor):
        os.fsync(descriptor)
        flushed = self.names[descriptor]
        self.unflushed_data.discard(flushed)
        self.unflushed_names = {path for path in self.unflushed_names if path.parent != flushed}
        self.unflushed_renames = [names for names in self.unflushed_renames if names[1].parent != flushed]

    def lose(self, renames):
        """Lose what was not flushed, and the last so many of the renames that were not."""
        for path in self.unflushed_data:
            if path.exists():
                path.write_bytes(b"")
        for path in self.unflushed_names:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for source, target in reversed(self.unflushed_renames[len(self.unflushed_renames) - renames :]):
            os.rename(target, source)


class File:
    """A file whose bytes reach the disk only when they are flushed."""

    def __init__(self, machine, path, mode):
        self.machine, self.file, self.data = machine, open(path, mode, buffering=0), b""
        machine.names[self.file.fileno()] = path

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def fileno(self):
        return self.file.fileno()

    def write(self, data):
        self.data += data

    def flush(self):
        self.file.write(self.data[: len(self.data) // 2])
        self.machine.meet()
        self.file.write(self.data[len(self.data) // 2 :])


def faults(monkeypatch, tmp_path, old, fault):
    """Write NEW over `old` once for each call of the operating system, that call meeting the fault."""
    for at in itertools.count(1):
        folder = tmp_path / str(at) / "parent" / "name"
        if old:
            folders.write(folder, old, {})
        with monkeypatch.context() as patch:
            machine = Machine(patch, fault, at)
            try:
                folders.write(folder, NEW, {})
            except (Killed, KeyboardInterrupt, InputError) as caught:
                error = caught
            else:
                error = None
        yield folder, machine, error
        if machine.calls < at:
            return


@pytest.mark.parametrize("old", [None, OLD], ids=["first", "replacing"])
def test_a_kill_at_every_call_leaves_the_old_or_the_new(monkeypatch, tmp_path, old):
    seen = []
    for folder, _, error in faults(monkeypatch, tmp_path, old, Killed()):
        seen.append(standing(folder))
        assert seen[-1] in (old, NEW)
        assert error is not None or seen[-1] == NEW
        folders.write(folder, NEW, {})  # and life goes on
        folders.clear_leftovers(folder.parent)
        assert standing(folder) == NEW and listing(folder.parent) == ["name"]
    assert len(seen) > 12 and seen[0] == old and seen[-1] == NEW


@pytest.mark.parametrize(("old", "renames"), [(None, 0), (None, 1), (OLD, 0), (OLD, 1), (OLD, 2)])
def test_a_power_failure_at_every_call_leaves_the_old_or_the_new(monkeypatch, tmp_path, old, renames):
    failures = 0
    for folder, machine, error in faults(monkeypatch, tmp_path, old, Killed()):
        if len(machine.unflushed_renames) >= renames:
            failures += 1
            machine.lose(renames)
            assert standing(folder) in (old, NEW)
            assert error is not None or standing(folder) == NEW
    assert failures > 0


@pytest.mark.parametrize("old", [None, OLD], ids=["first", "replacing"])
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_an_error_at_every_call_changes_nothing_and_leaves_nothing(monkeypatch, tmp_path, old, fault):
    errors = 0
    for folder, _, error in faults(monkeypatch, tmp_path, old, fault):
        if error is None:
            assert standing(folder) == NEW
            continue
        errors += 1
        if standing(folder) == NEW:  # interrupted when only the replaced one remained to be removed
            assert old and isinstance(fault, KeyboardInterrupt)
            continue
        assert standing(folder) == old
        assert listing(folder.parent) == (["name"] if old else [])
        if isinstance(fault, OSError):
            assert str(error).startswith(f"{folder}: cannot be written (No space left") and "\n" not in str(error)
    assert errors > 10


def test_a_full_disk_names_the_folder_and_keeps_the_old(tmp_path):
    folder = tmp_path / "name"
    folders.write(folder, OLD, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(InputError, match=rf"{folder}: cannot be written \(File too large\); free some space"):
            folders.write(folder, {"a": bytes(5000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert standing(folder) == OLD and listing(tmp_path) == ["name"]


def test_what_is_no_written_folder_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work").write_text("years of it")
    (tmp_path / "file").write_text("also mine")
    for name in ("mine", "file"):
        with pytest.raises(InputError, match=f"{name}: holds something else; choose another name"):
            folders.write(tmp_path / name, NEW, {})
    with pytest.raises(InputError, match=rf"below: cannot be written \(.*: {tmp_path / 'file'}\); free some space"):
        folders.write(tmp_path / "file" / "below", NEW, {})
    assert (tmp_path / "mine" / "work").read_text() == "years of it" and listing(tmp_path) == ["file", "mine"]


# Leftovers


def test_only_the_leftovers_of_dead_processes_are_cleared(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    living = os.getppid()
    for name in ("x", f"y.old-{dead.pid}", f"x.old-{dead.pid}", f"x.old-{living}"):
        folders.write(tmp_path / name, OLD, {})
    for name in (f"z.tmp-{dead.pid}", f"z.tmp-{living}", f"z.tmp-{os.getpid()}", "z.tmp-x", "z"):
        (tmp_path / name).mkdir()
    folders.clear_leftovers(tmp_path)
    assert listing(tmp_path) == sorted(["x", "y", f"x.old-{living}", f"z.tmp-{living}", "z.tmp-x", "z"])
    assert standing(tmp_path / "y") == OLD


def test_a_removal_is_out_of_sight_from_its_first_call(monkeypatch, tmp_path):
    for at in range(1, 6):
        folder = tmp_path / str(at) / "name"
        folders.write(folder, OLD, {})
        with monkeypatch.context() as patch:
            Machine(patch, Killed(), at)
            try:
                folders.remove(folder)
            except Killed:
                pass
        assert standing(folder) == (OLD if at == 1 else None)
        folders.clear_leftovers(folder.parent)
        assert listing(folder.parent) == (["name"] if at == 1 else [])
