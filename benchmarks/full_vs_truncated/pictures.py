"""The two pictures: what it costs and how true it is; and what it learns.

::

    python -m benchmarks.full_vs_truncated.pictures         # draws both anew from their JSON
"""

import json
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import results

COLOURS = {
    "bptt": "black",
    "checkpointed, segments": "tab:blue",
    "checkpointed, budget": "tab:cyan",
    "truncated": "tab:red",
    "replaying": "tab:orange",
    "geometric": "tab:green",
    "heavy-tailed": "tab:olive",
    "adaptive": "tab:purple",
    "snap1": "tab:pink",
    "uoro": "tab:brown",
    "rtrl": "tab:gray",
}
TITLES = {"copy": "copy memory", "adding": "adding", "order": "temporal order"}


def picture_of_cost(found: dict[str, Any]) -> Figure:
    """Memory and time against T, the bias of every gradient, and certificates against the truth.

    Args:
        found: rows by part.

    Returns:
        The picture; of the grids the first one, at its longest horizon.
    """
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    memory, time, bias, truth = figure.subplots(1, 4)
    hidden = found["cost"][0]["hidden"]
    longest = max(row["k"] for row in found["cost"] if row["hidden"] == hidden)
    costs = [row for row in found["cost"] if row["hidden"] == hidden and row["k"] in (0, longest)]
    _lines(memory, costs, lambda row: (row["temp_bytes"] + row["state_bytes"]) / 2**20)
    memory.set(title="memory: temporaries and state, MiB")
    _lines(time, costs, lambda row: row["microseconds_per_token"])
    time.set(title="time a token, µs")
    _biases(bias, [row for row in found["gradient"] if row["hidden"] == hidden and row["k"] in (0, longest)])
    _certificates(truth, found["certificate"])
    rows = found["cost"][0]["rows"]
    figure.legend(*memory.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(f"character LSTM, H = {hidden}, B = {rows}, horizon k = {longest}", fontsize="medium")
    return figure


def picture_of_learning(found: dict[str, Any]) -> Figure:
    """Loss over updates with delays inside and beyond the horizon, over seconds, and what the theory predicts.

    Args:
        found: rows by part.

    Returns:
        The picture: three tasks in columns, and in the last one influence balancing and the online rules.
    """
    figure = Figure(figsize=(13, 8), layout="constrained")
    axes = figure.subplots(3, 4)
    hidden = found["learning"][0]["hidden"]
    first = [row for row in found["learning"] if row["hidden"] == hidden]
    others = [row for row in found["learning"] if row["hidden"] != hidden and not row["inside"]]
    for column, task in enumerate(dict.fromkeys(row["task"] for row in first)):
        for line, (inside, against) in enumerate([(True, "updates"), (False, "updates"), (False, "seconds")]):
            _curves(axes[line, column], [r for r in first if r["task"] == task and r["inside"] == inside], against)
    _balance(axes[0, 3], found["balancing"])
    for axis, task in zip(axes[1:, 3], ("copy", "order"), strict=True):
        _curves(axis, [row for row in others if row["task"] == task], "updates")
    shown = {row["rule"] for row in found["learning"]}
    handles = [axes[0, 0].plot([], color=COLOURS[name], label=name)[0] for name in COLOURS if name in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    return figure


def _lines(axis: Axes, rows: list[dict[str, Any]], value: Any) -> None:
    """One line for each rule, against T."""
    for name in dict.fromkeys(row["rule"] for row in rows):
        points = sorted((row["T"], value(row)) for row in rows if row["rule"] == name)
        axis.plot(*zip(*points, strict=True), marker="o", markersize=4, color=COLOURS[name], label=name)
    axis.set(xscale="log", yscale="log", xlabel="T, time steps")
    axis.set_xticks(lengths := sorted({row["T"] for row in rows}), [f"{steps:,}" for steps in lengths])
    axis.minorticks_off()


def _biases(axis: Axes, rows: list[dict[str, Any]]) -> None:
    """A dot for each rule at its longest T, and for those that draw how far a single draw is from their mean."""
    names = list(dict.fromkeys(row["rule"] for row in rows if row["rule"] != "bptt"))
    for place, name in enumerate(names):
        row = max((row for row in rows if row["rule"] == name), key=lambda row: row["T"])
        axis.plot(row["relative_bias"], place, "o", color=COLOURS[name])
        if "deviation" in row:
            axis.plot(row["bias_noise"], place, "|", markersize=12, color=COLOURS[name])
            axis.plot(row["deviation"], place, "o", fillstyle="none", color=COLOURS[name])
    axis.set(
        xscale="log", yticks=range(len(names)), yticklabels=names, title="relative bias (|: by chance; o: one draw)"
    )
    axis.invert_yaxis()


def _certificates(axis: Axes, rows: list[dict[str, Any]]) -> None:
    """Every certified bound against the true bias: above the diagonal it was none."""
    for row in rows:
        bounds, true = (np.array(row[key], float).ravel() for key in ("bounds", "true"))
        axis.plot(bounds, true, ".", markersize=3, label=f"{row['model']}, window {row['window']}")
    axis.plot([1e-3, 1e3], [1e-3, 1e3], color="0.5", linewidth=1)
    axis.set(xscale="log", yscale="log", xlabel="certified bound", title="true relative bias", ylim=(1e-4, 3))
    axis.legend(fontsize="x-small")


def _curves(axis: Axes, rows: list[dict[str, Any]], against: str) -> None:
    """The loss of each rule: thin lines for the seeds, a thick one for their mean."""
    if not rows:
        axis.set_axis_off()
        return
    for row in rows:
        scale = row["seconds_per_update"] if against == "seconds" else 1
        x, colour = np.array(row["updates"]) * scale, COLOURS[row["rule"]]
        for one in row["loss_over_floor"]:
            axis.plot(x, one, color=colour, linewidth=0.4, alpha=0.6)
        axis.plot(x, np.mean(row["loss_over_floor"], axis=0), color=colour, linewidth=1.6)
    axis.axhline(1, color="0.6", linewidth=0.8, linestyle=":")
    first, horizon = rows[0], max(row["k"] for row in rows)
    if against == "seconds":
        axis.set(xlim=(0, min(row["updates"][-1] * row["seconds_per_update"] for row in rows)))
    title = f"{TITLES[first['task']]}, delay {first['delay']}, k = {horizon}, H = {first['hidden']}"
    axis.set(xlabel=against, ylabel="loss / floor", title=title, ylim=(0, 1.25))
    axis.title.set_fontsize("small")


def _balance(axis: Axes, rows: list[dict[str, Any]]) -> None:
    """The distance from the optimum: full lines where the theory says that it is reached."""
    for number, row in enumerate(rows):
        curve = np.array(row["distance"], float)
        x = np.array(row["updates"]) / row["updates"][-1]
        style = {True: "-", False: "--", None: ":"}[row["theory_reaches"]]
        axis.plot(x, curve.mean(axis=0), style, color=f"C{number}", linewidth=1, label=row["rule"])
    axis.set(yscale="log", ylim=(1e-8, 1e6), xlabel="share of the updates", title="influence balancing: |theta + 1/6|")
    axis.title.set_fontsize("small")
    axis.legend(fontsize=5, ncols=2)


def main() -> None:
    """Draw both pictures from the results that lie there."""
    for name, draw in (("full_vs_truncated", picture_of_cost), ("full_vs_truncated_learning", picture_of_learning)):
        found = json.loads((results.FOLDER / f"{name}.json").read_text())
        results.save(name, found, draw(found))  # with the machine that measured, not the one that draws


if __name__ == "__main__":
    main()
