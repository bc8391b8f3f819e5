"""What a trained model scores with help: while it learns from the text, or with a cache of what it has read.

How much help is chosen on the validation text alone, from the grids below; the text in question is then scored once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice, product
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jaxrnn.build import build_trunk
from jaxrnn.data.chunks import Streams, rows
from jaxrnn.dynamic import Adaptation, make_dynamic_evaluate, make_mean_squares
from jaxrnn.evaluation import Evaluation, Score
from jaxrnn.gradients import Chunk, bptt, given, tell
from jaxrnn.pointer import Pointer, make_pointer_evaluate
from jaxrnn.running import summary
from jaxrnn.running.progress import progress
from jaxrnn.running.run_text import find_beginning
from jaxrnn.running.scorer import about_carry, count_scored, scored_chunks
from jaxrnn.running.trained import Trained
from jaxrnn.running.wording import many, symbol_noun, table

ADAPTATIONS = tuple(
    Adaptation(rate, decay) for rate, decay in product((3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (0.0, 3e-3, 1e-2, 3e-2))
)
POINTERS = tuple(Pointer(*way) for way in product((0.1, 0.3, 1.0, 3.0), (0.05, 0.1, 0.2), (100, 500, 2000, 5000)))
_CHOOSING, _SCORING = "choosing on the validation text", "scoring"


class Texts(NamedTuple):
    """The texts in question, cut as they are scored.

    Attributes:
        train: for the size of gradients.
        valid: to choose on.
        scored: the one that is asked for.
    """

    train: Streams
    valid: Streams
    scored: Streams


class Helped(NamedTuple):
    """A score with help.

    Attributes:
        choice: the best of the grid on the validation text.
        valid: its score there.
        evaluation: of the text that was asked for.
        at_edge: the settings whose best value is the smallest or the largest of the grid, though others are possible
            beyond it.
        chosen_on_scored: whether the validation text is the beginning of the text that was asked for.
    """

    choice: Any
    valid: Score
    evaluation: Evaluation
    at_edge: tuple[str, ...]
    chosen_on_scored: bool


def with_dynamic(best: Trained, texts: Texts, screen: Console, grid: Sequence[Adaptation] = ADAPTATIONS) -> Helped:
    """Score a model that goes on learning from the text; steps are scaled by the gradients of the training text.

    Args:
        best: the model.
        texts: see `Texts`; chunks are what is learned from at a time.
        screen: where to show how far the work is.
        grid: what to choose from.

    Returns:
        The best choice and its scores.
    """
    estimator = bptt(best.cell, given)
    evaluate = make_dynamic_evaluate(estimator)
    size = count_scored(texts.valid)
    measured = min(size, count_scored(texts.train))

    def carry(text: Streams) -> Any:
        return best.cell.initial_carry((text.batch_size,))

    with _chunks_shown(screen, "dynamic", measured + size * len(grid) + count_scored(texts.scored)) as chunks_of:
        train = chunks_of(texts.train, "measuring gradients on the training text", measured)
        squares = make_mean_squares(estimator)(best.params, carry(texts.train), map(tell, train))

        def score(text: Streams, ways: Sequence[Adaptation], doing: str) -> list[Evaluation]:
            return [evaluate(best.params, carry(text), map(tell, chunks_of(text, doing)), way, squares) for way in ways]

        return _choose(score, texts, grid, best.config.data.separate_lines)


def with_cache(best: Trained, texts: Texts, screen: Console, grid: Sequence[Pointer] = POINTERS) -> Helped:
    """Score a model with a cache of the hidden states and symbols that it has met in the text.

    Args:
        best: the model.
        texts: see `Texts`.
        screen: where to show how far the work is.
        grid: what to choose from.

    Returns:
        The best choice and its scores.
    """
    config, vocabulary = best.config, best.vocabulary
    begins_at = find_beginning(config.data, vocabulary)
    trunk = build_trunk(config.model, len(vocabulary.symbols), config.regularizer, begins_at)
    evaluate = make_pointer_evaluate(trunk)
    steps = max(int(rows(text)[1].max()) for text in (texts.valid, texts.scored))  # more there is not to remember
    grid = list(dict.fromkeys(way._replace(window=min(way.window, steps)) for way in grid))

    with _chunks_shown(screen, "cache", count_scored(texts.valid) + count_scored(texts.scored)) as chunks_of:

        def score(text: Streams, ways: Sequence[Pointer], doing: str) -> list[Evaluation]:
            return evaluate(best.params, trunk.initial_carry((text.batch_size,)), chunks_of(text, doing), ways)

        return _choose(score, texts, grid, config.data.separate_lines)


def helped_json(helped: Helped, result: summary.Result) -> dict[str, Any]:
    """A score with help as JSON has it.

    Args:
        helped: how it was chosen.
        result: on the text in question.

    Returns:
        The choice and both scores.
    """
    score = result.evaluation.score
    return helped.choice._asdict() | {
        "loss": score.nats,
        "perplexity": score.perplexity,
        "bits_per_character": result.bits_per_character,
        "carry": result.evaluation.protocol.carry,
        "chosen_on": int(helped.valid.weight),
        "chosen_on_scored": helped.chosen_on_scored,
        "at_edge": helped.at_edge,
        "valid_loss": helped.valid.nats,
    }


def helped_text(name: str, helped: Helped, result: summary.Result) -> str:
    """A score with help as a person reads it.

    Args:
        name: of the help.
        helped: how it was chosen.
        result: on the text in question.

    Returns:
        A few lines.
    """
    score, noun = result.evaluation.score, symbol_noun(result.vocabulary.tokenizer)
    scores = f"perplexity {score.perplexity:.3f} per {noun}, {result.bits_per_character:.4f} bits per character"
    ways = ", ".join(f"{key} {value:g}" for key, value in helped.choice._asdict().items())
    edge = f"; at the edge of what was tried: {', '.join(helped.at_edge)}" if helped.at_edge else ""
    flatters = "; they are part of the text scored here, so that the score flatters" if helped.chosen_on_scored else ""
    return table(
        (name, scores),
        ("", f"carry {result.evaluation.protocol.carry}"),
        ("", f"{ways}{edge}"),
        ("", f"chosen on {many(int(helped.valid.weight), noun)} of the validation text{flatters}"),
    )


@contextmanager
def _chunks_shown(screen: Console, name: str, total: int) -> Iterator[Callable[..., Iterator[Chunk]]]:
    """Read texts chunk by chunk, and show how many of the total have been dealt with."""
    with progress(screen, total) as shown:
        done = count(1)

        def chunks_of(text: Streams, doing: str, most: int | None = None) -> Iterator[Chunk]:
            for chunk in islice(scored_chunks(text), most):
                yield chunk
                shown.update(next(done), f"{name}: {doing}")

        yield chunks_of


def _choose(
    score: Callable[[Streams, Any, str], list[Evaluation]], texts: Texts, grid: Sequence[Any], separate_lines: bool
) -> Helped:
    """The best of a grid on the validation text, and what it scores on the other."""
    valid = score(texts.valid, grid, _CHOOSING)
    losses = [evaluation.score.nats for evaluation in valid]
    number = int(np.argmin(np.nan_to_num(losses, nan=np.inf)))  # NaN where learning went astray
    (evaluation,) = score(texts.scored, [grid[number]], _SCORING)
    protocol = evaluation.protocol
    protocol = protocol._replace(carry=about_carry(protocol.carry, separate_lines))
    return Helped(
        grid[number],
        valid[number].score,
        evaluation._replace(protocol=protocol),
        _at_edge(grid[number], grid, int(rows(texts.valid)[1].max())),
        np.array_equal(texts.valid.ids, texts.scored.ids[: len(texts.valid.ids)]),
    )


def _at_edge(choice: Any, grid: Sequence[Any], steps: int) -> tuple[str, ...]:
    """The settings of which only smaller or only larger values than the chosen one were tried, where both could be.

    None can be below 0; nor is there anything for a window to hold beyond a stream's steps.
    """
    most = {"decay": 1, "share": 1, "window": steps}

    def at_edge(name: str, value: float) -> bool:
        tried = {getattr(way, name) for way in grid}
        smallest, largest = 0 < value == min(tried), value == max(tried) < most.get(name, math.inf)
        return len(tried) > 1 and (smallest or largest)

    return tuple(name for name, value in choice._asdict().items() if at_edge(name, value))
