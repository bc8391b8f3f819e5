"""The tasks of a course, with the model that learns them."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax

from benchmarks.full_vs_truncated.rules import piece_length
from benchmarks.full_vs_truncated.setting import Course, Task
from jaxrnn.cell import Cell
from jaxrnn.cells import lstm
from jaxrnn.compose import with_readout
from jaxrnn.data.tasks import (
    adding,
    adding_floor,
    copy_memory,
    copy_memory_floor,
    cut,
    join,
    temporal_order,
    temporal_order_floor,
)
from jaxrnn.gradients import Chunk
from jaxrnn.initializers import chrono
from jaxrnn.losses import softmax_cross_entropy, squared_error

ALPHABET = 8


class Problem(NamedTuple):
    """A task that is ready to be learnt.

    Attributes:
        draw: `(key) -> Chunk [T, B, ...]`.
        cell: the model.
        loss: the loss.
        floor: what a predictor without memory comes to.
        delay: how many steps lie between the oldest thing to remember and the loss, at most.
    """

    draw: Callable[[Any], Chunk]
    cell: Cell
    loss: Callable[[Any, Any], Any]
    floor: float
    delay: int


@cache
def problem(course: Course, task: Task) -> Problem:
    """Make a task and the model that learns it.

    Args:
        course: the model's sizes.
        task: which task.

    Returns:
        The problem. Its sequences are filled up in front to whole pieces, for rules that take them piece by piece.
    """
    draw, output_size, loss, floor, delay = {
        "copy": lambda: (
            partial(copy_memory, delay=task.size, symbols=course.symbols, alphabet=ALPHABET),
            ALPHABET,
            softmax_cross_entropy,
            copy_memory_floor(ALPHABET),
            task.size + course.symbols,
        ),
        "adding": lambda: (partial(adding, steps=task.size), 1, squared_error, adding_floor(), task.size - 1),
        "order": lambda: (
            partial(temporal_order, steps=task.size),
            4,
            softmax_cross_entropy,
            temporal_order_floor(),
            task.size - 1 - task.size // 10,
        ),
    }[task.name]()
    draw = partial(draw, rows=course.rows)
    input_size = jax.eval_shape(draw, jax.random.key(0)).inputs.x.shape[-1]
    core = lstm(input_size, course.hidden, b_ih=chrono(course.time_scale), b_hh=None, forget_bias=0.0)
    given = Problem(draw, with_readout(core, output_size), loss, floor, delay)
    return filled_up(given, piece_length(course.horizon))


@cache
def filled_up(given: Problem, piece: int) -> Problem:
    """Fill the sequences up in front.

    Args:
        given: a problem.
        piece: of which the sequences become multiples, in steps.

    Returns:
        The problem.
    """
    return given._replace(draw=lambda key: join(cut(given.draw(key), piece)))
