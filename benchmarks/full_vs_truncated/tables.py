"""The rows as lines of text."""

from collections.abc import Iterator
from typing import Any


def tables(found: dict[str, Any]) -> str:
    """Write all parts down.

    Args:
        found: rows by part.

    Returns:
        Lines.
    """
    parts = (_costs, _processes, _gradients, _balances, _lessons, _certificates)
    return "\n\n".join("\n".join(lines(found)) for lines in parts)


def _label(row: dict[str, Any]) -> str:
    """The rule, with its horizon."""
    return f"{row['rule']}, k = {row['k']}" if row["k"] else row["rule"]


def _costs(found: dict[str, Any]) -> Iterator[str]:
    line = "{:>4} {:>6}  {:<32} {:>12} {:>12} {:>12}".format
    yield line("H", "T", "rule", "us / token", "temp MiB", "state MiB")
    for row in found["cost"]:
        memory = (f"{row[key] / 2**20:.2f}" for key in ("temp_bytes", "state_bytes"))
        yield line(row["hidden"], row["T"], _label(row), f"{row['microseconds_per_token']:.2f}", *memory)


def _processes(found: dict[str, Any]) -> Iterator[str]:
    line = "{:>4} {:>6}  {:<32} {:>12} {:>12}".format
    yield line("H", "T", "alone in a process", "peak MiB", "over bare")
    bare = 0
    for row in found["processes"]:
        bare = row["peak_rss_bytes"] if row["rule"] == "nothing" else bare
        peak = row["peak_rss_bytes"]
        yield line(row["hidden"], row["T"], _label(row), f"{peak / 2**20:.0f}", f"{(peak - bare) / 2**20:.0f}")


def _gradients(found: dict[str, Any]) -> Iterator[str]:
    line = "{:>4} {:>6}  {:<32} {:>14} {:>10} {:>10} {:>10}".format
    yield line("H", "T", "rule", "relative bias", "by chance", "cosine", "deviation")
    for row in found["gradient"]:
        chance, deviation = (f"{row[key]:.2e}" if key in row else "" for key in ("bias_noise", "deviation"))
        bias = f"{row['relative_bias']:.2e}"
        yield line(row["hidden"], row["T"], _label(row), bias, chance, f"{row['cosine']:.4f}", deviation)


def _balances(found: dict[str, Any]) -> Iterator[str]:
    line = "{:<24} {:>8} {:>12} {:>36}".format
    yield line("influence balancing", "updates", "theory", "last distance from the optimum")
    for row in found["balancing"]:
        theory = {True: "reaches it", False: "runs away", None: ""}[row["theory_reaches"]]
        yield line(row["rule"], row["updates"][-1], theory, ", ".join(str(one[-1]) for one in row["distance"]))


def _lessons(found: dict[str, Any]) -> Iterator[str]:
    line = "{:>4} {:<8} {:>5}  {:<32} {:>10} {:>10} {:>9} {:>24} {:>24}".format
    heads = ("H", "task", "delay", "rule", "ms/update", "temp MiB", "updates", "loss / floor", "at equal compute")
    yield line(*heads)
    for row in found["learning"]:
        equal = row["at_equal_compute"]
        seeds = (" ".join(f"{value:.3f}" for value in values) for values in (row["final"], equal["loss_over_floor"]))
        cost = f"{1e3 * row['seconds_per_update']:.2f}", f"{row['temp_bytes'] / 2**20:.2f}", row["updates"][-1]
        yield line(row["hidden"], row["task"], row["delay"], _label(row), *cost, *seeds)


def _certificates(found: dict[str, Any]) -> Iterator[str]:
    line = "{:<18} {:>7} {:>8} {:>10} {:>8} {:>16} {:>14} {:>14}".format
    yield line(
        "certificate of", "window", "pairs", "certified", "wrong", "ratio if wrong", "largest ratio", "median ratio"
    )
    for row in found["certificate"]:
        pairs = row["pairs"]
        names = ("certified", "wrong", "median_ratio_where_wrong", "largest_ratio", "median_ratio")
        figures = ("-" if pairs[name] is None else f"{pairs[name]:.2g}" for name in names)
        yield line(row["model"], row["window"], pairs["number"], *figures)
        for aim in row["targets"]:
            names = ("certified", "missed", "median_true", "largest_true")
            said = ("-" if aim[name] is None else f"{aim[name]:.2g}" for name in names)
            horizon = f"target {aim['target']}, mean horizon {aim['mean_horizon']:.0f}"
            yield f"    {horizon}: certified, missed, median and largest true bias {', '.join(said)}"
