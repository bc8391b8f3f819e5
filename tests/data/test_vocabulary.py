"""Vocabularies: which symbols they hold, what happens to others, and what their fingerprint says."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.text import BYTE, CHARACTER, WHITESPACE, WORD
from jaxrnn.data.vocabulary import Vocabulary, build_vocabulary, decode, encode, fingerprint, from_json, to_json
from jaxrnn.errors import InputError


@given(text=st.text(min_size=1, max_size=80))
def test_encode_and_decode_are_inverse(text):
    for tokenizer in (CHARACTER, WORD):
        vocabulary = build_vocabulary(tokenizer, tokenizer.tally(text))
        ids = encode(vocabulary, text, exact=True)
        assert decode(vocabulary, ids) == text
        assert sorted(set(ids.tolist())) == list(range(len(vocabulary.symbols))), "every symbol of the text has an id"


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_bytes_read_everything(text):
    vocabulary = build_vocabulary(BYTE, Counter())
    ids = encode(vocabulary, text, exact=True)
    assert bytes(ids.tolist()) == text.encode() and decode(vocabulary, ids) == text


def test_symbols_come_by_frequency_then_by_code_point():
    assert build_vocabulary(CHARACTER, Counter("bbbcaca")).symbols == ("b", "a", "c")


def test_unknown_symbol_joins_only_where_it_is_needed():
    counts = Counter("aab")
    assert build_vocabulary(CHARACTER, counts).symbols == ("a", "b")
    assert build_vocabulary(CHARACTER, counts, elsewhere="ba").symbols == ("a", "b")
    assert build_vocabulary(CHARACTER, counts, elsewhere="bc").symbols == ("a", "b", "\ufffd")
    assert build_vocabulary(CHARACTER, counts, minimum_count=2).symbols == ("a", "\ufffd")
    assert build_vocabulary(WHITESPACE, Counter(["a", "<unk>"]), elsewhere=["c"]).symbols == ("<unk>", "a")


def test_unseen_symbols_are_named():
    vocabulary = Vocabulary("character", ("a", "b"))
    with pytest.raises(InputError, match=r"prompt: 'x', 'é' not in the vocabulary"):
        encode(vocabulary, "axéxb", name="prompt")
    with pytest.raises(InputError, match="and 4 more"):
        encode(vocabulary, "abcdefghijklmn")
    with pytest.raises(InputError, match="'zebra' not in"):
        encode(Vocabulary("word", ("a", " ")), "a zebra")


def test_unseen_symbols_become_unknown_unless_they_must_be_exact():
    vocabulary = Vocabulary("whitespace", ("<eos>", "the", "<unk>"))
    assert encode(vocabulary, "the zebra\n").tolist() == [1, 2, 0]
    with pytest.raises(InputError, match="'zebra'"):
        encode(vocabulary, "the zebra\n", exact=True)


def test_undecodable_argument_is_an_unseen_symbol_or_a_byte():
    argument = b"\xff".decode("utf-8", "surrogateescape")
    with pytest.raises(InputError, match="udcff"):
        encode(Vocabulary("character", ("a",)), argument)
    assert encode(build_vocabulary(BYTE, Counter()), argument).tolist() == [255]


def test_fingerprint_depends_on_tokenizer_symbols_and_order():
    vocabularies = [
        Vocabulary("character", ("a", "b")),
        Vocabulary("character", ("b", "a")),
        Vocabulary("word", ("a", "b")),
        Vocabulary("word", ("ab",)),
        Vocabulary("word", ('a", "b',)),
    ]
    assert len({fingerprint(vocabulary) for vocabulary in vocabularies}) == len(vocabularies)
    assert fingerprint(vocabularies[0]) == fingerprint(Vocabulary("character", ("a", "b")))


def test_json_round_trips_every_kind_of_symbol():
    vocabulary = Vocabulary("character", ("\n", '"', "\x00", "é", "𝔘", "\ufffd"))
    assert from_json(to_json(vocabulary)) == vocabulary


@pytest.mark.parametrize("spoil", ["symbols", "tokenizer", "fingerprint"])
def test_changed_vocabulary_is_refused(spoil):
    content = json.loads(to_json(Vocabulary("character", ("a", "b"))))
    content[spoil] = {"symbols": ["b", "a"], "tokenizer": "word", "fingerprint": "0" * 64}[spoil]
    with pytest.raises(InputError, match="run/vocabulary.json: .*changed"):
        from_json(json.dumps(content), name="run/vocabulary.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"tokenizer": [], "symbols": 3, "fingerprint": ""}'])
def test_what_is_no_vocabulary_is_refused(text):
    with pytest.raises(InputError, match="not a vocabulary"):
        from_json(text)


@pytest.mark.parametrize("wrong", [-1, 2])
def test_an_id_of_no_symbol_is_refused(wrong):
    with pytest.raises(InputError, match=f"decode: id {wrong}: expected 0 to 1"):
        decode(Vocabulary("character", ("a", "b")), [0, wrong])


def test_ids_are_found_whatever_their_type():
    vocabulary = Vocabulary("character", ("a", "b"))
    assert decode(vocabulary, np.array([1, 0], np.uint8)) == "ba" == decode(vocabulary, [1, 0])
