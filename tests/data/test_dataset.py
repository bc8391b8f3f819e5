"""A corpus as ids: the same ids as encoding the whole text, kept on disk, made again when damaged."""

import json
import tracemalloc

import numpy as np
import pytest

from jaxrnn.data import dataset as module
from jaxrnn.data import reading
from jaxrnn.data.corpora import open_corpus, whole_text
from jaxrnn.data.dataset import prepare
from jaxrnn.data.text import BYTE, CHARACTER, TOKENIZERS, WHITESPACE, WORD
from jaxrnn.data.vocabulary import Vocabulary, build_vocabulary, decode, encode
from jaxrnn.errors import InputError

TEXT = {"train": "the cat sat\non the mat\n" * 9 + "é", "valid": "the mat sat\n", "test": "a zebra sat\n"}


def opened(folder):
    """The corpus whose splits are the files `train`, `valid` and `test` of a folder."""
    return open_corpus(str(folder / "train"), valid=str(folder / "valid"), test=str(folder / "test"))


@pytest.fixture
def corpus(tmp_path):
    for split, text in TEXT.items():
        (tmp_path / split).write_text(text)
    return opened(tmp_path)


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("block", [3, 1000])
def test_ids_are_those_of_the_whole_text(corpus, tmp_path, monkeypatch, tokenizer, block):
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    made = prepare(corpus, tokenizer, folder=tmp_path / "cache")
    for split, text in TEXT.items():
        assert made.ids[split].tolist() == encode(made.vocabulary, text).tolist()
        assert made.ids[split].dtype == np.uint8


def test_vocabulary_is_that_of_the_training_text(corpus, tmp_path):
    made = prepare(corpus, CHARACTER, folder=tmp_path / "cache")
    alone = build_vocabulary(CHARACTER, CHARACTER.tally(TEXT["train"]))
    assert made.vocabulary.symbols == (*alone.symbols, "\ufffd")
    assert made.unseen == {"train": 0, "valid": 0, "test": 3}, "z, b and r are new in test"
    assert decode(made.vocabulary, made.ids["test"]) == "a \ufffde\ufffd\ufffda sat\n"


def test_rare_symbols_are_left_out_on_request(corpus, tmp_path):
    made = prepare(corpus, CHARACTER, minimum_count=2, folder=tmp_path / "cache")
    assert "é" not in made.vocabulary.symbols and made.unseen["train"] == 1
    assert prepare(corpus._replace(minimum_count=2), CHARACTER, folder=tmp_path / "cache").vocabulary == made.vocabulary


def test_a_given_vocabulary_is_used(corpus, tmp_path):
    given = Vocabulary("whitespace", ("<unk>", "sat", "<eos>"))
    made = prepare(corpus, WHITESPACE, vocabulary=given, folder=tmp_path)
    assert made.vocabulary == given and made.ids["valid"].tolist() == [0, 0, 1, 2]
    text = prepare(whole_text(str(corpus.splits["test"][0].path)), WHITESPACE, vocabulary=given, folder=tmp_path)
    assert text.ids["text"].tolist() == made.ids["test"].tolist()


def test_ids_take_the_smallest_type(tmp_path):
    for size, dtype in ((256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")):
        assert module._dtype(Vocabulary("word", tuple(map(str, range(size))))) == dtype


def test_the_second_time_nothing_is_read_or_written(corpus, tmp_path, monkeypatch):
    first = prepare(corpus, WORD, folder=tmp_path / "cache")
    monkeypatch.setattr(module, "read", None)
    second = prepare(corpus, WORD, folder=tmp_path / "cache")
    assert second.vocabulary == first.vocabulary and second.unseen == first.unseen
    assert all((second.ids[split] == first.ids[split]).all() for split in TEXT)


def test_other_text_tokenizer_or_vocabulary_is_another_entry(corpus, tmp_path):
    prepare(corpus, WORD, folder=tmp_path / "cache")
    prepare(corpus, CHARACTER, folder=tmp_path / "cache")
    prepare(corpus, CHARACTER, minimum_count=2, folder=tmp_path / "cache")
    (tmp_path / "test").write_text("the hat\n")
    made = prepare(opened(tmp_path), CHARACTER, minimum_count=2, folder=tmp_path / "cache")
    assert decode(made.vocabulary, made.ids["test"]) == "the hat\n"
    assert len(list((tmp_path / "cache" / "ids").iterdir())) == 4


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw[:-1] + b"\xfe", lambda raw: b""])
def test_damaged_ids_are_made_again(corpus, tmp_path, damage):
    right = prepare(corpus, CHARACTER, folder=tmp_path / "cache").ids["train"].tolist()
    (path,) = (tmp_path / "cache" / "ids").glob("*/train.ids")
    path.write_bytes(damage(path.read_bytes()))
    assert prepare(corpus, CHARACTER, folder=tmp_path / "cache").ids["train"].tolist() == right


def test_a_damaged_vocabulary_is_made_again(corpus, tmp_path):
    right = prepare(corpus, CHARACTER, folder=tmp_path / "cache").vocabulary
    (path,) = (tmp_path / "cache" / "vocabularies").glob("*/vocabulary.json")
    path.write_text(json.dumps({"tokenizer": "character", "symbols": ["a"]}))
    assert prepare(corpus, CHARACTER, folder=tmp_path / "cache").vocabulary == right


def test_ids_are_read_only(corpus, tmp_path):
    ids = prepare(corpus, CHARACTER, folder=tmp_path / "cache").ids["train"]
    assert isinstance(ids, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 0


def test_unseen_symbols_without_an_unknown_one(corpus, tmp_path):
    given = build_vocabulary(CHARACTER, CHARACTER.tally(TEXT["train"]))
    made = prepare(corpus, CHARACTER, vocabulary=given, folder=tmp_path / "cache")
    assert made.unseen == {"train": 0, "valid": 0, "test": 3}
    assert decode(made.vocabulary, made.ids["test"]) == "a ea sat\n"


def test_a_text_of_unseen_symbols_only_is_refused(corpus, tmp_path):
    with pytest.raises(InputError, match="the split 'train' of .* holds no symbol of the vocabulary"):
        prepare(corpus, CHARACTER, vocabulary=Vocabulary("character", ("#",)), folder=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "ids").iterdir()), "nothing half-written"


def test_another_tokenizer_than_the_vocabulary_s(corpus, tmp_path):
    with pytest.raises(InputError, match="data.tokenizer: 'word', but the vocabulary was made by 'character'"):
        prepare(corpus, WORD, vocabulary=Vocabulary("character", ("a",)), folder=tmp_path)


def test_a_split_without_symbols(corpus, tmp_path):
    (tmp_path / "valid").write_text("  ")
    with pytest.raises(InputError, match="split 'valid' of .* holds no symbols"):
        prepare(opened(tmp_path), WHITESPACE, folder=tmp_path / "cache")


def test_text_that_is_not_utf8_trains_as_bytes(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("für\n".encode("latin-1") * 500)
    with pytest.raises(InputError, match=r"latin.txt: byte 1 \(0xfc\).*--data.tokenizer byte"):
        prepare(open_corpus(str(path)), CHARACTER, folder=tmp_path / "cache")
    made = prepare(open_corpus(str(path)), BYTE, folder=tmp_path / "cache")
    assert made.ids["train"][:4].tolist() == [0x66, 0xFC, 0x72, 0x0A]


def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    def peak(lines: int) -> int:
        path = tmp_path / f"{lines}.txt"
        path.write_text("the cat sat on the mat\n" * lines)
        tracemalloc.start()
        prepare(open_corpus(str(path)), CHARACTER, folder=tmp_path / "cache")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    monkeypatch.setattr(reading, "BLOCK_BYTES", 1 << 14)
    peak(1_000)  # what is allocated once
    assert peak(60_000) < 1.1 * peak(20_000)


# Real text -----------------------------------------------------------------------------------------------------------


def test_penn_treebank_has_the_published_counts(data, tmp_path):
    train, valid, test = (str(data / "ptb" / f"ptb.{split}.txt.gz") for split in ("train", "valid", "test"))
    made = prepare(open_corpus(train, valid=valid, test=test), WHITESPACE, folder=tmp_path)
    assert {split: len(ids) for split, ids in made.ids.items()} == {"train": 929589, "valid": 73760, "test": 82430}
    assert len(made.vocabulary.symbols) == 10000 and made.unseen == {"train": 0, "valid": 0, "test": 0}
    assert {split: len(np.unique(ids)) for split, ids in made.ids.items()} == {
        "train": 10000,
        "valid": 6022,
        "test": 6049,
    }


def test_tiny_shakespeare_has_the_published_counts(data, tmp_path):
    made = prepare(open_corpus(str(data / "tinyshakespeare" / "input.txt")), CHARACTER, folder=tmp_path)
    assert sum(map(len, made.ids.values())) == 1115394 and len(made.vocabulary.symbols) == 65
