"""What a trained model scores with help: while it learns from the text, or with a cache of what it has read.

How much help is chosen on the validation text alone, from the grids below; the text in question is then scored once.
"""

from collections.abc import Callable, Sequence
from itertools import islice, product
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.build import build_trunk
from jaxrnn.data.chunks import Streams
from jaxrnn.dynamic import Adaptation, make_dynamic_evaluate, make_mean_squares
from jaxrnn.evaluation import Evaluation, Score
from jaxrnn.gradients import bptt, given, tell
from jaxrnn.pointer import Pointer, make_pointer_evaluate
from jaxrnn.running import summary
from jaxrnn.running.run_text import find_beginning
from jaxrnn.running.scorer import by_lines, scored_chunks
from jaxrnn.running.trained import Trained
from jaxrnn.running.wording import many, symbol_noun, table

ADAPTATIONS = tuple(Adaptation(rate, decay) for rate, decay in product((3e-4, 1e-3, 3e-3), (0.0, 3e-3, 1e-2, 3e-2)))
POINTERS = tuple(Pointer(*way) for way in product((0.1, 0.3, 1.0, 3.0), (0.05, 0.1, 0.2), (100, 500, 2000)))


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
    """

    choice: Any
    valid: Score
    evaluation: Evaluation


def with_dynamic(best: Trained, texts: Texts, grid: Sequence[Adaptation] = ADAPTATIONS) -> Helped:
    """Score a model that goes on learning from the text; steps are scaled by the gradients of the training text.

    Args:
        best: the model.
        texts: see `Texts`; chunks are what is learned from at a time.
        grid: what to choose from.

    Returns:
        The best choice and its scores.
    """
    estimator = bptt(best.cell, given)
    evaluate = make_dynamic_evaluate(estimator)

    def carry(text: Streams) -> Any:
        return best.cell.initial_carry((text.batch_size,))

    measured = islice(scored_chunks(texts.train), sum(1 for _ in scored_chunks(texts.valid)))
    squares = make_mean_squares(estimator)(best.params, carry(texts.train), map(tell, measured))

    def score(text: Streams, ways: Sequence[Adaptation]) -> list[Evaluation]:
        return [evaluate(best.params, carry(text), map(tell, scored_chunks(text)), way, squares) for way in ways]

    return _said_of_lines(_choose(score, texts, grid), best)


def with_cache(best: Trained, texts: Texts, grid: Sequence[Pointer] = POINTERS) -> Helped:
    """Score a model with a cache of the hidden states and symbols that it has met in the text.

    Args:
        best: the model.
        texts: see `Texts`.
        grid: what to choose from.

    Returns:
        The best choice and its scores.
    """
    config, vocabulary = best.config, best.vocabulary
    begins_at = find_beginning(config.data, vocabulary)
    trunk = build_trunk(config.model, len(vocabulary.symbols), config.regularizer, begins_at)
    evaluate = make_pointer_evaluate(trunk)

    def score(text: Streams, ways: Sequence[Pointer]) -> list[Evaluation]:
        return evaluate(best.params, trunk.initial_carry((text.batch_size,)), scored_chunks(text), ways)

    return _said_of_lines(_choose(score, texts, grid), best)


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
        "valid_loss": helped.valid.nats,
    }


def helped_text(name: str, helped: Helped, result: summary.Result) -> str:
    """A score with help as a person reads it.

    Args:
        name: of the help.
        helped: how it was chosen.
        result: on the text in question.

    Returns:
        Two lines.
    """
    score, noun = result.evaluation.score, symbol_noun(result.vocabulary.tokenizer)
    ways = ", ".join(f"{key} {value:g}" for key, value in helped.choice._asdict().items())
    scores = f"perplexity {score.perplexity:.3f} per {noun}, {result.bits_per_character:.4f} bits per character"
    chosen_on = f"chosen on {many(int(helped.valid.weight), noun)} of the validation text"
    return table((name, scores), ("", f"{ways}; {chosen_on}"))


def _choose(score: Callable[[Streams, Any], list[Evaluation]], texts: Texts, grid: Sequence[Any]) -> Helped:
    """The best of a grid on the validation text, and what it scores on the other."""
    valid = score(texts.valid, grid)
    losses = [evaluation.score.nats for evaluation in valid]
    number = int(np.argmin(np.nan_to_num(losses, nan=np.inf)))  # NaN where learning went astray
    (evaluation,) = score(texts.scored, [grid[number]])
    return Helped(grid[number], valid[number].score, evaluation)


def _said_of_lines(helped: Helped, best: Trained) -> Helped:
    """The same, with a protocol that says whether the model starts anew with each line."""
    return helped._replace(evaluation=by_lines(helped.evaluation, best.config.data.separate_lines))
