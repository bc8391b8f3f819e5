"""How many seconds a gradient of a course's sequences takes, by each rule: the measure of compute in `learning`.

The compiled estimate, one seed, fresh parameters; the median of some calls, the rules in turn, each with its state
handed on.
"""

from functools import partial
from typing import Any

import jax

from benchmarks.full_vs_truncated.kept import Kept
from benchmarks.full_vs_truncated.problems import problem
from benchmarks.full_vs_truncated.rules import RULES, Case
from benchmarks.full_vs_truncated.setting import Course, Setting, Task
from benchmarks.timing import interleaved

CALLS = 9


def measure(setting: Setting, kept: Kept) -> list[dict[str, Any]]:
    """Time every rule of every course, at each length of its sequences.

    Args:
        setting: the sizes.
        kept: what is done.

    Returns:
        Rows. Tasks of one length have one pace, that of the first of them.
    """
    rows = []
    for course in setting.courses:
        by_length = {_steps(course, task): task for task in reversed(course.tasks)}
        for steps, task in sorted(by_length.items()):
            seconds = kept(f"pace H={course.hidden} T={steps}", partial(_time, course, task))
            rows += [{"hidden": course.hidden, "T": steps, "rule": name, "seconds": s} for name, s in seconds.items()]
    return rows


def _steps(course: Course, task: Task) -> int:
    """T of a task's sequences."""
    return jax.eval_shape(problem(course, task).draw, jax.random.key(0)).weight.shape[0]


def _time(course: Course, task: Task) -> dict[str, float]:
    """Seconds by rule."""
    given, key = problem(course, task), jax.random.key(0)
    params, carry, chunk = (
        jax.jit(given.cell.init)(key),
        given.cell.initial_carry(course.rows),
        jax.jit(given.draw)(key),
    )
    calls = {}
    for name in course.rules:
        rule = RULES[name].make(Case(given.cell, given.loss, params, carry, chunk, course.horizon))
        state = rule.init(key, params, carry, chunk)
        calls[name] = _going_on(jax.jit(rule.estimate).lower(params, state, chunk).compile(), params, state, chunk)
    return interleaved(calls, CALLS)


def _going_on(program: Any, params: Any, state: Any, chunk: Any) -> Any:
    """A call that starts where the one before has ended."""
    states = [state]

    def call():
        estimate, states[0] = program(params, states[0], chunk)
        return estimate

    return call
