"""From names to things: the only tables that turn a name in a configuration into a factory.

A cell or an estimator comes to the command line by one row here. Tokenizers, optimizers and schedules have their tables
beside their factories.
"""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any

import jax

from jaxrnn import initializers
from jaxrnn.cell import Cell
from jaxrnn.cells import (
    coupled_lstm,
    elman,
    elstm,
    gru,
    layer_norm_gru,
    layer_norm_lstm,
    lstm,
    mgu,
    peephole_lstm,
    projection_lstm,
)
from jaxrnn.choices import look_up
from jaxrnn.compose import dropout, language_model, stack
from jaxrnn.config import Config, Data, Gradient, Model
from jaxrnn.config import Optimizer as OptimizerSection
from jaxrnn.data.corpora import Corpus, open_corpus
from jaxrnn.data.text import TOKENIZERS
from jaxrnn.errors import InputError
from jaxrnn.gradients import (
    GradientEstimator,
    adaptive_bptt,
    bptt,
    checkpointed_bptt,
    geometric,
    randomized_bptt,
    rtrl,
    snap1,
    truncated_bptt,
    uoro,
)
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.optimizers import OPTIMIZERS, Optimizer, optimizer
from jaxrnn.schedules import SCHEDULES, schedule
from jaxrnn.settings import flatten

CELLS: dict[str, Callable[..., Cell]] = {
    "lstm": lstm,
    "gru": gru,
    "gru_reset_before": partial(gru, reset_after=False),
    "peephole_lstm": peephole_lstm,
    "coupled_lstm": coupled_lstm,
    "projection_lstm": projection_lstm,
    "layer_norm_lstm": layer_norm_lstm,
    "layer_norm_gru": layer_norm_gru,
    "mgu": mgu,
    "elstm": elstm,
    "elman": elman,
    "elman_relu": partial(elman, activation=jax.nn.relu),
}

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
    return {"memory": gradient.memory} if gradient.memory else {"segment_length": gradient.segment_length}


NAMES: Mapping[str, Mapping[str, Any]] = {
    "data.tokenizer": TOKENIZERS,
    "model.cell": CELLS,
    "model.initializer": INITIALIZERS,
    "gradient.rule": ESTIMATORS,
    "optimizer.name": OPTIMIZERS,
    "optimizer.schedule": SCHEDULES,
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


def build_model(model: Model, vocabulary_size: int) -> Cell:
    """Make a language model: embedding, layers with dropout between them, readout.

    Args:
        model: the section.
        vocabulary_size: V.

    Returns:
        A cell, symbols in and logits out.

    Raises:
        InputError: if the cell has nothing that the initializer is for.

    Example:
        >>> build_model(Model(cell="gru", hidden_size=8, num_layers=2), vocabulary_size=5).output_size
        5
    """
    layer = partial(CELLS[model.cell], **_sizes(model), **_starts(model))
    layers = [layer(model.embedding_size, model.hidden_size)]
    for _ in range(model.num_layers - 1):
        size = layers[-1].output_size
        layers += [dropout(model.dropout)] if model.dropout > 0 else []
        layers += [layer(size, model.hidden_size)]
    core = stack(*layers) if len(layers) > 1 else layers[0]
    return language_model(core, vocabulary_size, dropout=model.dropout, tie=model.tie)


def _sizes(model: Model) -> dict[str, int]:
    """The sizes that the cell has beside those of its input and its units."""
    sizes = {"projection_size": model.projection_size or max(1, model.hidden_size // 2)}
    return {name: size for name, size in sizes.items() if name in signature(CELLS[model.cell]).parameters}


def _starts(model: Model) -> dict[str, Any]:
    """The initializers of those parameters that the cell has, and the bias of its forget gate."""
    known = signature(CELLS[model.cell]).parameters
    starts = INITIALIZERS[model.initializer](model)
    fitting = {name: start for name, start in starts.items() if name in known}
    if starts and not fitting:
        raise InputError(
            f"model.initializer = {model.initializer!r}: model.cell = {model.cell!r} has no {' or '.join(starts)}; "
            "choose another initializer"
        )
    if model.forget_bias is None:
        return fitting
    if "forget_bias" not in known:
        raise InputError(f"model.forget_bias: model.cell = {model.cell!r} has no forget gate; leave it out")
    return fitting | {"forget_bias": model.forget_bias}


def build_estimator(gradient: Gradient, cell: Cell) -> GradientEstimator:
    """Make the gradient estimator of a language model.

    Args:
        gradient: the section.
        cell: symbols in and logits out.

    Returns:
        The estimator of the gradient of the cross-entropy.
    """
    return ESTIMATORS[gradient.rule](gradient)(cell, softmax_cross_entropy)


def build_optimizer(section: OptimizerSection, steps: int) -> Optimizer:
    """Make the optimizer with its schedule and its clipping.

    Args:
        section: the section.
        steps: updates in all, which is what schedules run over.

    Returns:
        The optimizer.
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
    return optimizer(
        section.name,
        course,
        weight_decay=section.weight_decay,
        clip_norm=section.clip_norm,
        clip_value=section.clip_value,
        **section.options,
    )
