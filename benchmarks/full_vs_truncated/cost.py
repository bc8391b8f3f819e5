"""What every rule costs: seconds a token, temporary memory, state, and the memory of a process that does nothing else.

Times are medians, each rule of a length timed in turn. Temporary memory is what the compiled program asks for; what a
rule carries from chunk to chunk comes on top, and for the online rules is nearly all.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from benchmarks.full_vs_truncated.kept import Kept, by_length
from benchmarks.full_vs_truncated.rules import RULES, Case, possible, variants
from benchmarks.full_vs_truncated.setting import Grid, Setting
from benchmarks.full_vs_truncated.text import take, trained
from benchmarks.memory import temp_bytes
from benchmarks.timing import interleaved
from jaxrnn.losses import softmax_cross_entropy


def measure(setting: Setting, kept: Kept) -> list[dict[str, Any]]:
    """Time every rule of every grid, and ask its compiled program for its memory.

    Args:
        setting: the sizes.
        kept: what is done.

    Returns:
        Rows.
    """
    return by_length("cost", one_length, setting, kept)


def one_length(grid: Grid, steps: int, setting: Setting) -> list[dict[str, Any]]:
    """One row for each rule and horizon at a length.

    Args:
        grid: model and rules.
        steps: T.
        setting: for its rounds.

    Returns:
        Rows.
    """
    cell, params = trained(grid.hidden, setting.updates)
    chunk, carry = take(grid.rows, steps), cell.initial_carry(grid.rows)
    case = Case(cell, softmax_cross_entropy, params, carry, chunk, 0)
    calls: dict[str, Callable[[], Any]] = {}
    rows = {}
    for name, horizon in possible(variants(grid.rules, grid.horizons, steps), case):
        rule = RULES[name].make(case._replace(horizon=horizon))
        state = rule.init(jax.random.key(0), params, carry, chunk)
        program = jax.jit(rule.estimate).lower(params, state, chunk).compile()
        label = f"{name} {horizon}"
        calls[label] = partial(program, params, state, chunk)
        rows[label] = {
            "rule": name,
            "hidden": grid.hidden,
            "rows": grid.rows,
            "T": steps,
            "k": horizon,
            "temp_bytes": temp_bytes(program),
            "state_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
        }
    seconds = interleaved(calls, setting.rounds)
    return [row | {"microseconds_per_token": 1e6 * seconds[label] / (steps * grid.rows)} for label, row in rows.items()]


def measure_processes(setting: Setting, kept: Kept) -> list[dict[str, Any]]:
    """Run every rule alone in a process, for the most memory that it has in use.

    Args:
        setting: the sizes.
        kept: what is done.

    Returns:
        Rows.
    """
    rows = []
    for grid in setting.processes:
        for steps in grid.lengths:
            for name, horizon in [("nothing", 0), *variants(grid.rules, grid.horizons, steps)]:
                row = {"rule": name, "hidden": grid.hidden, "rows": grid.rows, "T": steps, "k": horizon}
                title = f"process {name} H={grid.hidden} T={steps} k={horizon}"
                rows.append(row | kept(title, partial(alone, name, grid, steps, horizon)))
    return rows


def alone(name: str, grid: Grid, steps: int, horizon: int) -> dict[str, int]:
    """What a process says that computes one estimate.

    Args:
        name: of the rule, or "nothing".
        grid: the model.
        steps: T.
        horizon: k.

    Returns:
        Its row.
    """
    command = [sys.executable, "-m", "benchmarks.full_vs_truncated.process", name]
    sizes = [str(size) for size in (grid.hidden, grid.rows, steps, horizon)]
    return json.loads(subprocess.run([*command, *sizes], stdout=subprocess.PIPE, text=True, check=True).stdout)
