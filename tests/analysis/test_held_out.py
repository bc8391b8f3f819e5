"""Held-out text: which files, how much of each, and labels that do not depend on where a split cuts a file."""

import numpy as np
import pytest

from jaxrnn.analysis.held_out import halves, read_held_out
from jaxrnn.analysis.labels import STRING, python_labels, text_labels
from jaxrnn.data.corpora import open_corpus, whole_text
from jaxrnn.data.dataset import prepare
from jaxrnn.data.text import BYTE, CHARACTER, WHITESPACE, WORD
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError

SOURCE = "def f(a):\n    '''It says\n    \"é\".'''\n    if a:  # so\n        return [a, 'b']\n"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXRNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def held_out(folder, tokenizer=CHARACTER, length=10_000, **more):
    corpus = open_corpus(str(folder), valid=str(folder), test=str(folder))
    dataset = prepare(corpus, tokenizer)
    return read_held_out(corpus.splits["test"], dataset.vocabulary, length, **more), dataset.vocabulary


@pytest.mark.parametrize("tokenizer", [CHARACTER, BYTE, WORD, WHITESPACE], ids=lambda tokenizer: tokenizer.name)
def test_every_symbol_has_its_text_its_id_and_its_labels(tmp_path, tokenizer):
    (tmp_path / "a.py").write_text(SOURCE, "utf-8")
    text, vocabulary = held_out(tmp_path, tokenizer)
    read = SOURCE if tokenizer.encoding == "utf-8" else SOURCE.encode().decode("latin-1")
    assert [vocabulary.symbols[number] for number in text.ids] == list(tokenizer.split(read))
    joined = "".join(text.pieces) if tokenizer is not BYTE else SOURCE
    ends = np.cumsum([len(piece) for piece in text.pieces]) - 1
    if tokenizer is BYTE:  # what a character says holds after its last byte
        ends = [len(SOURCE.encode()[: stop + 1].decode(errors="ignore")) - 1 for stop in range(len(text.ids))]
    expected = text_labels(joined) | (python_labels(joined) if tokenizer is not WHITESPACE else {})
    assert set(text.labels) == set(expected)
    for name, values in text.labels.items():
        np.testing.assert_array_equal(values, expected[name][ends])


def test_a_split_that_begins_in_the_middle_of_a_string_knows_it(tmp_path):
    path = tmp_path / "one.py"
    path.write_text("x = '''\n" + "text in a string\n" * 300 + "'''\n", "utf-8")
    corpus = open_corpus(str(path))
    vocabulary = prepare(corpus, CHARACTER).vocabulary
    text = read_held_out(corpus.splits["test"], vocabulary, 10_000)
    assert text.labels[STRING][:-3].all() and not text.labels[STRING][-2:].any()
    assert "".join(text.pieces) == path.read_text("utf-8")[-len(text.pieces) :]


def test_of_much_text_each_file_gives_as_much_as_it_takes_and_none_is_torn_within_a_line(tmp_path):
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"line {number}\n" * (2 if number == 3 else 100))
    text, _ = held_out(tmp_path, length=800)
    pieces = ["".join(part) for part in np.split(np.array(text.pieces), text.starts[1:])]
    assert len(pieces) == len(text.files) == 12 and all(len(piece) <= 72 for piece in pieces)  # (800 - 14) / 11
    assert all(piece.endswith("\n") and len(set(piece.splitlines())) == 1 for piece in pieces)
    assert 11 * 64 < len(text.ids) <= 800 and "line 3\n" * 2 in pieces and STRING not in text.labels


def test_small_files_of_long_words_leave_more_to_the_others(tmp_path):
    """Sizes are in bytes; a file of 121 of them has 40 words and blanks."""
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text(("abcde " * 20)[:120] + "\n")
    (tmp_path / "large.txt").write_text(("abcde " * 20 + "\n") * 280)
    text, _ = held_out(tmp_path, WORD, length=1500)
    assert len(text.ids) >= 1500 and len(text.files) == 10


def test_bytes_that_are_no_text_are_labelled_as_they_are(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one \xff two\n")
    text, _ = held_out(tmp_path, BYTE)
    assert text.labels["after a newline"].tolist() == [False] * 9 + [True]


@pytest.mark.parametrize("lines", range(300, 308))
def test_bytes_that_are_cut_within_a_character_are_text_all_the_same(tmp_path, lines):
    """A split that begins, and a beginning that ends, at any byte: what is torn says what held before it."""
    path = tmp_path / "a.txt"
    path.write_text("здесь мир\n" * lines, "utf-8")
    corpus = open_corpus(str(path))
    vocabulary = prepare(corpus, BYTE).vocabulary
    for length in (101, 102, 10_000):
        text = read_held_out(corpus.splits["test"], vocabulary, length)
        assert text.labels["position in the line"].max() == 9
        assert text.labels["end of a word"].sum() <= 2 * text.labels["after a newline"].sum() + 1


def test_no_file_is_refused_and_one_without_a_symbol_is_not(tmp_path):
    vocabulary = Vocabulary("character", ("a",))
    with pytest.raises(InputError, match="documents"):
        read_held_out([], vocabulary, 100)
    (tmp_path / "a.txt").write_text("xyz")
    text = read_held_out(whole_text(str(tmp_path)).splits["text"], vocabulary, 100)
    assert len(text.ids) == len(text.pieces) == 0 and text.unseen == 3 and len(text.files) == 1


def test_python_in_bytes_is_python(tmp_path):
    (tmp_path / "a.py").write_text('é = "x"\n', "utf-8")
    text, _ = held_out(tmp_path, BYTE)
    assert not text.left_out and text.labels[STRING].tolist() == [False] * 5 + [True] * 2 + [False] * 2


def test_all_is_read_where_it_is_no_more_than_is_wanted(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"line {number}\n" * 10 ** (number + 1))
    text, _ = held_out(tmp_path, length=100_000)
    assert len(text.ids) == 7 * 1110


def test_a_text_is_parted_where_a_file_begins(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"line {number}\n" * 100)
    text, _ = held_out(tmp_path, length=2800)
    first, second = halves(text)
    assert first.files + second.files == text.files and len(first.files) == 2
    assert len(first.ids) == 1400 and first.starts.tolist() == second.starts.tolist() == [0, 700]
    for part in (first, second):
        np.testing.assert_array_equal(part.labels["after a newline"], [piece == "\n" for piece in part.pieces])
    one, other = halves(first._replace(starts=first.starts[:1], files=first.files[:1]))
    assert one.files == other.files and len(one.ids) == len(other.ids) == 700


def test_a_file_that_is_no_python_is_left_out_by_name(tmp_path):
    (tmp_path / "good.py").write_text(SOURCE, "utf-8")
    (tmp_path / "bad.py").write_text("print 'a\n", "utf-8")
    text, _ = held_out(tmp_path)
    assert text.left_out == (f"{tmp_path.name}/bad.py",) and text.files == (f"{tmp_path.name}/good.py",)
    (tmp_path / "good.py").unlink()
    with pytest.raises(InputError, match="not Python"):
        held_out(tmp_path)


def test_labels_of_ones_own(tmp_path):
    (tmp_path / "a.txt").write_text("one two\nthree\n")

    def vowels(text):
        return {"vowel": np.array([character in "aeiou" for character in text])}

    text, _ = held_out(tmp_path, functions=[vowels])
    assert text.labels["vowel"].tolist() == [piece in "aeiou" for piece in text.pieces]
    odd = r"label 'odd': the shape is \(.*\(14,\), one value for each character of .*a.txt"
    for values in (np.zeros(3), np.zeros((14, 1)), np.array(True)):
        with pytest.raises(InputError, match=odd):
            held_out(tmp_path, functions=[lambda text, values=values: {"odd": values}])


def test_a_label_that_fails_on_some_files_is_not_taken_for_files_that_are_no_python(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.py").write_text(f"a = {number}\n")

    def picky(text):
        if "1" in text:
            raise InputError("picky: no 1, please")
        return {"picky": np.zeros(len(text))}

    with pytest.raises(InputError, match=f"{tmp_path.name}/1.py: picky: no 1, please"):
        held_out(tmp_path, more=[picky])


def test_two_labels_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE, "utf-8")
    mine, builtin = (lambda text, name=name: {name: np.arange(len(text))} for name in ("mine", STRING))
    for more, name in (([mine, mine], "mine"), ([builtin], STRING)):
        with pytest.raises(InputError, match=f"label '{name}': there are two of this name; rename one"):
            held_out(tmp_path, more=more)


def test_a_symbol_that_the_model_does_not_know_is_left_out_and_labels_stay_true(tmp_path):
    (tmp_path / "a.py").write_text("a = '?b'\n")
    documents = open_corpus(str(tmp_path), valid=str(tmp_path), test=str(tmp_path)).splits["test"]
    text = read_held_out(documents, Vocabulary("character", tuple("ab ='\n")), 100)
    assert (
        "".join(text.pieces) == "a = 'b'\n" and text.labels[STRING].tolist() == [False] * 4 + [True] * 2 + [False] * 2
    )
    assert text.unseen == 1 == sum(half.unseen for half in halves(text))
    text = read_held_out(documents, Vocabulary("character", tuple("ab ='\n\ufffd")), 100)
    assert "".join(text.pieces) == "a = '?b'\n" and text.ids[5] == 6 and text.unseen == 0


@pytest.mark.parametrize(
    ("name", "nothing", "tokenizer"), [("b.py", b"\xef\xbb\xbf", CHARACTER), ("b.txt", b"   ", WHITESPACE)]
)
def test_a_file_without_a_symbol_does_no_harm(tmp_path, name, nothing, tokenizer):
    (tmp_path / f"a{name[1:]}").write_text("a = 1\n")
    (tmp_path / name).write_bytes(nothing)
    text = read_held_out(whole_text(str(tmp_path)).splits["text"], Vocabulary(tokenizer.name, (*"a =1",)), 100)
    assert len(text.files) == 2 and text.pieces[0] == "a" and len(text.ids) == len(text.labels["end of a word"]) >= 3


def test_a_piece_does_not_end_within_a_string(tmp_path):
    """The model would take the next file for the rest of it."""
    for number in range(3):
        (tmp_path / f"{number}.py").write_text("a = 1\n" * 10 + "b = '''\n" + "text\n" * 100 + "'''\n")
    text, _ = held_out(tmp_path, length=600)
    assert len(text.files) == 3 and text.starts.tolist() == [0, 60, 120] and len(text.ids) == 180
    assert "".join(text.pieces) == "a = 1\n" * 30 and not text.labels[STRING].any()


def test_labels_of_ones_own_may_come_beside_those_that_fit(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE, "utf-8")
    text, _ = held_out(tmp_path, more=[lambda text: {"place": np.arange(len(text))}])
    assert {STRING, "indentation", "place"} <= set(text.labels) and text.labels["place"].tolist() == list(
        range(len(text.ids))
    )
