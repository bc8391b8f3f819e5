"""The command: all parts in turn, or some of them; then the results and the pictures."""

import json
import sys
from typing import Annotated, Any, Literal

import tyro

from benchmarks import results
from benchmarks.full_vs_truncated import balancing, certificate, cost, gradient, learning, pace
from benchmarks.full_vs_truncated.kept import Kept
from benchmarks.full_vs_truncated.pictures import picture_of_cost, picture_of_learning
from benchmarks.full_vs_truncated.setting import FULL, QUICK, Setting
from benchmarks.full_vs_truncated.tables import tables

Part = Literal["cost", "processes", "gradient", "balancing", "pace", "learning", "certificate"]
PARTS = {
    "cost": cost.measure,
    "processes": cost.measure_processes,
    "gradient": gradient.measure,
    "balancing": balancing.measure,
    "pace": pace.measure,
    "learning": learning.measure,
    "certificate": certificate.measure,
}


def main(
    quick: Annotated[bool, tyro.conf.arg(help="small models and short lengths, to see that it works")] = False,
    print_json: Annotated[bool, tyro.conf.arg(name="json", help="print the result as JSON and write nothing")] = False,
    parts: Annotated[tuple[Part, ...], tyro.conf.arg(help="measure these only; what they find is kept")] = (),
) -> None:
    """Measure what every way of going back through time costs, how true its gradient is, and what it learns."""
    setting = QUICK if quick else FULL
    kept = Kept(setting)
    found = measure(setting, kept, parts or tuple(PARTS))
    if parts:
        return
    found["learning"] = learning.at_equal_compute(found["learning"], found["pace"])
    if print_json:
        print(json.dumps(found))
    else:
        print(tables(found))
        save(found, quick)
    kept.forget()


def measure(setting: Setting, kept: Kept, parts: tuple[str, ...] = tuple(PARTS)) -> dict[str, Any]:
    """Measure, part by part.

    Args:
        setting: the sizes.
        kept: what is done.
        parts: which.

    Returns:
        Rows by part.
    """
    found = {}
    for part in parts:
        print(part, file=sys.stderr, flush=True)
        found[part] = PARTS[part](setting, kept)
    return found


def save(found: dict[str, Any], quick: bool) -> None:
    """Write two results, each with its picture: what it costs and how true it is, and what it learns.

    Args:
        found: rows by part.
        quick: whether it was a trial.
    """
    first = {part: found[part] for part in ("cost", "processes", "gradient", "certificate")}
    second = {part: found[part] for part in ("balancing", "pace", "learning")}
    results.save("full_vs_truncated", first, picture_of_cost(first), quick=quick)
    results.save("full_vs_truncated_learning", second, picture_of_learning(second), quick=quick)


if __name__ == "__main__":
    tyro.cli(main)
