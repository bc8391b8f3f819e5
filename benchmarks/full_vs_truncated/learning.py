"""What every rule makes of copy memory, adding and temporal order, with delays inside its horizon and beyond.

Each update draws new sequences and takes one gradient of all of it, at the same parameters: a rule that works in pieces
adds them up. So the rules differ in the gradient alone, and never in the age of a carry. Adam, gradients clipped to
length 1. All seeds of a rule run side by side in one program; the loss is that of sequences not seen before, divided by
the floor of a predictor without memory.

Compared is at equal updates, and at equal compute: at the seconds that the quickest rule needs for all its updates, and
where each of the others is by then. The seconds of an update are those of its gradient: the mean of some calls of the
compiled estimate, one seed, at the parameters that it came to. (Side by side, seeds cost less than one by one, but a
rule that decides something decides it for each, and does both.)
"""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.full_vs_truncated.kept import Kept
from benchmarks.full_vs_truncated.rules import RULES, Case, piece_length
from benchmarks.full_vs_truncated.setting import Course, Setting, Task
from benchmarks.memory import temp_bytes
from jaxrnn import training
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
from jaxrnn.gradients import Chunk, GradientEstimator
from jaxrnn.initializers import chrono
from jaxrnn.losses import softmax_cross_entropy, squared_error
from jaxrnn.optimizers import Optimizer, optimizer
from jaxrnn.types import Params

ALPHABET = 8
CALLS = 16


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


def measure(setting: Setting, kept: Kept) -> list[dict[str, Any]]:
    """Let every rule of every course learn its tasks.

    Args:
        setting: the sizes.
        kept: what is done.

    Returns:
        Rows.
    """
    rows = []
    for course in setting.courses:
        for task in course.tasks:
            runs = []
            for name in course.rules:
                title = f"learning H={course.hidden} {task.name} {task.size} {name}"
                runs.append(kept(title, partial(learn, name, course, task, setting)))
            rows += at_equal_compute(runs)
    return rows


@cache
def problem(course: Course, task: Task) -> Problem:
    """Make a task and the model that learns it.

    Args:
        course: the model's sizes.
        task: which task.

    Returns:
        The problem.
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
    return Problem(draw, with_readout(core, output_size), loss, floor, delay)


@cache
def filled_up(given: Problem, piece: int) -> Problem:
    """Fill the sequences up in front, for rules that take them in pieces of one length.

    Args:
        given: a problem.
        piece: of which the sequences become multiples, in steps.

    Returns:
        The problem.
    """
    return given._replace(draw=lambda key: join(cut(given.draw(key), piece)))


def learn(name: str, course: Course, task: Task, setting: Setting) -> dict[str, Any]:
    """Learn a task by a rule, with all seeds at once.

    Args:
        name: of the rule.
        course: the sizes.
        task: which task.
        setting: for seeds and points.

    Returns:
        The row, with the curve: the mean loss of each stretch of updates, as a share of the floor, seed by seed.
    """
    given = filled_up(problem(course, task), piece_length(course.horizon))
    keys = jax.random.split(jax.random.key(0), setting.seeds)
    params, stretch = start(given, keys), task.updates // RULES[name].costs // setting.points
    carry = given.cell.initial_carry(course.rows)
    chunk = jax.tree.map(lambda a: a[0, 0], draw(given, keys, 1))
    one = jax.tree.map(lambda p: p[0], params)
    rule = RULES[name].make(Case(given.cell, given.loss, one, carry, chunk, course.horizon))
    program = jax.jit(rule.estimate).lower(one, rule.init(keys[0], one, carry, chunk), chunk).compile()
    adam = optimizer("adam", course.rate, clip_norm=1.0)
    state = jax.vmap(lambda key, params: training.init(rule, adam, key, params, carry, chunk))(keys, params)
    state, curve = run(given, rule, adam, state, keys, stretch, setting.points)
    first = jax.tree.map(lambda a: a[0], state)
    return {
        "task": task.name,
        "delay": given.delay,
        "hidden": course.hidden,
        "rule": name,
        "k": course.horizon if RULES[name].has_horizon else 0,
        "inside": given.delay < course.horizon,
        "floor": given.floor,
        "temp_bytes": temp_bytes(program),
        "seconds_per_update": timed(program, first.params, first.estimator, chunk),
        "updates": [stretch * (n + 1) for n in range(setting.points)],
        "loss_over_floor": [[round(float(value), 4) for value in one] for one in curve.T / given.floor],
    }


@partial(jax.jit, static_argnums=0)
def start(given: Problem, keys: Any) -> Params:
    """Draw the parameters of all seeds.

    Args:
        given: the problem.
        keys: `[S]`.

    Returns:
        `[S, ...]`.
    """
    return jax.vmap(given.cell.init)(keys)


@partial(jax.jit, static_argnums=(0, 2))
def draw(given: Problem, keys: Any, number: int) -> Chunk:
    """Draw what all seeds learn from.

    Args:
        given: the problem.
        keys: `[S]`.
        number: U, of updates.

    Returns:
        `[S, U, T, B, ...]`.
    """
    return jax.vmap(lambda key: jax.lax.map(given.draw, jax.random.split(key, number)))(keys)


def run(
    given: Problem,
    rule: GradientEstimator,
    adam: Optimizer,
    state: training.TrainState,
    keys: Any,
    stretch: int,
    points: int,
) -> tuple[training.TrainState, np.ndarray]:
    """Train all seeds side by side.

    Args:
        given: the problem.
        rule: how to differentiate through time.
        adam: how to descend.
        state: of all seeds, `[S, ...]`.
        keys: `[S]`.
        stretch: updates between two points of the curve.
        points: how many stretches.

    Returns:
        The last state, and the mean losses `[points, S]`.
    """

    def several(state, chunks):
        def one(state, chunk):
            state, metrics = training.update(rule, adam, state, jax.tree.map(lambda a: a[None], chunk))
            return state, metrics.loss / metrics.weight

        state, losses = jax.lax.scan(one, state, chunks)
        return state, jnp.mean(losses)

    program, curve = jax.jit(jax.vmap(several)), []
    for n in range(points):
        state, losses = program(state, draw(given, jax.vmap(partial(jax.random.fold_in, data=n))(keys), stretch))
        curve.append(np.asarray(losses))
    return state, np.stack(curve)


def timed(program: Callable[..., Any], params: Params, state: Any, chunk: Chunk) -> float:
    """Call an estimate again and again, its state handed on.

    Args:
        program: `(params, state, chunk) -> (estimate, state)`, compiled.
        params: the parameters.
        state: of the estimator.
        chunk: what it is given each time.

    Returns:
        Seconds for a call, in the mean: a rule may have more to do at some calls than at others.
    """
    _, state = jax.block_until_ready(program(params, state, chunk))
    begin = time.perf_counter()
    for _ in range(CALLS):
        _, state = jax.block_until_ready(program(params, state, chunk))
    return (time.perf_counter() - begin) / CALLS


def at_equal_compute(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to the rows of one task where each rule is after all updates, and after equal seconds.

    Args:
        runs: rows of `learn`.

    Returns:
        The rows with `final`, the last loss of each seed, and `at_equal_compute`, with the number of updates.
    """
    seconds = min(row["seconds_per_update"] * row["updates"][-1] for row in runs)
    rows = []
    for row in runs:
        made = seconds / row["seconds_per_update"]
        reached = [float(np.interp(made, row["updates"], one)) for one in row["loss_over_floor"]]
        equal = {"seconds": seconds, "updates": int(made), "loss_over_floor": [round(value, 4) for value in reached]}
        rows.append(row | {"final": [one[-1] for one in row["loss_over_floor"]], "at_equal_compute": equal})
    return rows
