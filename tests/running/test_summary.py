"""Figures of a run: characters behind symbols, baselines by name, the words of a result."""

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from jaxrnn import ngrams
from jaxrnn.config import Config, Data
from jaxrnn.context import Stretch
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.data.vocabulary import build_vocabulary, decode, encode
from jaxrnn.evaluation import CARRY, Evaluation, Protocol, Score
from jaxrnn.running.summary import (
    Result,
    best_n_gram_line,
    characters,
    context_text,
    n_gram_line,
    n_gram_names,
    result_json,
    result_text,
)
from jaxrnn.running.wording import in_short, symbol_noun

TEXT = " the cät sat\non  the 猫 mat\n\nand ran\n"


def known(tokenizer, text=TEXT):
    return build_vocabulary(TOKENIZERS[tokenizer], Counter(TOKENIZERS[tokenizer].split(text)))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_characters_are_those_of_the_text_that_the_targets_spell(tokenizer):
    vocabulary = known(tokenizer)
    ids = encode(vocabulary, TEXT)
    # The first symbol is no target. What it spells is taken off: nothing else of the text is.
    assert characters(vocabulary, ids) == len(decode(vocabulary, ids)) - len(decode(vocabulary, ids[:1]))


def test_characters_do_not_depend_on_how_the_text_is_read(monkeypatch):
    vocabulary = known("byte")
    ids = encode(vocabulary, TEXT)
    whole = characters(vocabulary, ids)
    monkeypatch.setattr("jaxrnn.running.summary._BLOCK", 3)  # smaller than some characters are in bytes
    assert characters(vocabulary, ids) == whole == len(TEXT) - 1


@pytest.mark.parametrize("text", ["é", "€", "aé"])
def test_bytes_of_one_character_stand_for_one(text):
    vocabulary = known("byte")
    assert characters(vocabulary, encode(vocabulary, text)) == 1


def test_every_tokenizer_has_a_noun_that_is_short_where_it_must_be():
    assert [symbol_noun(name) for name in TOKENIZERS] == ["character", "byte", "word", "word"]
    assert max(len(in_short(symbol_noun(name))) for name in TOKENIZERS) <= 4


def test_baselines_have_names():
    assert n_gram_names([4.0, 3.0, 2.5, 2.7]) == {
        "unigram": 4.0,
        "bigram": 3.0,
        "trigram": 2.5,
        "best_ngram": 2.5,
        "best_order": 3,
    }


def test_that_only_the_beginning_of_a_long_text_was_counted_is_said(monkeypatch):
    experiment = SimpleNamespace(
        config=Config(data=Data(tokenizer="word")), dataset=SimpleNamespace(ids={"train": np.zeros(5000, int)})
    )
    whole = n_gram_line(experiment, [4.0, 3.0])
    monkeypatch.setattr(ngrams, "COUNTED_IDS", 4000)
    assert n_gram_line(experiment, [4.0, 3.0]) == f"{whole}, counted on the first 4,000 words of the training text"
    all_counted, some = n_gram_names([4.0, 3.0]), n_gram_names([4.0, 3.0], 4000)
    assert some == all_counted | {"counted": 4000}
    of_part = f"{best_n_gram_line(all_counted)}, counted on the first 4,000 symbols of the training text"
    assert best_n_gram_line(some) == of_part


def test_costs_by_context_stand_beneath_what_became_of_the_carry():
    said = context_text(
        [Stretch(1, 1, Score(2.0, 1.0)), Stretch(2, 4, Score(6.0, 2.0))], "word", "initial now and then"
    )
    protocol, _, first, second = said.splitlines()
    assert protocol == "by context  the carry initial now and then"
    assert first.split() == ["1", "2.0000", "7.389", "1"] and second.split()[:4] == ["2", "to", "4", "3.0000"]


def test_bits_per_character_spread_the_loss_of_words_over_their_characters():
    vocabulary = known("whitespace", "the cat sat")
    ids = np.array(encode(vocabulary, "the cat sat cat"))
    evaluation = Evaluation(Score(12.0, 3.0), Protocol(2, CARRY, "1 places of padding", 3), None)
    result = Result(evaluation, characters(vocabulary, ids), vocabulary)
    assert result.characters == len(" cat sat cat")
    answer = result_json(result)
    assert answer["loss"] == 4.0 and answer["perplexity"] == math.exp(4.0)
    assert answer["bits_per_character"] == pytest.approx(12.0 / math.log(2) / 12)
    assert (answer["targets"], answer["streams"], answer["tokenizer"]) == (3, 2, "whitespace")
    said = result_text(result)
    assert "54.598 per word" in said and "3 words = 12 characters" in said and CARRY in said
