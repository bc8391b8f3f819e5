"""Datasets: a corpus as token ids on disk, made once, then memory-mapped.

The text is read twice in blocks, first to count its symbols and then to encode it; neither the text nor the ids are
ever whole in memory, so a corpus larger than memory can be trained on.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.data import cache
from jaxrnn.data.corpora import Corpus, corpus_digest
from jaxrnn.data.reading import Document, read
from jaxrnn.data.text import TOKENIZERS, Tokenizer
from jaxrnn.data.vocabulary import (
    Vocabulary,
    build_vocabulary,
    fingerprint,
    from_json,
    replace_unseen,
    to_json,
    unknown_id,
)
from jaxrnn.errors import InputError

_FORMAT = 3  # raise it when the same text would be encoded to other ids


class Dataset(NamedTuple):
    """A corpus as token ids.

    Attributes:
        vocabulary: what the ids mean.
        ids: for each split `[N]` ids in the smallest unsigned dtype, a read-only memory map.
        unseen: for each split, how many symbols of the text are not in the vocabulary. They are read as its unknown
            symbol; a vocabulary that has none leaves them out.
        digest: SHA-256 that stands for the corpus's text and its splits; a run keeps it.
    """

    vocabulary: Vocabulary
    ids: dict[str, np.ndarray]
    unseen: dict[str, int]
    digest: str


def prepare(
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    vocabulary: Vocabulary | None = None,
    minimum_count: int | None = None,
    folder: Path | None = None,
) -> Dataset:
    """The token ids of a corpus, from the cache if they are there.

    Args:
        corpus: the text in its splits.
        tokenizer: what makes symbols of it.
        vocabulary: the symbols and their ids, as a run has kept them; None counts them in the split `train`.
        minimum_count: a symbol that occurs less often in training is read as the unknown symbol; None leaves it to
            the corpus.
        folder: the cache folder; None for the usual one (`cache.cache_folder`).

    Returns:
        The ids of every split, and the vocabulary.

    Raises:
        InputError: text is not UTF-8, a split has no symbols, or none that is in the vocabulary, or the cache cannot
            be written.

    Cost:
        Time, the first time: two passes over the text, then one over the ids. After that: one pass over the ids
        (their SHA-256 is checked). Memory: a few blocks of `reading.BLOCK_BYTES`.
    """
    place = cache.cache_folder(folder)
    digest = corpus_digest(corpus)
    if vocabulary is None:
        least = corpus.minimum_count if minimum_count is None else minimum_count
        vocabulary = _counted_vocabulary(corpus, tokenizer, least, digest, place)
    elif vocabulary.tokenizer != tokenizer.name:
        raise InputError(
            f"data.tokenizer: '{tokenizer.name}', but the vocabulary was made by '{vocabulary.tokenizer}'; use that"
        )
    known = vocabulary
    name = cache.key(_FORMAT, digest, fingerprint(known))
    entry = cache.entry(place / "ids", name, lambda new: _encode_splits(corpus, known, new))
    about = json.loads((entry / "ids.json").read_text())
    ids = {split: _map(entry / _file(split), about[split]) for split in corpus.splits}
    return Dataset(known, ids, {split: about[split]["unseen"] for split in corpus.splits}, digest)


def _counted_vocabulary(corpus: Corpus, tokenizer: Tokenizer, least: int, digest: str, place: Path) -> Vocabulary:
    """The vocabulary of the corpus's training split, from the cache if it is there."""

    def build(folder: Path) -> None:
        """Count every split and write the vocabulary."""
        counts = {split: _count(documents, tokenizer) for split, documents in corpus.splits.items()}
        elsewhere = set().union(*counts.values())
        most = max(counts["train"].values(), default=0)
        if 0 < most < least:
            raise InputError(f"data.minimum_count = {least}: no symbol is there so often; expected at most {most}")
        built = build_vocabulary(tokenizer, counts["train"], elsewhere=elsewhere, minimum_count=least)
        (folder / "vocabulary.json").write_text(to_json(built), encoding="utf-8")

    if tokenizer.alphabet:
        return build_vocabulary(tokenizer, Counter())
    name = cache.key(_FORMAT, digest, tokenizer.name, least)
    path = cache.entry(place / "vocabularies", name, build) / "vocabulary.json"
    return from_json(path.read_text(encoding="utf-8"), name=str(path))


def _count(documents: tuple[Document, ...], tokenizer: Tokenizer) -> Counter[str]:
    """How often each symbol occurs in the documents."""
    counts: Counter[str] = Counter()
    for text in read(documents, tokenizer.encoding, tokenizer.cut):
        counts.update(tokenizer.tally(text))
    return counts


def _encode_splits(corpus: Corpus, vocabulary: Vocabulary, folder: Path) -> None:
    """Write each split's ids as bare numbers, and beside them what is needed to read them."""
    about = {}
    for split, documents in corpus.splits.items():
        about[split] = {"dtype": _dtype(vocabulary).str, "length": 0, "unseen": 0}
        with open(folder / _file(split), "wb") as file:
            for ids, unseen in _encoded(documents, vocabulary):
                file.write(ids.tobytes())
                about[split]["length"] += len(ids)
                about[split]["unseen"] += unseen
        if not about[split]["length"]:
            none = "holds no symbol of the vocabulary" if about[split]["unseen"] else "holds no symbols"
            key = "--text" if split == "text" else "data.corpus"
            source = f", from {documents[0].path}," if len(documents) == 1 else ""
            raise InputError(f"{key}: the split '{split}' of '{corpus.name}'{source} {none}; expected text")
    (folder / "ids.json").write_text(json.dumps(about, indent=1))


def _encoded(documents: tuple[Document, ...], vocabulary: Vocabulary) -> Iterator[tuple[np.ndarray, int]]:
    """The ids of the documents in blocks, each with how many symbols of the text were not in the vocabulary."""
    tokenizer = TOKENIZERS[vocabulary.tokenizer]
    lookup = tokenizer.lookup(vocabulary.symbols)
    has_unknown = unknown_id(vocabulary) is not None
    for text in read(documents, tokenizer.encoding, tokenizer.cut):
        ids = lookup(text)
        unseen = int(np.count_nonzero(ids < 0))
        known = replace_unseen(vocabulary, ids) if has_unknown else ids[ids >= 0]
        yield known.astype(_dtype(vocabulary)), unseen


def _dtype(vocabulary: Vocabulary) -> np.dtype:
    """The smallest unsigned type that holds every id."""
    return np.min_scalar_type(len(vocabulary.symbols) - 1)


def _file(split: str) -> str:
    """The name of a split's file in an entry."""
    return f"{split}.ids"


def _map(path: Path, about: dict[str, Any]) -> np.ndarray:
    """A split's ids, read from disk where they are looked at."""
    return np.memmap(path, dtype=about["dtype"], mode="r", shape=(about["length"],))
