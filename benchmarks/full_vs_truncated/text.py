"""A character LSTM that reads the source text of Python's standard library, and has learnt a bit of it."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import stdlib
from jaxrnn import training
from jaxrnn.cell import Cell
from jaxrnn.cells import lstm
from jaxrnn.compose import language_model
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.optimizers import optimizer
from jaxrnn.types import Params

VOCABULARY = 97  # where the text is not read, for what depends on shapes only
LEARNT = (32, 64)  # rows and steps of the chunks that it learns from


def model(hidden: int, vocabulary: int = VOCABULARY) -> Cell:
    """Make the model.

    Args:
        hidden: H; the embedding has half of it.
        vocabulary: V.

    Returns:
        A language model.
    """
    return language_model(lstm(hidden // 2, hidden), vocabulary)


def take(rows: int, steps: int, index: int = 0) -> Chunk:
    """Take a chunk of the training text.

    Args:
        rows: B.
        steps: T.
        index: which.

    Returns:
        `[T, B]`.
    """
    ids, _ = stdlib.symbols()
    return jax.tree.map(jnp.asarray, stdlib.take(ids["train"], rows, steps, index))


@cache
def trained(hidden: int, updates: int) -> tuple[Cell, Params]:
    """Train a little: the gradients of a fresh network reach back hardly at all.

    Args:
        hidden: H.
        updates: of truncated BPTT with Adam, over chunks of 64 steps.

    Returns:
        The model and its parameters.
    """
    cell, adam = model(hidden, stdlib.symbols()[1]), optimizer("adam", 3e-3, clip_norm=1.0)
    rule, rows = bptt(cell, softmax_cross_entropy), LEARNT[0]
    params: Any = cell.init(jax.random.key(0))
    state = training.init(rule, adam, jax.random.key(1), params, cell.initial_carry(rows), take(*LEARNT))
    train_step = training.make_train_step(rule, adam)
    for index in range(updates):
        state, _ = train_step(state, training.stack_chunks([take(*LEARNT, index)]))
    return cell, state.params
