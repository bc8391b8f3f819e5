"""N-gram baselines: how well counting predicts the same text.

Interpolated n-grams with Witten-Bell smoothing::

    P_n(w | h) = (c(h w) + d(h) P_{n-1}(w | h')) / (c(h) + d(h))        P_0(w) = 1 / V

`c(h w)` is how often `w` follows the context `h` of `n - 1` symbols in the training text, `c(h)` the sum of that over
`w`, `d(h)` how many different symbols follow `h`, and `h'` is `h` without its oldest symbol. Where `h` never occurred
(or the text has no `n - 1` symbols yet), `P_n = P_{n-1}`.

Every n-gram has a number: its place among the sorted codes `number of its first n-1 symbols * V + last symbol`. So a
code fits 64 bits at any order and any vocabulary. One sort counts as many orders as fit 64 bits together: where n-grams
are sorted, so are the shorter ones that they begin with.

References:
    Ian Witten, Timothy Bell, "The zero-frequency problem: estimating the probabilities of novel events in adaptive text
    compression", IEEE Transactions on Information Theory 37(4), 1991 (method C).
    Stanley Chen, Joshua Goodman, "An empirical study of smoothing techniques for language modeling", Harvard TR-10-98,
    1998 (Witten-Bell smoothing as an interpolated recursion).
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrnn.data import cache
from jaxrnn.data.dataset import Dataset
from jaxrnn.data.vocabulary import fingerprint

HIGHEST_ORDER = 6
COUNTED_IDS = 20_000_000
"""At most so many ids at the training text's beginning are counted, so that memory stays bounded."""

_SCORED_IDS = 1 << 18
_CODES = 1 << 63  # different ones that fit into an int64
_FORMAT = 1


class Counts(NamedTuple):
    """The n-grams of one order `n` in a training text.

    Attributes:
        codes: `[n-grams]` their codes, sorted.
        counts: `[n-grams]` how often each occurs, `c(h w)`.
        total: `[contexts]` how often a symbol follows each context, `c(h)`; by the number of the context.
        kinds: `[contexts]` how many different symbols follow it, `d(h)`.
    """

    codes: np.ndarray
    counts: np.ndarray
    total: np.ndarray
    kinds: np.ndarray


def count_ngrams(ids: np.ndarray, vocabulary_size: int, highest_order: int = HIGHEST_ORDER) -> tuple[Counts, ...]:
    """The counts of orders 1 to `highest_order` in a text.

    Args:
        ids: `[N]` token ids of the training text.
        vocabulary_size: how many symbols there are, `V`.
        highest_order: the longest n-gram counted.

    Returns:
        One `Counts` an order; of a text shorter than `highest_order`, as many as it has symbols.

    Cost:
        Time: one sort of `N` integers for six orders of characters, two for six of 10,000 words. Memory: about `60 N`
        bytes, and 16 for every different n-gram, 16 for every context.

    Example:
        >>> singles, pairs = count_ngrams(np.array([0, 1, 0, 1, 1]), 2, highest_order=2)
        >>> singles.counts.tolist(), pairs.codes.tolist(), pairs.counts.tolist()  # pairs 01, 10, 11
        ([2, 3], [1, 2, 3], [2, 1, 1])
    """
    highest_order = min(highest_order, len(ids))
    base = vocabulary_size + 1  # one more symbol, for the places behind the text's end
    padded = np.append(np.asarray(ids, np.int64), np.full(highest_order, vocabulary_size))
    codes, known = np.zeros(len(ids), np.int64), np.zeros(1, np.int64)  # of the empty context, at every place
    counted: list[Counts] = []
    while len(counted) < highest_order:
        codes = np.searchsorted(known, codes[: len(ids) - len(counted)])
        before = np.arange(len(known))
        orders = _orders_at_once(len(known), base, highest_order - len(counted))
        for order in range(len(counted), len(counted) + orders):
            codes *= base
            codes += padded[order:][: len(codes)]
        kept, count = _runs(np.sort(codes))
        for left in reversed(range(orders)):
            counts, before = _one_order(kept // base**left, count, before, base)
            counted.append(counts)
        known = before
    return tuple(counted)


def _orders_at_once(number_of_contexts: int, base: int, wanted: int) -> int:
    """How many symbols, one at least, can follow the number of a context in one code."""
    return max([1, *(orders for orders in range(1, wanted + 1) if number_of_contexts * base**orders < _CODES)])


def _runs(values: np.ndarray, count: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The different ones of sorted values, and the count of each: how many there are, or their sum."""
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    if count is None:
        return values[starts], np.diff(starts, append=len(values))
    return values[starts], np.add.reduceat(count, starts)


def _one_order(values: np.ndarray, count: np.ndarray, before: np.ndarray, base: int) -> tuple[Counts, np.ndarray]:
    """The n-grams of one order from sorted `value of the first n-1 symbols * base + last symbol`, and their values.

    `before` are the values of the n-grams one symbol shorter; the place among them is the number of a context.
    """
    values, count = _runs(values, count)
    whole = values % base < base - 1
    values, count = values[whole], count[whole]
    of = np.searchsorted(before, values // base)
    total = np.bincount(of, weights=count, minlength=len(before)).astype(np.int64)
    codes = of * (base - 1) + values % base
    return Counts(codes, count, total, np.bincount(of, minlength=len(before))), values


def ngram_probabilities(counted: tuple[Counts, ...], ids: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """The probability that each order gives to each symbol of a text, after the symbols before it.

    Args:
        counted: the counts of a training text.
        ids: `[N]` token ids.
        vocabulary_size: how many symbols there are, `V`.

    Returns:
        `[orders, N]` probabilities, float64. Position `t` has the `t` symbols before it as context, at most `n - 1`.

    Example:
        >>> counted = count_ngrams(np.array([0, 1, 0, 1, 0]), 2, highest_order=2)
        >>> ngram_probabilities(counted, np.array([0, 1]), 2).round(3).tolist()
        [[0.571, 0.429], [0.571, 0.81]]
    """
    symbols = ids.astype(np.int64)
    contexts = np.zeros(len(ids), np.int64)  # -1: a context that never occurred, or is not there
    lower = np.full(len(ids), 1 / vocabulary_size)
    probabilities = np.empty((len(counted), len(ids)))
    for order, level in enumerate(counted):
        codes = contexts * vocabulary_size + symbols
        numbers = np.minimum(np.searchsorted(level.codes, codes), len(level.codes) - 1)
        occurred = level.codes[numbers] == codes  # never after context -1: codes below 0 are not there
        count = np.where(occurred, level.counts[numbers], 0)
        total, kinds = (np.where(contexts >= 0, of[contexts], 0) for of in (level.total, level.kinds))
        follows = total > 0
        lower = np.where(follows, (count + kinds * lower) / np.where(follows, total + kinds, 1), lower)
        probabilities[order] = lower
        contexts = np.concatenate([[-1], np.where(occurred, numbers, -1)[:-1]])
    return probabilities


def bits_per_symbol(counted: tuple[Counts, ...], ids: np.ndarray, vocabulary_size: int) -> list[float]:
    """The mean of `-log2 P_n` over the `N - 1` targets of a text, for each order `n`.

    The first symbol is context only, as it is for a network: both are scored on the same targets.

    Args:
        counted: the counts of a training text.
        ids: `[N]` token ids, `N >= 2`.
        vocabulary_size: how many symbols there are, `V`.

    Returns:
        Bits per symbol, one number an order.

    Cost:
        Memory: a block of ids at a time.

    Example:
        >>> counted = count_ngrams(np.tile([0, 1], 100), 2, highest_order=2)
        >>> [round(bits, 2) for bits in bits_per_symbol(counted, np.tile([0, 1], 10), 2)]
        [1.0, 0.01]
    """
    sums = np.zeros(len(counted))
    for start in range(1, len(ids), _SCORED_IDS):
        before = min(start, len(counted) - 1)
        block = np.asarray(ids[start - before : start + _SCORED_IDS])
        sums -= np.log2(ngram_probabilities(counted, block, vocabulary_size)[:, before:]).sum(axis=1)
    return (sums / (len(ids) - 1)).tolist()


def counted_part(dataset: Dataset) -> int | None:
    """Tell how much of a long training text is counted.

    Args:
        dataset: a corpus as ids.

    Returns:
        How many ids at its beginning; None where all are counted.
    """
    return COUNTED_IDS if len(dataset.ids["train"]) > COUNTED_IDS else None


def baselines(
    dataset: Dataset, *, highest_order: int = HIGHEST_ORDER, folder: Path | None = None
) -> dict[str, list[float]]:
    """Bits per symbol of the n-gram baselines on every split but the training one, from the cache if they are there.

    Args:
        dataset: a corpus as ids, with a split `train`, of which no more than the first `COUNTED_IDS` are counted. Other
            splits may be the beginnings of what they were.
        highest_order: the longest n-gram counted.
        folder: the cache folder; None for the usual one (`cache.cache_folder`).

    Returns:
        For each split, bits per symbol of the orders 1 to `highest_order`.

    Raises:
        InputError: the cache cannot be written.
    """
    size = len(dataset.vocabulary.symbols)

    splits = [split for split in dataset.ids if split != "train"]

    def build(new: Path) -> None:
        """Count, score and write."""
        counted = count_ngrams(dataset.ids["train"][: counted_part(dataset)], size, highest_order)
        scores = {split: bits_per_symbol(counted, dataset.ids[split], size) for split in splits}
        (new / "bits.json").write_text(json.dumps(scores, indent=1))

    scored = {split: len(dataset.ids[split]) for split in splits}
    name = cache.key(_FORMAT, dataset.digest, fingerprint(dataset.vocabulary), highest_order, COUNTED_IDS, scored)
    return json.loads((cache.entry(cache.cache_folder(folder) / "ngrams", name, build) / "bits.json").read_text())
