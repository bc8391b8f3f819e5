"""The cache: whole entries or none, damage noticed, two processes at once."""

import io
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from jaxrnn.data import cache
from jaxrnn.errors import InputError


def write_once(folder: Path) -> None:
    (folder / "a.txt").write_text("content")
    (folder / "b.bin").write_bytes(bytes(100))


def write_slowly(folder: Path) -> None:
    for number in range(20):
        (folder / f"{number}.txt").write_text(str(number) * 1000)
        time.sleep(0.005)


def build_and_check(parent: str) -> list[bool]:
    """What each of several processes does in `test_processes_at_once`."""
    return [cache.is_whole(cache.entry(Path(parent), f"entry{number}", write_slowly)) for number in range(3)]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_entry_is_built_once(tmp_path):
    built = []
    for _ in range(3):
        entry = cache.entry(tmp_path / "ids", "name", lambda folder: built.append(write_once(folder)))
    assert len(built) == 1
    assert names(entry) == ["a.txt", "b.bin", "manifest.json"] and names(tmp_path / "ids") == ["name"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: (entry / "b.bin").write_bytes(bytes(99)),
        lambda entry: (entry / "b.bin").write_bytes(bytes(99) + b"\x01"),
        lambda entry: (entry / "a.txt").unlink(),
        lambda entry: (entry / "c.txt").write_text("new"),
        lambda entry: (entry / "manifest.json").unlink(),
        lambda entry: (entry / "manifest.json").write_text((entry / "manifest.json").read_text()[:-20]),
        lambda entry: (entry / "manifest.json").write_text("[3]"),
    ],
    ids=["truncated", "one byte", "file gone", "file more", "no manifest", "manifest truncated", "manifest other"],
)
def test_a_damaged_entry_is_built_again(tmp_path, spoil):
    entry = cache.entry(tmp_path, "name", write_once)
    spoil(entry)
    assert not cache.is_whole(entry)
    assert cache.entry(tmp_path, "name", write_once) == entry
    assert cache.is_whole(entry) and names(entry) == ["a.txt", "b.bin", "manifest.json"]
    assert names(tmp_path) == ["name"], "nothing is left of the damaged one"


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fail(folder):
        write_once(folder)
        raise InputError("text.txt: byte 3 is not UTF-8")

    with pytest.raises(InputError, match="byte 3"):
        cache.entry(tmp_path, "name", fail)
    assert names(tmp_path) == []


def test_processes_at_once(tmp_path):
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        assert all(all(whole) for whole in pool.map(build_and_check, [str(tmp_path)] * 3))
    assert names(tmp_path) == ["entry0", "entry1", "entry2"]


def test_the_entry_of_another_process_stays(tmp_path):
    def build_while_another_does(folder):
        cache.entry(tmp_path, "name", write_once)
        (folder / "late.txt").write_text("late")

    entry = cache.entry(tmp_path, "name", build_while_another_does)
    assert names(entry) == ["a.txt", "b.bin", "manifest.json"]


def test_a_disk_that_does_not_keep_its_bytes_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "is_whole", lambda folder: False)
    with pytest.raises(InputError, match="reads back other bytes.*JAXRNN_CACHE=FOLDER"):
        cache.entry(tmp_path, "name", write_once)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file.*cannot be written.*JAXRNN_CACHE=FOLDER"):
        cache.entry(tmp_path / "file" / "ids", "name", write_once)
    with pytest.raises(InputError, match="file.*cannot be written"):
        cache.store(tmp_path / "file", io.BytesIO(b"text"), suffix=".txt")


def test_what_killed_processes_left_is_swept_after_a_day(tmp_path):
    for name, age in (("old", 2), ("new", 0)):
        folder = tmp_path / f".building-{name}"
        folder.mkdir()
        (folder / "part").touch()
        os.utime(folder, times=(time.time() - age * 86400,) * 2)
    cache.entry(tmp_path, "name", write_once)
    assert names(tmp_path) == [".building-new", "name"]


def test_a_stored_stream_is_named_by_its_content(tmp_path):
    paths = [cache.store(tmp_path, io.BytesIO(content), suffix=".txt") for content in (b"a", b"b", b"a")]
    assert paths[0] == paths[2] != paths[1]
    assert [path.read_bytes() for path in paths] == [b"a", b"b", b"a"] and len(names(tmp_path)) == 2


def test_the_folder_is_chosen_by_argument_then_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXRNN_CACHE", str(tmp_path))
    assert cache.cache_folder(Path("given")) == Path("given")
    assert cache.cache_folder() == tmp_path
    monkeypatch.delenv("JAXRNN_CACHE")
    assert "jaxrnn" in cache.cache_folder().parts


def test_a_home_folder_that_is_not_known_is_named(monkeypatch):
    monkeypatch.setenv("JAXRNN_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(InputError, match="this-name/x': its home folder is not known; .*JAXRNN_CACHE=FOLDER"):
        cache.cache_folder()


def test_a_key_tells_its_parts_apart():
    keys = [
        cache.key("a", "b"),
        cache.key("ab"),
        cache.key(["a", "b"]),
        cache.key("a", "b", 1),
        cache.key("a", "b", "1"),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key("a", {"x": 1, "y": 2}) == cache.key("a", {"y": 2, "x": 1})


def test_the_manifest_has_every_file(tmp_path):
    entry = cache.entry(tmp_path, "name", write_once)
    manifest = json.loads((entry / "manifest.json").read_text())
    assert {name: length for name, (length, _) in manifest.items()} == {"a.txt": 7, "b.bin": 100}
