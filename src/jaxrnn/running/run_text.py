"""The text of a run: opened, held against what the run keeps about it, and told in what it keeps."""

import json
import os
import shlex
import sys

import numpy as np

from jaxrnn import build
from jaxrnn.config import Config, Data
from jaxrnn.data.corpora import STANDARD_INPUT, STDLIB, Corpus, corpus_digest, whole_text
from jaxrnn.data.dataset import Dataset, prepare
from jaxrnn.data.named import NAMED
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.data.vocabulary import Vocabulary, fingerprint, from_json, line_end
from jaxrnn.errors import InputError
from jaxrnn.running.runs import Run


def open_text(
    config: Config, run: Run | None = None, *, command: str | None = None, vocabulary: Vocabulary | None = None
) -> tuple[Corpus, Dataset]:
    """Open the text that a configuration names.

    Args:
        config: the configuration.
        run: a run that was trained on it: then the text must still be the same, and its vocabulary is used.
        command: the name of the one that asks, where it would read another text with `--text`.
        vocabulary: the symbols where there is no run; None counts them in the training text.

    Returns:
        The text in its splits, and as ids.

    Raises:
        InputError: if the text is missing, not readable, or no longer the one that the run was trained on.
    """
    build.check_names(config)
    corpus = build.build_corpus(config.data) if run is None else _opened_again(config, run, command)
    if run is not None:
        vocabulary, about = kept_vocabulary(run), kept_corpus(run)
        if corpus_digest(corpus) != about["digest"]:
            raise InputError(
                f"data.corpus = {config.data.corpus!r} ({corpus.origin}): not the text that {run.folder} was trained "
                f"on ({about['origin']}); its SHA-256 is another: restore that text, or start a new run"
            )
    tokenizer = TOKENIZERS[config.data.tokenizer]
    return corpus, prepare(corpus, tokenizer, vocabulary=vocabulary, minimum_count=config.data.minimum_count)


def open_other(source: str, vocabulary: Vocabulary) -> tuple[str, Corpus, Dataset]:
    """Open a text that is not the run's own, all of it one split, "text".

    Args:
        source: a file, a folder, a `.gz`, or - for standard input.
        vocabulary: the symbols of the run.

    Returns:
        The text's name, such as "text of book.txt", the text, and the same as ids.

    Raises:
        InputError: if it is missing or not readable.
    """
    corpus = whole_text(source)
    name = f"text of {'standard input' if source == STANDARD_INPUT else source}"
    return name, corpus, prepare(corpus, TOKENIZERS[vocabulary.tokenizer], vocabulary=vocabulary)


def _opened_again(config: Config, run: Run, command: str | None) -> Corpus:
    """The text of a run; what came from standard input has to come from there again."""
    if config.data.corpus != STANDARD_INPUT:
        try:
            return build.build_corpus(config.data)
        except InputError as error:
            if config.data.corpus in (STDLIB, *NAMED) or os.path.exists(os.path.expanduser(config.data.corpus)):
                raise
            moved = f"jaxrnn train --run {shlex.quote(str(run.folder))} --resume --data.corpus PLACE"
            raise InputError(f"{error}; paths count from the folder that you are in; if it moved: {moved}") from None
    asked = f"jaxrnn {command} {run.folder}" if command else "jaxrnn ..."
    again = f"give the same text again, as in: cat TEXT | {asked}"
    again += f"; or name another: {asked} --text FILE" if command else ""
    missing = InputError(f"{run.folder}: was trained on standard input, where there is no text now; {again}")
    if sys.stdin is None or sys.stdin.isatty():
        raise missing
    try:
        return build.build_corpus(config.data)
    except InputError as error:
        raise InputError(f"{missing} ({error})") from None


def kept_corpus(run: Run) -> dict:
    """Read what a run keeps about its text: see `about_text`.

    Args:
        run: the run.

    Returns:
        The content of `corpus.json`.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        about = json.loads(run.corpus.read_text(encoding="utf-8"))
        missing = {"origin", "digest", "vocabulary", "splits"} - set(about)
        if missing:
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{run.corpus}: cannot be read ({error}); restore the file, or start a new run") from None
    return about


def kept_vocabulary(run: Run) -> Vocabulary:
    """Read the symbols of a run.

    Args:
        run: the run.

    Returns:
        The vocabulary.

    Raises:
        InputError: if it is missing, or not the one that the run was started with.
    """
    try:
        text = run.vocabulary.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{run.vocabulary}: cannot be read ({error}); restore the file") from None
    vocabulary = from_json(text, name=str(run.vocabulary))
    if fingerprint(vocabulary) != kept_corpus(run)["vocabulary"]:
        raise InputError(f"{run.vocabulary}: not the vocabulary that {run.folder} was started with; restore the file")
    return vocabulary


def validation_ids(config: Config, dataset: Dataset) -> np.ndarray:
    """Choose what a validation scores: the validation text, or its beginning.

    Args:
        config: the configuration.
        dataset: the text as ids.

    Returns:
        `[N]`, with at most `training.validate_targets` targets.
    """
    return dataset.ids["valid"][: config.training.validate_targets + 1]


def find_beginning(data: Data, vocabulary: Vocabulary) -> int | None:
    """Find the symbol at which the network is to start anew.

    Args:
        data: the section.
        vocabulary: the symbols.

    Returns:
        The id of a line's end, if lines are separate texts; else None.

    Raises:
        InputError: if they are to be, and the vocabulary has no such symbol.
    """
    if not data.separate_lines:
        return None
    end = line_end(vocabulary)
    if end is None:
        raise InputError("data.separate_lines: the training text has no line's end; leave it out")
    return end


def about_text(corpus: Corpus, dataset: Dataset) -> dict:
    """What a run keeps about its text.

    Args:
        corpus: the text in its splits.
        dataset: the text as ids.

    Returns:
        What JSON can hold.
    """
    splits = {
        name: {"documents": len(documents), "symbols": len(dataset.ids[name]), "unseen": dataset.unseen[name]}
        for name, documents in corpus.splits.items()
    }
    return {
        "name": corpus.name,
        "origin": corpus.origin,
        "digest": dataset.digest,
        "splits": splits,
        "vocabulary": fingerprint(dataset.vocabulary),
        "vocabulary_size": len(dataset.vocabulary.symbols),
    }
