"""From names to things: the tables that turn a name in a configuration into a factory.

A cell or an estimator comes to the command line by one row here. Tokenizers, optimizers and schedules have their tables
beside their factories.
"""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any

import jax

from jaxrnn import cells, initializers
from jaxrnn.cell import Cell
from jaxrnn.choices import look_up
from jaxrnn.compose import (
    activation_penalty,
    dropout,
    language_model,
    language_trunk,
    locked_dropout,
    mixed_precision,
    stack,
    temporal_penalty,
    weight_drop,
    with_penalties,
    zoneout,
)
from jaxrnn.config import Config, Data, Gradient, Model, Regularizer, average_after
from jaxrnn.config import Optimizer as OptimizerSection
from jaxrnn.consistency import layers, state_size
from jaxrnn.data.corpora import Corpus, open_corpus
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.errors import InputError
from jaxrnn.gradients import (
    GradientEstimator,
    adaptive_bptt,
    bptt,
    checkpointed_bptt,
    geometric,
    given,
    randomized_bptt,
    rtrl,
    snap1,
    told,
    truncated_bptt,
    uoro,
)
from jaxrnn.gradients.budget import read_bytes
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.optimizers import OPTIMIZERS, Optimizer, optimizer
from jaxrnn.schedules import SCHEDULES, schedule
from jaxrnn.settings import flatten
from jaxrnn.types import Array

CELLS: dict[str, Callable[..., Cell]] = {
    "lstm": cells.lstm,
    "gru": cells.gru,
    "gru_reset_before": partial(cells.gru, reset_after=False),
    "peephole_lstm": cells.peephole_lstm,
    "coupled_lstm": cells.coupled_lstm,
    "projection_lstm": cells.projection_lstm,
    "layer_norm_lstm": cells.layer_norm_lstm,
    "layer_norm_gru": cells.layer_norm_gru,
    "mgu": cells.mgu,
    "min_gru": cells.min_gru,
    "elstm": cells.elstm,
    "elman": cells.elman,
    "elman_relu": partial(cells.elman, activation=jax.nn.relu),
}

UNREGULARIZED = Regularizer()

_ALL = ("w_ih", "w_hh", "b_ih", "b_hh")
INITIALIZERS: dict[str, Callable[[Model], dict[str, Any]]] = {
    "orthogonal": lambda model: {},  # what the cells do by themselves
    "uniform": lambda model: dict.fromkeys(_ALL, initializers.uniform(model.hidden_size)),
    "fan_in_normal": lambda model: dict.fromkeys(("w_ih", "w_hh"), initializers.fan_in_normal),
    "identity": lambda model: {"w_hh": initializers.identity()},
    "chrono": lambda model: {"b_ih": initializers.chrono(model.longest_memory), "forget_bias": 0.0},
}

ESTIMATORS: dict[str, Callable[[Gradient], Callable[..., GradientEstimator]]] = {
    "bptt": lambda gradient: bptt,
    "truncated": lambda gradient: partial(truncated_bptt, horizon=gradient.horizon),
    "adaptive": lambda gradient: partial(
        adaptive_bptt, longest=gradient.longest, target=gradient.target, every=gradient.measure_every
    ),
    "checkpointed": lambda gradient: partial(checkpointed_bptt, **_segments(gradient)),
    "randomized": lambda gradient: partial(
        randomized_bptt, segment_length=gradient.segment_length, truncation=geometric(gradient.cut_rate)
    ),
    "rtrl": lambda gradient: rtrl,
    "snap1": lambda gradient: snap1,
    "uoro": lambda gradient: uoro,
}


def _segments(gradient: Gradient) -> dict[str, Any]:
    """Either a length for the segments, or a budget of memory that decides it."""
    if gradient.memory:
        return {"memory": read_bytes(gradient.memory, "gradient.memory")}
    return {"segment_length": gradient.segment_length}


PRECISIONS: dict[str, Callable[[Cell], Cell]] = {"float32": lambda cell: cell, "bfloat16": mixed_precision}
ONLINE_RULES = ("rtrl", "snap1", "uoro")  # from the one that keeps most to the one that keeps least

NAMES: Mapping[str, Mapping[str, Any]] = {
    "data.tokenizer": TOKENIZERS,
    "model.cell": CELLS,
    "model.initializer": INITIALIZERS,
    "gradient.rule": ESTIMATORS,
    "optimizer.name": OPTIMIZERS,
    "optimizer.schedule": SCHEDULES,
    "training.precision": PRECISIONS,
}
"""The keys whose value is a name, with the names there are."""


def check_names(config: Config) -> None:
    """Refuse a name that is in no table.

    Args:
        config: a configuration.

    Raises:
        InputError: naming the key, the nearest name and all of them.

    Example:
        >>> check_names(Config(model=Model(cell="lsmt")))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: model.cell: no 'lsmt'; did you mean 'lstm'? (expected one of: lstm, gru, ...)
    """
    values = flatten(config)
    for key, table in NAMES.items():
        look_up(key, values[key], table)


def build_corpus(data: Data) -> Corpus:
    """Find the text and its splits.

    Args:
        data: the section.

    Returns:
        The corpus.

    Raises:
        InputError: if there is no such text.
    """
    return open_corpus(data.corpus, valid=data.valid, test=data.test, shares=(data.valid_share, data.test_share))


def build_model(
    model: Model, vocabulary_size: int, regularizer: Regularizer = UNREGULARIZED, begins_at: int | None = None
) -> Cell:
    """Make a language model: embedding, layers with dropout between them, readout.

    Args:
        model: the section.
        vocabulary_size: V.
        regularizer: the section.
        begins_at: the symbol before which it starts anew, as for `language_model`.

    Returns:
        A cell, symbols in and logits out.

    Raises:
        InputError: if the cell has nothing that the initializer, or a regularizer, is for.

    Example:
        >>> build_model(Model(cell="gru", hidden_size=8, num_layers=2), vocabulary_size=5).output_size
        5
    """
    return language_model(
        vocabulary_size=vocabulary_size,
        begins_at=begins_at,
        tie=model.tie,
        embedding_init=initializers.normal(model.embedding_spread) if model.embedding_spread else None,
        vocabulary_block=model.vocabulary_block,
        vocabulary_sample=model.vocabulary_sample,
        **_beneath_readout(model, regularizer),
    )


def build_trunk(
    model: Model, vocabulary_size: int, regularizer: Regularizer = UNREGULARIZED, begins_at: int | None = None
) -> Cell:
    """Make all of a language model but its readout.

    Args:
        model: the section.
        vocabulary_size: V.
        regularizer: the section.
        begins_at: as for `build_model`.

    Returns:
        A cell, symbols in and what the readout reads out, that runs on the parameters of `build_model`.
    """
    return language_trunk(vocabulary_size=vocabulary_size, begins_at=begins_at, **_beneath_readout(model, regularizer))


def _beneath_readout(model: Model, regularizer: Regularizer) -> dict[str, Any]:
    """What a language model is made of, but its vocabulary and its readout."""
    core, size = [], model.embedding_size
    for layer in layers(model):
        core += _drops(model.dropout, regularizer.dropout_hidden) if core else []
        core += [_layer(layer, regularizer, size)]
        size = state_size(layer)
    alpha, beta = regularizer.activation_penalty, regularizer.temporal_penalty
    below = _drops(model.dropout, regularizer.dropout_input)
    above = [temporal_penalty(size, beta)] if beta > 0 else []
    above += _drops(model.dropout, regularizer.dropout_output)
    above += [activation_penalty(alpha)] if alpha > 0 else []
    return {
        "core": _pile(core),
        "below": _pile(below) if below else None,
        "above": _pile(above) if above else None,
        "word_dropout": regularizer.dropout_embedding,
    }


def _pile(parts: list[Cell]) -> Cell:
    """Layers on top of one another; one by itself stays what it is."""
    return stack(*parts) if len(parts) > 1 else parts[0]


def _drops(rate: float, locked_rate: float) -> list[Cell]:
    """The dropout of a connection: a mask for each step, and one that stays."""
    each = [dropout(rate)] if rate > 0 else []
    locked = [locked_dropout(locked_rate)] if locked_rate > 0 else []
    return each + locked


def _layer(model: Model, regularizer: Regularizer, input_size: int) -> Cell:
    """One recurrent layer, with what makes its states and its weights noisy."""
    cell = CELLS[model.cell](input_size, model.hidden_size, **_sizes(model), **_starts(model))
    if regularizer.zoneout > 0 or regularizer.zoneout_content > 0:
        states = len(jax.tree.leaves(cell.initial_carry(())))
        if regularizer.zoneout_content > 0 and states == 1:
            raise InputError(f"regularizer.zoneout_content: model.cell = {model.cell!r} has one state; leave it out")
        cell = zoneout(cell, *(regularizer.zoneout, regularizer.zoneout_content)[:states])
    if regularizer.weight_drop > 0:
        if "w_hh" not in signature(CELLS[model.cell]).parameters:
            raise InputError(f"regularizer.weight_drop: model.cell = {model.cell!r} has no w_hh; leave it out")
        cell = weight_drop(cell, regularizer.weight_drop)
    return cell


def _sizes(model: Model) -> dict[str, int]:
    """The sizes that the cell has beside those of its input and its units."""
    sizes = {"projection_size": state_size(model)}
    return {name: size for name, size in sizes.items() if name in signature(CELLS[model.cell]).parameters}


def _starts(model: Model) -> dict[str, Any]:
    """The initializers of those parameters that the cell has, and how it is biased."""
    known = signature(CELLS[model.cell]).parameters
    starts = INITIALIZERS[model.initializer](model)
    fitting = {name: start for name, start in starts.items() if name in known}
    if starts and not fitting:
        raise InputError(
            f"model.initializer = {model.initializer!r}: model.cell = {model.cell!r} has no {' or '.join(starts)}; "
            "choose another initializer"
        )
    if not model.recurrent_bias:
        if "b_hh" not in known:
            raise InputError(f"model.recurrent_bias: model.cell = {model.cell!r} has no b_hh anyway; leave it out")
        fitting |= {"b_hh": None}
    if model.forget_bias is None:
        return fitting
    if "forget_bias" not in known:
        raise InputError(f"model.forget_bias: model.cell = {model.cell!r} has no bias of a forget gate; leave it out")
    return fitting | {"forget_bias": model.forget_bias}


def build_estimator(
    gradient: Gradient, cell: Cell, tells: bool = False, precision: str = "float32"
) -> GradientEstimator:
    """Make the gradient estimator of a language model.

    Args:
        gradient: the section.
        cell: symbols in and logits out.
        tells: whether the model is told its targets, so that not all logits need be computed, or held at once.
        precision: what its products are made from, a name in `PRECISIONS`.

    Returns:
        The estimator of the gradient of the cross-entropy, and of the penalties on activations where the cell has any.

    Raises:
        InputError: for another precision than float32 with a rule that goes forward in time.
    """
    if precision != "float32" and gradient.rule in ONLINE_RULES:
        forward = f"gradient.rule = {gradient.rule!r} goes forward in time, by products of its own"
        raise InputError(f"training.precision = {precision!r}: {forward}; expected 'float32'")
    rule, cell = ESTIMATORS[gradient.rule](gradient), PRECISIONS[precision](cell)
    return told(rule(cell, with_penalties(given))) if tells else rule(cell, with_penalties(softmax_cross_entropy))


def build_optimizer(section: OptimizerSection, steps: int | Array) -> Optimizer:
    """Make the optimizer with its schedule and its clipping.

    Args:
        section: the section.
        steps: updates in all, which is what schedules run over.

    Returns:
        The optimizer.

    Raises:
        InputError: for an option that does not exist, or that has a key of its own.
    """
    course = schedule(
        section.schedule,
        section.rate,
        steps=steps,
        warmup=section.warmup,
        final=section.final,
        every=section.every,
        decay=section.decay,
    )
    for option in section.options:
        if option in signature(optimizer).parameters:
            own = "average_after" if option == "average" else option
            raise InputError(f"optimizer.options: {option!r} has a key of its own; give it as optimizer.{own}")
    return optimizer(
        section.name,
        course,
        weight_decay=section.weight_decay,
        clip_norm=section.clip_norm,
        clip_value=section.clip_value,
        average=section.average_last > 0 or average_after(section) is not None,
        **section.options,
    )
