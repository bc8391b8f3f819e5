"""The laws of the tokenizers."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.text import BYTE, CHARACTER, TOKENIZERS, WHITESPACE, WORD

TEXTS = st.text(
    alphabet=st.one_of(st.sampled_from(" \nab_1.,é’𝔘\x00\u2028"), st.characters(codec="utf-8")), max_size=60
)
BYTES = st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))
EACH = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


def texts(tokenizer):
    return BYTES if tokenizer is BYTE else TEXTS


@EACH
@given(data=st.data())
def test_tally_counts_what_split_gives(tokenizer, data):
    text = data.draw(texts(tokenizer))
    assert tokenizer.tally(text) == Counter(tokenizer.split(text))


@EACH
@given(data=st.data())
def test_lookup_gives_positions_and_minus_one_for_the_unseen(tokenizer, data):
    text, known = data.draw(texts(tokenizer)), data.draw(texts(tokenizer))
    symbols = sorted(set(tokenizer.split(known)))
    expected = [symbols.index(symbol) if symbol in symbols else -1 for symbol in tokenizer.split(text)]
    ids = tokenizer.lookup(symbols)(text)
    assert ids.tolist() == expected and ids.dtype == "int32"


@EACH
@given(data=st.data())
def test_cutting_tears_no_symbol(tokenizer, data):
    text, more = data.draw(texts(tokenizer)), data.draw(texts(tokenizer))
    i = tokenizer.cut(text)
    assert 0 <= i <= len(text)
    torn = [*tokenizer.split(text[:i]), *tokenizer.split(text[i:] + more)]
    assert torn == list(tokenizer.split(text + more))


@EACH
def test_cutting_finds_a_place_in_ordinary_text(tokenizer):
    text = "one two\nthree fo"
    assert tokenizer.cut(text) == (len(text) if tokenizer in (CHARACTER, BYTE) else len("one two\nthree "))


@pytest.mark.parametrize("tokenizer", [CHARACTER, WORD], ids=lambda t: t.name)
@given(text=TEXTS)
def test_round_trip_is_exact(tokenizer, text):
    assert "".join(tokenizer.pieces(tokenizer.split(text))) == text


@given(text=TEXTS)
def test_bytes_round_trip_through_utf8(text):
    pieces = list(BYTE.pieces(text.encode().decode("latin-1")))
    assert "".join(pieces) == text
    assert all(pieces), "no piece is empty: each comes with the last byte of its character"


def test_bytes_that_are_not_utf8_are_shown_as_replacement_characters():
    assert "".join(BYTE.pieces("a\xffb\xe2\x82")) == "a\ufffdb\ufffd"


@given(lines=st.lists(st.lists(st.text(alphabet="abc<>$", min_size=1), max_size=5), max_size=5))
def test_whitespace_form_round_trips_lines_of_words(lines):
    text = "".join(" ".join(words) + "\n" for words in lines)
    assert "".join(WHITESPACE.pieces(WHITESPACE.split(text))) == text


def test_words_keep_punctuation_spaces_and_newlines():
    assert WORD.split("if x_1 == 'é':\n") == ["if", " ", "x_1", " ", "=", "=", " ", "'", "é", "'", ":", "\n"]


def test_penn_treebank_form_ends_lines_with_eos():
    assert WHITESPACE.split(" no it was n't \n  black monday \n") == "no it was n't <eos> black monday <eos>".split()


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_line_ends_in_the_symbol_that_is_named_and_form_is_kept_where_it_is_said_to_be(tokenizer):
    text = "two  spaces\nand\n\nlines\n"
    assert Counter(tokenizer.split(text))[tokenizer.line_end] == 4
    assert ("".join(tokenizer.pieces(tokenizer.split(text))) == text) == tokenizer.keeps_form
