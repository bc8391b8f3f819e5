"""Pictures as SVG: drawn once, in the colours of a file for papers and in those of a page that may be dark.

A picture is drawn in a few colours that stand for roles; these are then replaced, in a file by the colours of a light
page, in the report by variables of its style sheet. Text stays text.
"""

import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

INK, QUIET, GRID = "#010101", "#020202", "#030303"
SERIES = ("#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04")
MARKERS, DASHES = ("o", "s", "^", "D"), ("-", "--", ":", "-.")  # so that a series can be told without its colour

_VARIABLES = {INK: "--ink", QUIET: "--quiet", GRID: "--grid"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, 1)
}
_ON_WHITE = {
    INK: "#1f2328",
    QUIET: "#59636e",
    GRID: "#d1d9e0",
    **dict(zip(SERIES, ("#0b62c4", "#b54708", "#1a7f4b", "#7a3fc0"), strict=True)),
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


class Picture(NamedTuple):
    """A picture of the report.

    Attributes:
        name: its file's, without the ending.
        title: what it shows, in a few words.
        caption: what is to be seen in it, in a sentence or two: it must stand for the picture.
        on_white: the SVG for a file.
        in_page: the SVG for the report.
    """

    name: str
    title: str
    caption: str
    on_white: str
    in_page: str


def picture(
    name: str, title: str, caption: str, draw: Callable[[Figure], None], size: tuple[float, float] = (4.4, 2.9)
) -> Picture:
    """Draw a picture.

    Args:
        name: its file's, without the ending.
        title: what it shows.
        caption: what is to be seen in it.
        draw: draws on an empty figure, in `INK`, `QUIET`, `GRID` and `SERIES`.
        size: in inches; the page shows it no larger than that.

    Returns:
        The picture.

    Example:
        >>> shown = picture("line", "A line", "It rises.", lambda figure: figure.subplots().plot([0, 1], color=INK))
        >>> "var(--ink)" in shown.in_page, "#1f2328" in shown.on_white, "#010101" in shown.in_page + shown.on_white
        (True, True, False)
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    drawn = file.getvalue()
    page = _coloured(drawn[drawn.index("<svg") :], {role: f"var({name})" for role, name in _VARIABLES.items()})
    page = re.sub(r"<metadata>.*?</metadata>\s*", "", page, flags=re.DOTALL)
    page = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", page)  # several pictures share one page
    page = page.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-caption" ', 1)
    page = re.sub(r'(<svg [^>]*?)width="([\d.]+)pt" height="[\d.]+pt"', r'\1style="max-width: \2pt"', page, count=1)
    return Picture(name, title, caption, _coloured(drawn, _ON_WHITE), page)


def _coloured(svg: str, colours: dict[str, str]) -> str:
    """The drawing with its roles replaced."""
    return re.sub("#0[0-9a]0[0-9a]0[1-4]", lambda found: colours.get(found[0], found[0]), svg)
