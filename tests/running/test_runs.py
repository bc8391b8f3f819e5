"""The run's folder: made whole or not at all, never by two at a time, its metrics without duplicates or torn lines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxrnn.config import Config, Data, Model
from jaxrnn.errors import InputError
from jaxrnn.running import runs
from jaxrnn.settings import dumps

FILES = {"config.toml": dumps(Config(seed=5)), "vocabulary.json": "{}"}


def lines(run):
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def test_a_run_is_made_whole(tmp_path):
    run = runs.create(tmp_path / "deep" / "run", FILES)
    assert {path.name: path.read_text() for path in run.folder.iterdir()} == FILES
    assert [path.name for path in run.folder.parent.iterdir()] == ["run"]
    assert runs.find(run.folder) == (run, Config(seed=5))


def test_a_run_is_not_there_at_all_when_making_it_fails(tmp_path):
    with pytest.raises(AttributeError):
        runs.create(tmp_path / "run", {"config.toml": "x", "vocabulary.json": None})
    with pytest.raises(InputError, match="cannot be written"):
        runs.create(tmp_path / "run", {"no/such/folder": "x"})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_and_untouched(tmp_path):
    run = runs.create(tmp_path / "run", FILES)
    for make in (lambda: runs.create(run.folder, {}), lambda: runs.check_free(run.folder)):
        with pytest.raises(InputError, match="exists already; go on with it by --resume, or choose another name"):
            make()
    assert run.config.read_text() == FILES["config.toml"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="exists already; choose another"):
        runs.check_free(tmp_path / "file")


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    assert runs.create(tmp_path, FILES).config.exists()


def test_the_folder_that_one_is_in_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"--run \.: is the folder that you are in; choose one in it"):
        runs.check_free(Path("."))


def test_a_folder_that_no_other_can_take_the_place_of_is_refused(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "other").symlink_to(runs.create(tmp_path / "run", FILES).folder)
    with pytest.raises(InputError, match=r"other: exists already; go on with it by --resume"):
        runs.check_free(tmp_path / "other")
    with pytest.raises(InputError, match=r"link: is a link or a mount point; choose a folder in it: .*link/mine"):
        runs.check_free(tmp_path / "link")
    monkeypatch.setattr(os.path, "ismount", lambda path: path.name == "real")
    with pytest.raises(InputError, match="real: is a link or a mount point"):
        runs.check_free(tmp_path / "real")
    runs.check_free(tmp_path / "link" / "mine")


def test_whether_a_run_can_be_made_is_known_before_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match=r"a/b: cannot be written \(no folder can be made in .*\); choose another"):
        runs.check_free(tmp_path / "a" / "b")


def test_a_name_that_another_training_takes_meanwhile_is_left_to_it(tmp_path, monkeypatch):
    def free_folder(config):
        found = looked(config, tmp_path)
        if found.name.endswith("-2"):
            found.mkdir()
            (found / "config.toml").touch()
        return found

    looked = runs.free_folder
    monkeypatch.setattr(runs, "free_folder", free_folder)
    assert [runs.create_next(Config(), FILES).folder.name[-2:] for _ in range(3)] == ["-1", "-3", "-4"]
    with pytest.raises(InputError, match="cannot be written"):
        runs.create_next(Config(), {"no/such/folder": "x"})


def test_a_run_whose_name_cannot_be_kept_is_not_there_and_no_other_is_tried(tmp_path, monkeypatch):
    def flush(folder):
        if folder == tmp_path:
            raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(runs, "flush", flush)
    names = iter([tmp_path / "next"])
    monkeypatch.setattr(runs, "free_folder", lambda config: next(names))
    with pytest.raises(InputError, match="next: cannot be written"):
        runs.create_next(Config(), FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_named(tmp_path):
    run = runs.create(tmp_path / "run", FILES)
    run.metrics.mkdir()  # as good as a full disk
    run.config.with_name(f"config.toml.tmp-{os.getpid()}").mkdir()
    for write in (lambda: runs.append(run, {"step": 1}), lambda: runs.change_config(run, "seed = 1")):
        with pytest.raises(InputError, match="cannot be written .*; mend that, and go on with --resume"):
            write()
    assert run.config.read_text() == FILES["config.toml"]
    with pytest.raises(InputError, match="metrics.jsonl: cannot be read"):
        runs.metrics(run)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/run: cannot be written"):
        runs.create(tmp_path / "file" / "run", FILES)


def test_a_missing_run_is_named_with_those_that_there_are(tmp_path):
    runs.create(tmp_path / "one", FILES)
    with pytest.raises(InputError, match=r"two: no such run .*there are: .*one"):
        runs.find(tmp_path / "two")
    with pytest.raises(InputError, match="no such run"):
        runs.find(tmp_path)


def test_a_name_that_the_system_refuses_is_named(tmp_path):
    for look in (runs.find, runs.check_free):
        with pytest.raises(InputError, match="x: cannot be looked into .*; choose another"):
            look(tmp_path / ("x" * 300))


def test_a_run_that_one_may_not_write_in_is_not_trained(tmp_path):
    run = runs.create(tmp_path / "run", FILES)
    (run.folder / "lock").mkdir()  # as good as somebody else's folder
    with pytest.raises(InputError, match="run: cannot be written .*so it cannot be trained"), runs.locked(run):
        raise AssertionError("held")


def test_a_sample_is_kept_whole_or_not_at_all(tmp_path):
    run = runs.create(tmp_path / "run", FILES)
    for text in ("first", "second"):
        runs.keep_sample(run, "best_3", text)
    assert {path.name: path.read_text() for path in run.samples.iterdir()} == {"best_3.txt": "second"}
    (run.samples / f"best_4.txt.tmp-{os.getpid()}").mkdir()  # as good as a full disk
    with pytest.raises(InputError, match="best_4.txt: cannot be written .*go on with --resume"):
        runs.keep_sample(run, "best_4", "third")
    assert not (run.samples / "best_4.txt").exists()


def test_names_count_up(tmp_path, monkeypatch):
    config = Config(data=Data(corpus="texts/My book.txt.gz"), model=Model(cell="gru"))
    assert runs.free_folder(config, tmp_path).name == "My-book-gru-1"
    (tmp_path / "My-book-gru-1").mkdir()
    assert runs.free_folder(config, tmp_path).name == "My-book-gru-2"
    assert runs.free_folder(Config(data=Data(corpus="-")), tmp_path).name == "stdin-lstm-1"
    assert runs.free_folder(Config(data=Data(corpus="texts/.notes.tar.gz")), tmp_path).name == "notes-lstm-1"
    monkeypatch.chdir(tmp_path / "My-book-gru-1")
    assert runs.free_folder(Config(data=Data(corpus=".")), tmp_path).name == "My-book-gru-1-lstm-1"


def test_two_processes_cannot_train_one_run(tmp_path):
    run = runs.create(tmp_path / "run", FILES)
    other = (
        "import sys, pathlib; from jaxrnn.running import runs; run = runs.at(pathlib.Path(sys.argv[1]))\n"
        "with runs.locked(run): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", other, run.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is training this run"), runs.locked(run):
            pytest.fail("locked twice")
        process.kill()  # a killed process holds no lock
    with runs.locked(run):
        pass


def test_metrics_are_one_json_object_a_line(tmp_path):
    run = runs.create(tmp_path / "run", FILES)
    assert runs.metrics(run) == []
    runs.append(run, {"kind": "update", "step": 1, "loss": 0.1})
    runs.append(run, {"kind": "update", "step": 2, "loss": float("nan")})
    assert lines(run) == runs.metrics(run)
    assert [line["loss"] for line in lines(run)] == [0.1, None]
    whole = run.metrics.read_bytes()
    # As some disks leave it after a power cut; a bit that has flipped in a string; JSON that is no line of metrics.
    for damaged in (bytes(8), b'{"kind":"up\xffdate","step":3}', b'{"kind":"update"}', b"null"):
        run.metrics.write_bytes(whole + damaged + b"\n")
        with pytest.raises(InputError, match="metrics.jsonl: line 3 is damaged; take it out"):
            runs.metrics(run)


def test_a_resumed_run_forgets_the_lines_that_it_will_write_again(tmp_path):
    run = runs.create(tmp_path / "run", FILES)
    for step in (1, 2, 3, 4):
        runs.append(run, {"kind": "update", "step": step})
        if step % 2 == 0:
            runs.append(run, {"kind": "validation", "step": step})
    runs.append(run, {"kind": "test", "step": 4})
    with run.metrics.open("a") as file:
        file.write('{"kind":"update","st')  # torn by a kill
    runs.rewind(run, 4, validated=4)
    assert [line["kind"][0] for line in lines(run)] == list("uuvuuv")
    runs.rewind(run, 4, validated=2)  # stopped between the update and its validation
    assert [line["kind"][0] for line in lines(run)] == list("uuvuu")
    runs.rewind(run, 1, validated=0)
    assert lines(run) == [{"kind": "update", "step": 1}]
    runs.rewind(run, 0, validated=0)
    assert lines(run) == []
    assert sorted(path.name for path in run.folder.iterdir()) == ["config.toml", "metrics.jsonl", "vocabulary.json"]
