"""The README's picture, for light pages and for dark ones: `python docs/credit_flow.py`."""

from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

STEPS, LENGTH = 12, 4  # LENGTH: of a piece, and of a segment
SIZE = 0.3  # half a step's box
LEFT, RIGHT = -5.9, STEPS + 0.1  # where the columns of words begin


class Colours(NamedTuple):
    """The colours of one picture; its background is transparent."""

    ink: str
    quiet: str
    forward: str
    credit: str


class Row(NamedTuple):
    """One way of sending credit back.

    Attributes:
        name: of the estimator.
        gradient: what its gradient is.
        memory: what it keeps.
        crosses: whether credit crosses the boundaries.
        held: the steps whose values are in memory while credit flows through the last four.
        carries: whether the carry before each segment is in memory then.
    """

    name: str
    gradient: str
    memory: str
    crosses: bool
    held: range
    carries: bool


LIGHT = Colours(ink="#1f2328", quiet="#656d76", forward="#1f6feb", credit="#bc4c00")
DARK = Colours(ink="#e6edf3", quiet="#9198a1", forward="#58a6ff", credit="#f0883e")

LAST = range(STEPS - LENGTH, STEPS)
ROWS = (
    Row("bptt", "exact", "every step", crosses=True, held=range(STEPS), carries=False),
    Row("truncated_bptt", "cut at boundaries", "one piece", crosses=False, held=LAST, carries=False),
    Row("checkpointed_bptt", "exact", "one segment + dots", crosses=True, held=LAST, carries=True),
)


def arrow(axes: Axes, start: tuple, end: tuple, colour: str, *, width: float = 1.2, bend: float = 0.0) -> None:
    """Draw an arrow."""
    style = {"arrowstyle": "-|>", "mutation_scale": 7 + 2 * width, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(
        FancyArrowPatch(start, end, color=colour, linewidth=width, connectionstyle=f"arc3,rad={bend}", **style)
    )


def step(axes: Axes, x: float, y: float, colour: str, *, filled: bool) -> None:
    """Draw one step of a cell as a box."""
    box = FancyBboxPatch((x - SIZE, y - SIZE), 2 * SIZE, 2 * SIZE, boxstyle="round,pad=0,rounding_size=0.1")
    box.set(facecolor=colour if filled else "none", edgecolor=colour, linewidth=1.2)
    axes.add_patch(box)


def draw_cell(axes: Axes, y: float, colours: Colours) -> None:
    """Draw the cell, rolled up and unrolled."""

    def unit(x: float, suffix: str) -> None:
        step(axes, x, y, colours.forward, filled=False)
        axes.text(x, y, "cell" if not suffix else "", ha="center", va="center", fontsize=7, color=colours.ink)
        arrow(axes, (x, y - 0.85), (x, y - SIZE), colours.quiet)
        arrow(axes, (x, y + SIZE), (x, y + 0.85), colours.quiet)
        axes.text(x, y - 1.1, f"$x{suffix}$", ha="center", va="center", fontsize=10, color=colours.ink)
        axes.text(x, y + 1.1, f"$y{suffix}$", ha="center", va="center", fontsize=10, color=colours.ink)

    unit(-3.2, "")
    arrow(axes, (-3.2 + SIZE, y + 0.14), (-3.2 + SIZE, y - 0.14), colours.forward, bend=-3)
    axes.text(-1.55, y, "=", ha="center", va="center", fontsize=15, color=colours.quiet)
    for t in range(STEPS):
        unit(t, f"_{{{t + 1}}}")
        arrow(axes, (t - 1 + SIZE, y), (t - SIZE, y), colours.forward)
    axes.text(RIGHT, y, "forward: one and the same", va="center", fontsize=10, color=colours.forward)


def draw_row(axes: Axes, row: Row, y: float, colours: Colours) -> None:
    """Draw how credit flows back by one estimator."""
    axes.text(LEFT, y, row.name, va="center", fontsize=10.5, family="monospace", color=colours.ink)
    axes.text(RIGHT, y + 0.22, f"gradient: {row.gradient}", va="center", fontsize=10, color=colours.credit)
    axes.text(RIGHT, y - 0.22, f"memory: {row.memory}", va="center", fontsize=10, color=colours.forward)
    for t in range(STEPS):
        step(axes, t, y, colours.forward, filled=t in row.held)
        boundary = t % LENGTH == 0
        if t and (row.crosses or not boundary):
            arrow(axes, (t - SIZE, y), (t - 1 + SIZE, y), colours.credit, width=2)
        if t and boundary and not row.crosses:
            axes.plot([t - 0.5] * 2, [y - 0.45, y + 0.45], color=colours.credit, linewidth=2)
        if boundary and row.carries:
            axes.plot(t - 0.5, y, "o", markersize=6, color=colours.forward, zorder=3)


def draw(colours: Colours) -> Figure:
    """Draw the whole picture."""
    figure = Figure(figsize=(10.6, 3.64))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(LEFT - 0.1, STEPS + 4.9), ylim=(-4.85, 2.2), aspect="equal")
    axes.axis("off")
    draw_cell(axes, 0.85, colours)
    for place, row in enumerate(ROWS):
        draw_row(axes, row, -1.35 - 1.05 * place, colours)
    handles = [
        Line2D([], [], color=colours.credit, linewidth=2, label="credit flows back"),
        Line2D(
            [],
            [],
            color=colours.forward,
            marker="s",
            markersize=8,
            linewidth=0,
            label="in memory while it flows through the last four steps",
        ),
    ]
    axes.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0), ncols=2, frameon=False, fontsize=10,
        labelcolor=colours.ink,
    )  # fmt: skip
    return figure


def main() -> None:
    """Write both pictures; the same bytes every time."""
    matplotlib.rcParams["svg.hashsalt"] = "jaxrnn"
    for name, colours in (("light", LIGHT), ("dark", DARK)):
        path = Path(__file__).parent / "images" / f"credit_flow_{name}.svg"
        path.parent.mkdir(exist_ok=True)
        draw(colours).savefig(path, transparent=True, metadata={"Date": None})
        print(path)


if __name__ == "__main__":
    main()
