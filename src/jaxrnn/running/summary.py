"""What the commands say about a run: how it begins, what it scores, and by what protocol."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn.config import Config, Data
from jaxrnn.context import Stretch
from jaxrnn.data.chunks import account
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.data.vocabulary import Vocabulary, fingerprint, unknown_id
from jaxrnn.evaluation import Evaluation, Score
from jaxrnn.ngrams import counted_part
from jaxrnn.running.experiment import Experiment, updates_per_epoch
from jaxrnn.running.position import Position
from jaxrnn.running.wording import layers_text, many, symbol_noun, table
from jaxrnn.settings import settings_of
from jaxrnn.types import Params

_BLOCK = 1 << 16


def characters(vocabulary: Vocabulary, ids: np.ndarray) -> int:
    """Count the characters that the targets of a text stand for: all symbols but the first.

    Args:
        vocabulary: what the ids mean.
        ids: `[N]` token ids.

    Returns:
        The number of characters, as the symbols are written: an unknown symbol counts as what stands for it.

    Example:
        >>> characters(Vocabulary("whitespace", ("<eos>", "the", "cat")), np.array([0, 1, 2, 0]))
        8
    """
    tokenizer = TOKENIZERS[vocabulary.tokenizer]
    if tokenizer.name == "character":
        return len(ids) - 1
    blocks = (np.asarray(ids[start : start + _BLOCK]).tolist() for start in range(0, len(ids), _BLOCK))
    whole = tokenizer.pieces(vocabulary.symbols[number] for number in chain.from_iterable(blocks))
    first = tokenizer.pieces(vocabulary.symbols[number] for number in ids[:1].tolist())
    return max(1, sum(map(len, whole)) - sum(map(len, first)))  # a first byte that is part of a character counts as one


def n_gram_names(bits: Sequence[float], counted: int | None = None) -> dict[str, float]:
    """Name the scores of n-grams of orders 1, 2, 3, ...

    Args:
        bits: one score an order.
        counted: how many symbols at the training text's beginning were counted, where these are not all
            (`jaxrnn.ngrams.counted_part`).

    Returns:
        The three that everybody knows, the best of all, and its order; `counted` where it is given.

    Example:
        >>> n_gram_names([4.5, 3.5, 2.5, 2.0, 2.1])["best_ngram"]
        2.0
    """
    named = dict(zip(("unigram", "bigram", "trigram"), bits, strict=False))
    named |= {"best_ngram": min(bits), "best_order": bits.index(min(bits)) + 1}
    return named if counted is None else named | {"counted": counted}


def introduction(experiment: Experiment, asked: str) -> str:
    """Say what is about to be trained, on what, and how.

    Args:
        experiment: the experiment.
        asked: the length that was asked for; minutes have become updates since.

    Returns:
        A few lines.
    """
    config, corpus, dataset = experiment.config, experiment.corpus, experiment.dataset
    data, model, optimizer = config.data, config.model, config.optimizer
    noun = symbol_noun(data.tokenizer)
    params = jax.eval_shape(experiment.learner.cell.init, jax.random.key(0))
    sizes = {split: len(ids) for split, ids in dataset.ids.items()}
    files = len({document.path for documents in corpus.splits.values() for document in documents})
    unseen = sum(dataset.unseen.values())
    tail = account(experiment.streams).dropped
    tail_is = "left to the next epoch" if data.circular else "dropped at the tail of a training epoch"
    epochs = experiment.updates / updates_per_epoch(config, experiment.streams)
    limits = {"norm": optimizer.clip_norm, "entries": optimizer.clip_value}
    clips = "".join(f", gradient {what} at most {most:g}" for what, most in limits.items() if math.isfinite(most))
    origin = "" if corpus.origin == corpus.name else f" ({corpus.origin})"
    shares = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
    measured = "" if asked == config.training.length else f"{asked}; as measured now, that is "
    drawn = f", logits of {model.vocabulary_sample:,} symbols" if model.vocabulary_sample else ""
    warmup = optimizer.warmup
    lower = f", which a warm-up of {many(warmup, 'update')} does not reach" if warmup >= experiment.updates else ""
    extras = f", dropout {model.dropout:g}" * (model.dropout > 0) + ", tied" * model.tie
    return table(
        ("corpus", f"{corpus.name}{origin}, {many(files, 'file')}, SHA-256 {dataset.digest[:16]}"),
        ("split", f"{shares} {noun}s; {many(tail, noun)} {tail_is}"),
        ("vocabulary", f"{_vocabulary(dataset.vocabulary)}, {many(unseen, noun)} {_fate(dataset.vocabulary)}"),
        ("model", f"{layers_text(model)}{extras}"),
        ("", f"{many(parameters(params), 'parameter')}"),
        ("gradient", f"{_rule(config)} over {_steps(data)}, {many(data.batch_size, 'stream')}{drawn}"),
        ("devices", _devices(experiment)),
        ("optimizer", f"{optimizer.name}, rate {optimizer.rate:g}{lower}, {optimizer.schedule}{clips}"),
        ("length", f"{measured}{many(experiment.updates, 'update')} = {epochs:.2f} epochs"),
    )


def _devices(experiment: Experiment) -> str:
    """What shares the rows of a batch."""
    mesh, processes = experiment.mesh, jax.process_count()
    kinds = {"cpu": "core", "gpu": "GPU", "tpu": "TPU"}
    kind = kinds.get(jax.default_backend(), "device") if mesh.size > 1 else jax.default_backend().upper()
    together = f", {experiment.config.data.batch_size // mesh.size} streams each" if mesh.size > 1 else ""
    apart = f", in {processes} processes" if processes > 1 else ""
    return f"{many(mesh.size, kind) if mesh.size > 1 else kind}{together}{apart}"


def n_gram_line(experiment: Experiment, bits: Sequence[float]) -> str:
    """Say what n-grams score on the test text.

    Args:
        experiment: the experiment.
        bits: one score an order, in bits per symbol.

    Returns:
        One line.
    """
    scores = "  ".join(f"{order}: {score:.3f}" for order, score in enumerate(bits, 1))
    noun = symbol_noun(experiment.config.data.tokenizer)
    part = _counted_on(counted_part(experiment.dataset), noun)
    return table(("n-grams", f"{scores}  bits per {noun} of the test text{part}"))


def best_n_gram_line(named: Mapping[str, float]) -> str:
    """Say what the best n-gram scores, to be read beneath a result.

    Args:
        named: see `n_gram_names`.

    Returns:
        One line.
    """
    score = f"{named['best_ngram']:.4f} bits per character: the best of them, of order {named['best_order']}"
    return table(("n-grams", score + _counted_on(named.get("counted"), "symbol")))


def _counted_on(counted: Any, noun: str) -> str:
    """What to add about n-grams of which only a part of the training text was counted."""
    return f", counted on the first {many(counted, noun)} of the training text" if counted else ""


def validation_line(position: Position, score: Score, training: str, n_gram: float, noun: str) -> str:
    """Say how a validation went.

    Args:
        position: where the run stands.
        score: on the validation text.
        training: what is to be said of training: bits per symbol, of late; empty for nothing.
        n_gram: what the best n-gram scores on the validation text.
        noun: what a symbol is.

    Returns:
        One line.
    """
    news = "new best" if position.stale == 0 else f"{position.stale} since the best"
    return (
        f"{position.updates:>7}: validation {score.bits:.3f} bits per {noun} ({training}{', ' if training else ''}"
        f"best n-gram {n_gram:.3f}), {news}"
    )


def parameters(params: Params) -> int:
    """Count the numbers in a tree of parameters.

    Args:
        params: the parameters.

    Returns:
        P.
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))


class Result(NamedTuple):
    """A score on a text, with all that is needed to compare it.

    Attributes:
        evaluation: the score and its protocol.
        characters: how many characters the targets stand for.
        vocabulary: what the ids mean.
        unseen: how many symbols of the text are not in it.
    """

    evaluation: Evaluation
    characters: int
    vocabulary: Vocabulary
    unseen: int = 0

    @property
    def bits_per_character(self) -> float:
        """The loss of the whole text in bits, over its characters."""
        return self.evaluation.score.loss_sum / math.log(2) / self.characters


def result_json(result: Result) -> dict[str, Any]:
    """A result as JSON has it.

    Args:
        result: the result.

    Returns:
        Score and protocol.
    """
    score, protocol = result.evaluation.score, result.evaluation.protocol
    return {
        "loss": score.nats,
        "perplexity": score.perplexity,
        "bits_per_character": result.bits_per_character,
        "targets": protocol.targets,
        "characters": result.characters,
        "streams": protocol.streams,
        "carry": protocol.carry,
        "tail": protocol.tail,
        "tokenizer": result.vocabulary.tokenizer,
        "vocabulary": fingerprint(result.vocabulary),
        "vocabulary_size": len(result.vocabulary.symbols),
        "unseen": result.unseen,
    }


def result_text(result: Result) -> str:
    """A result as a person reads it, with its protocol.

    Args:
        result: the result.

    Returns:
        A few lines.
    """
    score, protocol = result.evaluation.score, result.evaluation.protocol
    noun = symbol_noun(result.vocabulary.tokenizer)
    written = "" if noun == "character" else f" = {many(result.characters, 'character')}"
    fate = _fate(result.vocabulary)
    unseen = ("unseen", f"{many(result.unseen, noun)} of the text not in the vocabulary: {fate}")
    return table(
        ("loss", f"{score.nats:.4f} nats per {noun}"),
        ("perplexity", f"{score.perplexity:.3f} per {noun}"),
        ("bits", f"{result.bits_per_character:.4f} per character"),
        ("targets", f"{many(protocol.targets, noun)}{written}; the text's first symbol is context only"),
        ("streams", f"{protocol.streams}, side by side; tail: {protocol.tail}"),
        ("carry", protocol.carry),
        ("vocabulary", _vocabulary(result.vocabulary)),
        *([unseen] if result.unseen else []),
    )


def _rule(config: Config) -> str:
    """The gradient rule with its settings, such as "truncated (horizon 16)"; a budget of memory decides on segments."""
    settings = settings_of(config, "gradient.rule")
    if "gradient.memory" in settings:
        del settings["gradient.segment_length"]
    shown = ", ".join(f"{key.rpartition('.')[2].replace('_', ' ')} {value}" for key, value in settings.items())
    if config.gradient.rule == "truncated" and config.gradient.horizon == config.data.chunk_length:
        shown += ", the whole chunk: nothing is cut within it"
    return f"{config.gradient.rule} ({shown})" if shown else config.gradient.rule


def _steps(data: Data) -> str:
    """How long a chunk is."""
    return f"{data.chunk_length}{f' +- {data.chunk_spread:g}' if data.chunk_spread else ''} steps"


def context_text(stretches: Sequence[Stretch], noun: str, carry: str) -> str:
    """What symbols cost by context, as a person reads it.

    Args:
        stretches: lengths of context and their scores.
        noun: what a symbol is.
        carry: what became of the carry, in words.

    Returns:
        A line for each, beneath how that was measured.
    """
    protocol = table(("by context", f"the carry {carry}"))
    heading = f"{'context':>11} {'nats per ' + noun:>18} {'perplexity':>12} {'targets':>12}"
    names = [f"{s.first}" if s.first == s.last else f"{s.first} to {s.last}" for s in stretches]
    lines = [
        f"{name:>11} {s.score.nats:>18.4f} {s.score.perplexity:>12.3f} {int(s.score.weight):>12,}"
        for name, s in zip(names, stretches, strict=True)
    ]
    return "\n".join([protocol, heading, *lines])


def _fate(vocabulary: Vocabulary) -> str:
    """What becomes of the symbols that a vocabulary does not hold."""
    return "left out" if unknown_id(vocabulary) is None else "read as unknown"


def _vocabulary(vocabulary: Vocabulary) -> str:
    """A vocabulary in a few words."""
    size = many(len(vocabulary.symbols), symbol_noun(vocabulary.tokenizer))
    return f"{size}, fingerprint {fingerprint(vocabulary)[:16]}"
