"""What every rule makes of copy memory, adding and temporal order, with delays inside its horizon and beyond.

Each update draws new sequences and takes one gradient of all of it, at the same parameters: a rule that works in pieces
adds them up. So the rules differ in the gradient alone, and never in the age of a carry. Adam, gradients clipped to
length 1. All seeds of a rule run side by side in one program; the loss is that of sequences not seen before, divided by
the floor of a predictor without memory.

Compared is at equal updates, and at equal compute: at the seconds that the quickest rule needs for all its updates, and
where each of the others is by then. The seconds of an update are those of its gradient, as `pace` finds them.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.full_vs_truncated.kept import Kept
from benchmarks.full_vs_truncated.problems import Problem, problem
from benchmarks.full_vs_truncated.rules import RULES, Case
from benchmarks.full_vs_truncated.setting import Course, Setting, Task
from benchmarks.memory import temp_bytes
from jaxrnn import training
from jaxrnn.gradients import Chunk, GradientEstimator
from jaxrnn.optimizers import Optimizer, optimizer
from jaxrnn.types import Params


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
            for name in course.rules:
                title = f"learning H={course.hidden} {task.name} {task.size} {name}"
                rows.append(kept(title, partial(learn, name, course, task, setting)))
    return rows


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
    given = problem(course, task)
    keys = jax.random.split(jax.random.key(0), setting.seeds)
    params, stretch = start(given, keys), task.updates // RULES[name].fewer_updates // setting.points
    carry = given.cell.initial_carry(course.rows)
    chunk = jax.tree.map(lambda a: a[0, 0], draw(given, keys, 1))
    one = jax.tree.map(lambda p: p[0], params)
    rule = RULES[name].make(Case(given.cell, given.loss, one, carry, chunk, course.horizon))
    program = jax.jit(rule.estimate).lower(one, rule.init(keys[0], one, carry, chunk), chunk).compile()
    adam = optimizer("adam", course.rate, clip_norm=1.0)
    state = jax.vmap(lambda key, params: training.init(rule, adam, key, params, carry, chunk))(keys, params)
    curve = run(given, rule, adam, state, keys, stretch, setting.points)
    return {
        "task": task.name,
        "delay": given.delay,
        "hidden": course.hidden,
        "T": chunk.weight.shape[0],
        "rule": name,
        "k": course.horizon if RULES[name].has_horizon else 0,
        "inside": given.delay < course.horizon,
        "floor": given.floor,
        "temp_bytes": temp_bytes(program),
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
) -> np.ndarray:
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
        The mean losses `[points, S]`.
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
    return np.stack(curve)


def at_equal_compute(rows: list[dict[str, Any]], pace: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row where its rule is after all updates, and after the seconds that its task's quickest rule needs.

    Args:
        rows: of `measure`.
        pace: rows of `pace.measure`.

    Returns:
        The rows with `seconds_per_update`; `final`, the last loss of each seed; and `at_equal_compute`, with the
        number of updates until then.
    """
    seconds = {(row["hidden"], row["T"], row["rule"]): row["seconds"] for row in pace}
    paced = [row | {"seconds_per_update": seconds[row["hidden"], row["T"], row["rule"]]} for row in rows]
    result = []
    for row in paced:
        rivals = [other for other in paced if all(other[key] == row[key] for key in ("hidden", "task", "delay"))]
        budget = min(other["seconds_per_update"] * other["updates"][-1] for other in rivals)
        made = budget / row["seconds_per_update"]
        reached = [round(float(np.interp(made, row["updates"], one)), 4) for one in row["loss_over_floor"]]
        equal = {"seconds": budget, "updates": int(made), "loss_over_floor": reached}
        result.append(row | {"final": [one[-1] for one in row["loss_over_floor"]], "at_equal_compute": equal})
    return result
