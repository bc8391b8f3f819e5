"""N-gram baselines against the same recursion written with dictionaries and loops."""

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn import ngrams
from jaxrnn.data.corpora import open_corpus
from jaxrnn.data.dataset import prepare
from jaxrnn.data.text import CHARACTER
from jaxrnn.ngrams import (
    HIGHEST_ORDER,
    baselines,
    bits_per_symbol,
    count_ngrams,
    counted_part,
    ngram_probabilities,
)

TEXTS = st.integers(1, 5).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.lists(st.integers(0, size - 1), min_size=6, max_size=80),
        st.lists(st.integers(0, size - 1), min_size=2, max_size=40),
    )
)


class Reference:
    """Witten-Bell by definition: for every context the symbols that followed it, in a dictionary."""

    def __init__(self, train, vocabulary_size):
        self.vocabulary_size = vocabulary_size
        self.following = defaultdict(lambda: defaultdict(int))
        for order in range(1, HIGHEST_ORDER + 1):
            for end in range(order - 1, len(train)):
                self.following[tuple(train[end - order + 1 : end])][train[end]] += 1

    def probability(self, symbol, context):
        shorter = self.probability(symbol, context[1:]) if context else 1 / self.vocabulary_size
        if context not in self.following:
            return shorter
        followers = self.following[context]
        total, kinds = sum(followers.values()), len(followers)
        return (followers.get(symbol, 0) + kinds * shorter) / (total + kinds)

    def at(self, text, position, order):
        return self.probability(text[position], tuple(text[max(0, position - order + 1) : position]))


@pytest.mark.parametrize("codes", [0, 300, ngrams._CODES], ids=["one by one", "some at once", "all at once"])
@given(texts=TEXTS)
def test_probabilities_are_those_of_the_definition(texts, codes):
    size, train, text = texts
    reference = Reference(train, size)
    expected = [[reference.at(text, t, n) for t in range(len(text))] for n in range(1, HIGHEST_ORDER + 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "_CODES", codes)
        counted = count_ngrams(np.array(train, np.uint8), size)
    got = ngram_probabilities(counted, np.array(text, np.uint8), size)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0)


@given(texts=TEXTS)
def test_probabilities_of_all_next_symbols_sum_to_one(texts):
    size, train, context = texts
    counted = count_ngrams(np.array(train), size)
    following = [ngram_probabilities(counted, np.array([*context, symbol]), size)[:, -1] for symbol in range(size)]
    np.testing.assert_allclose(np.sum(following, axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
def test_bits_are_the_mean_over_the_targets_whatever_the_block(monkeypatch, block):
    rng = np.random.default_rng(0)
    train, text = rng.integers(0, 4, 300), rng.integers(0, 4, 50).astype(np.uint8)
    reference = Reference(train.tolist(), 4)
    expected = [
        -sum(math.log2(reference.at(text.tolist(), t, n)) for t in range(1, 50)) / 49
        for n in range(1, HIGHEST_ORDER + 1)
    ]
    monkeypatch.setattr(ngrams, "_SCORED_IDS", block)
    bits = bits_per_symbol(count_ngrams(train, 4), text, 4)
    np.testing.assert_allclose(bits, expected, rtol=1e-12)


def test_large_vocabularies_do_not_overflow():
    size = 50_000  # size ** 6 has 94 bits
    train = np.random.default_rng(0).integers(0, size, 2000)
    text = train[:40]
    reference = Reference(train.tolist(), size)
    got = ngram_probabilities(count_ngrams(train, size), text, size)[-1]
    np.testing.assert_allclose(got, [reference.at(text.tolist(), t, 6) for t in range(40)], rtol=1e-12)


def test_what_repeats_is_predicted_by_longer_contexts():
    period = np.tile(np.arange(5), 400)
    bits = bits_per_symbol(count_ngrams(period, 5), period[:100], 5)
    assert bits[0] == pytest.approx(math.log2(5), abs=1e-2) and max(bits[1:]) < 0.02


def test_a_text_shorter_than_the_highest_order():
    assert len(count_ngrams(np.array([0, 1]), 2)) == 2


@pytest.fixture
def made(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a rose is a rose is a rose\n" * 60)
    return prepare(open_corpus(str(path)), CHARACTER, folder=tmp_path / "cache")


def test_baselines_score_the_splits_and_are_kept(made, tmp_path, monkeypatch):
    first = baselines(made, folder=tmp_path / "cache")
    size = len(made.vocabulary.symbols)
    counted = count_ngrams(made.ids["train"], size)
    assert first == {split: bits_per_symbol(counted, made.ids[split], size) for split in ("valid", "test")}
    assert len(first["test"]) == 6 and first["test"][5] < first["test"][2] < first["test"][0]
    monkeypatch.setattr(ngrams, "count_ngrams", None)
    assert baselines(made, folder=tmp_path / "cache") == first


def test_the_beginning_of_a_split_is_scored_by_itself(made, tmp_path):
    whole = baselines(made, folder=tmp_path / "cache")
    cut = made._replace(ids=made.ids | {"valid": made.ids["valid"][:20]})
    size = len(made.vocabulary.symbols)
    expected = bits_per_symbol(count_ngrams(made.ids["train"], size), made.ids["valid"][:20], size)
    assert baselines(cut, folder=tmp_path / "cache") == whole | {"valid": expected}


def test_only_the_beginning_of_a_long_text_is_counted(made, tmp_path, monkeypatch):
    assert counted_part(made) is None
    monkeypatch.setattr(ngrams, "COUNTED_IDS", len(made.ids["train"]))
    assert counted_part(made) is None
    monkeypatch.setattr(ngrams, "COUNTED_IDS", 100)
    assert counted_part(made) == 100
    size = len(made.vocabulary.symbols)
    expected = bits_per_symbol(count_ngrams(made.ids["train"][:100], size), made.ids["test"], size)
    assert baselines(made, folder=tmp_path / "cache")["test"] == expected


def test_another_vocabulary_or_order_is_counted_anew(tmp_path):
    (tmp_path / "text.txt").write_text("a rose is a rose is a rose\n" * 60)
    corpus, folder = open_corpus(str(tmp_path / "text.txt")), tmp_path / "cache"
    made, few = (prepare(corpus, CHARACTER, minimum_count=least, folder=folder) for least in (1, 120))
    whole = baselines(made, folder=folder)
    assert baselines(made, highest_order=2, folder=folder) == {split: bits[:2] for split, bits in whole.items()}
    assert baselines(few, folder=folder) != whole
