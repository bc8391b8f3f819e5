"""Which files a corpus is made of, how it is split, and what is said when it cannot be."""

import errno
import gzip
import io
import os
import platform
import sys
import threading
from hashlib import sha256
from types import SimpleNamespace

import pytest

from jaxrnn.data.corpora import corpus_digest, open_corpus, whole_text
from jaxrnn.data.reading import read
from jaxrnn.errors import InputError


def text_of(corpus, split):
    return "".join(read(corpus.splits[split], "utf-8"))


@pytest.fixture
def folder(tmp_path):
    """A folder of 40 texts of a hundred bytes, two levels deep."""
    root = tmp_path / "books"
    for number in range(40):
        path = root / f"shelf{number % 3}" / f"book{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number:02}" + "x" * 97 + "\n")
    return root


@pytest.fixture
def standard_input(monkeypatch):
    """Set what standard input will be."""

    def give(content: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


# One text ------------------------------------------------------------------------------------------------------------


def sizes_of(corpus):
    """For each split its bytes."""
    return {split: sum(part.stop - part.start for part in parts) for split, parts in corpus.splits.items()}


def test_one_file_is_cut_by_position_at_line_starts(tmp_path):
    lines = [f"line {number:05}\n" for number in range(1000)]
    path = tmp_path / "text.txt"
    path.write_text("".join(lines))
    corpus = open_corpus(str(path))
    parts = [text_of(corpus, split) for split in ("train", "valid", "test")]
    assert "".join(parts) == "".join(lines)
    assert [part.count("\n") for part in parts] == [900, 50, 50]


def test_one_line_without_end_is_cut_between_characters(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("é’𝔘" * 500)
    corpus = open_corpus(str(path), shares=(0.1, 0.2))
    assert "".join(text_of(corpus, split) for split in ("train", "valid", "test")) == "é’𝔘" * 500
    assert sizes_of(corpus) == pytest.approx({"train": 3150, "valid": 450, "test": 900}, abs=4)


def test_packed_and_plain_text_are_the_same_corpus(tmp_path):
    text = b"".join(b"line %d\n" % number for number in range(999))
    (tmp_path / "text.txt").write_bytes(text)
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(text))
    plain, packed = (open_corpus(str(tmp_path / name)) for name in ("text.txt", "text.txt.gz"))
    assert corpus_digest(plain) == corpus_digest(packed)
    assert text_of(plain, "valid") == text_of(packed, "valid") != ""


def test_standard_input_is_the_same_corpus_as_the_file(tmp_path, standard_input):
    text = b"".join(b"line %d\n" % number for number in range(999))
    (tmp_path / "text.txt").write_bytes(text)
    standard_input(text)
    piped = open_corpus("-", cache=tmp_path / "cache")
    assert corpus_digest(piped) == corpus_digest(open_corpus(str(tmp_path / "text.txt")))
    assert text_of(piped, "train").startswith("line 0\n")


def test_the_end_of_a_pipe_is_the_same_corpus_as_the_file(tmp_path):
    """It can be read once only: what the shell makes of `<(cat text.txt)`."""
    text = b"".join(b"line %d\n" % number for number in range(999))
    (tmp_path / "text.txt").write_bytes(text)
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(text,), daemon=True).start()  # waits for a reader
    piped = open_corpus(str(tmp_path / "pipe"), cache=tmp_path / "cache")
    assert corpus_digest(piped) == corpus_digest(open_corpus(str(tmp_path / "text.txt")))
    assert text_of(piped, "train").startswith("line 0\n")


def test_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="data.corpus: standard input is closed"):
        open_corpus("-")


def test_every_split_may_have_its_own_file(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name * 3)
    corpus = open_corpus(str(tmp_path / "a"), valid=str(tmp_path / "b"), test=str(tmp_path / "c"))
    assert [text_of(corpus, split) for split in ("train", "valid", "test")] == ["aaa", "bbb", "ccc"]


@pytest.mark.parametrize("name", ["books", "books/shelf1/book1.txt"])
def test_a_tilde_stands_for_the_home_folder(folder, monkeypatch, name):
    path = folder.parent / name
    if path.is_file():
        path.write_text("a line\n" * 100)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert open_corpus(f"~/{name}").splits == open_corpus(str(path)).splits


# Folders -------------------------------------------------------------------------------------------------------------


def test_every_file_of_a_folder_is_in_one_split_and_sorted(folder):
    corpus = open_corpus(str(folder))
    paths = [[document.path for document in corpus.splits[split]] for split in ("train", "valid", "test")]
    assert sorted(sum(paths, [])) == sorted(folder.rglob("*.txt"))
    assert [len(part) for part in paths] == [36, 2, 2]
    assert all(part == sorted(part) for part in paths)
    by_digest = sorted(sum(paths, []), key=lambda p: sha256(p.relative_to(folder).as_posix().encode()).hexdigest())
    assert set(paths[2]) == set(by_digest[:2]) and set(paths[1]) == set(by_digest[2:4])


def test_a_folder_s_split_does_not_depend_on_where_it_lies(folder, tmp_path):
    before = open_corpus(str(folder))
    moved = folder.rename(tmp_path / "elsewhere")
    after = open_corpus(str(moved))
    assert corpus_digest(before) == corpus_digest(after)


def test_changing_a_byte_changes_the_digest(folder):
    before = corpus_digest(open_corpus(str(folder)))
    path = folder / "shelf1" / "book1.txt"
    path.write_text(path.read_text().replace("x", "y", 1))
    assert corpus_digest(open_corpus(str(folder))) != before


def test_a_folder_reads_its_text_files_only(folder):
    (folder / "picture.png").write_bytes(b"\xff\xfe")
    (folder / ".hidden.txt").write_text("hidden")
    (folder / ".git").mkdir()
    (folder / ".git" / "notes.txt").write_text("hidden")
    (folder / "empty.txt").touch()
    (folder / "packed.txt.gz").write_bytes(gzip.compress(b"packed"))
    paths = {document.path.name for documents in open_corpus(str(folder)).splits.values() for document in documents}
    assert paths == {f"book{number}.txt" for number in range(40)} | {"packed.txt.gz"}


def test_even_three_unequal_files_give_three_splits(tmp_path):
    for name, size in (("a.txt", 1), ("b.txt", 1), ("c.txt", 1000)):
        (tmp_path / name).write_text("x" * size)
    assert [len(part) for part in open_corpus(str(tmp_path)).splits.values()] == [1, 1, 1]


def test_whole_text_has_one_split(folder):
    corpus = whole_text(str(folder))
    assert list(corpus.splits) == ["text"]
    assert text_of(corpus, "text").count("x") == 40 * 97


# The standard library ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stdlib():
    return open_corpus("stdlib")


def test_standard_library_is_split_by_file(stdlib):
    sizes = sizes_of(stdlib)
    total = sum(sizes.values())
    assert 5e6 < total < 20e6
    assert 0.05 <= sizes["test"] / total < 0.07 and 0.05 <= sizes["valid"] / total < 0.07
    assert stdlib.origin == f"Python {platform.python_version()}"


def test_standard_library_is_the_library_s_source_alone(stdlib):
    paths = [document.path for documents in stdlib.splits.values() for document in documents]
    assert len(set(paths)) == len(paths)
    assert {"os.py", "argparse.py", "asyncio/tasks.py"} <= {"/".join(path.parts[-2:]) for path in paths} | {
        path.name for path in paths
    }
    folders = {part for path in paths for part in path.parts}
    assert not folders & {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "pydoc_data"}
    assert not any(path.name.startswith("_sysconfigdata") for path in paths), "differs between machines"


# Bad input -----------------------------------------------------------------------------------------------------------


def test_missing_corpus(tmp_path):
    with pytest.raises(InputError, match="data.corpus: no file or folder '.*boks.txt'; give a text file, a folder"):
        open_corpus(str(tmp_path / "boks.txt"))


@pytest.mark.parametrize("name", ["", "x" * 300, "~nobody-of-this-name/x", "ptb"])
def test_what_can_be_no_file(name):
    with pytest.raises(InputError, match="--text: no file or folder '.*'; give a text file, a folder, '-'$"):
        whole_text(name)


def test_a_corpus_with_splits_of_its_own_is_not_offered_where_it_is_refused(tmp_path):
    (tmp_path / "a").write_text("text")
    with pytest.raises(InputError, match="data.corpus: 'stdlib' is split in a way of its own; leave out"):
        open_corpus("stdlib", valid=str(tmp_path / "a"), test=str(tmp_path / "a"))
    with pytest.raises(InputError, match="data.corpus: no file or folder ''; .* '-', 'stdlib', 'ptb'"):
        open_corpus("")


def test_missing_file_of_a_split(tmp_path):
    (tmp_path / "a").write_text("text")
    with pytest.raises(InputError, match="data.test: no file or folder 'nowhere'"):
        open_corpus(str(tmp_path / "a"), valid=str(tmp_path / "a"), test="nowhere")


def test_only_one_of_two_splits(tmp_path):
    with pytest.raises(InputError, match="data.valid, data.test: only one is given"):
        open_corpus(str(tmp_path), valid=str(tmp_path))


def test_empty_file(tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match="data.corpus: '.*empty.txt' is empty; expected text"):
        open_corpus(str(tmp_path / "empty.txt"))


def test_empty_standard_input(tmp_path, standard_input):
    standard_input(b"")
    with pytest.raises(InputError, match="data.corpus: '-' is empty"):
        open_corpus("-", cache=tmp_path)


def test_file_too_short_to_be_split(tmp_path):
    (tmp_path / "text.txt").write_text("short")
    with pytest.raises(InputError, match="text.txt' has 5 bytes, too few to be split.*--data.valid FILE"):
        open_corpus(str(tmp_path / "text.txt"))


def test_small_splits_of_long_lines_are_not_passed_over(tmp_path):
    (tmp_path / "text.txt").write_text(("word " * 1000 + "\n") * 200)
    parts = open_corpus(str(tmp_path / "text.txt"), shares=(0.001, 0.001)).splits
    size = (tmp_path / "text.txt").stat().st_size
    assert all(0.0005 * size <= part.stop - part.start <= 0.0015 * size for (part,) in (parts["valid"], parts["test"]))


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    scan = os.scandir

    def refuse(place):
        if place != str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    (folder / "closed").mkdir()
    with pytest.raises(InputError, match="data.corpus: folder '.*' cannot be read .Permission denied.; mend its perm"):
        open_corpus(str(folder))


def test_a_name_that_is_no_utf_8_is_a_name(folder):
    path = os.fsencode(folder) + b"/caf\xe9.txt"
    with open(path, "w") as file:
        file.write("some text\n")
    documents = [part for split in open_corpus(str(folder)).splits.values() for part in split]
    assert os.fsdecode(path) in [str(document.path) for document in documents]


def test_what_cannot_be_read_is_told_from_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    with open(tmp_path / "write_only", "w") as file:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=open(file.fileno(), "rb", closefd=False)))
        with pytest.raises(InputError, match="data.corpus: cannot read 'standard input' .Bad file descriptor"):
            open_corpus("-", cache=tmp_path)


def test_folder_without_text(tmp_path):
    (tmp_path / "a.js").write_text("let a")
    with pytest.raises(InputError, match=r"has no text in files ending in .txt, .*it has .js \(1\): .*name a file"):
        open_corpus(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it has nothing"):
        open_corpus(str(tmp_path / "empty"))


def test_folder_with_two_files(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    with pytest.raises(InputError, match="has 2 text files, and a split by file needs 3"):
        open_corpus(str(tmp_path))


def test_python_without_source(tmp_path, monkeypatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(InputError, match="no source text of its standard library.*--data.corpus FILE"):
        open_corpus("stdlib")


def test_shares_of_a_folder_are_those_of_the_splits_that_they_are_for(tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"{number:02}" + "x" * 97 + "\n")
    splits = open_corpus(str(tmp_path), shares=(0.05, 0.1)).splits
    assert {split: len(parts) for split, parts in splits.items()} == {"train": 34, "valid": 2, "test": 4}
