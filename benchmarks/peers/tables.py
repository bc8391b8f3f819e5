"""What was measured as tables and as a picture."""

from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.peers.rows import ROWS

LABELS = {
    "jaxrnn": "jaxrnn",
    "torch": "PyTorch",
    "linen": "Flax linen",
    "nnx": "Flax nnx",
    "equinox": "Equinox",
    "haiku": "Haiku",
    "keras": "Keras on JAX",
    "products": "matrix products alone",
}


def table(row: str, found: dict[str, Any]) -> Table:
    """A row's implementations: times, how many times that of jaxrnn, and what they take.

    Args:
        row: its name.
        found: implementation -> what was measured, or what is missing.

    Returns:
        A table.
    """
    sizes = ROWS[row]
    cell = f"{sizes.layers} x {sizes.cell} {sizes.hidden}, B {sizes.batch}, T {sizes.steps}, outputs {sizes.outputs}"
    out = Table(title=f"{row}: {cell}", title_justify="left")
    out.add_column("")
    for head in ("ms", "x jaxrnn", "same allocator, ms", "x jaxrnn", "peak MiB", "temp MiB", "compiled in s"):
        out.add_column(head, justify="right")
    own = found.get("jaxrnn", {})
    for name, one in found.items():
        if "missing" in one:
            out.add_row(LABELS[name], one["missing"])
            continue
        same = one["same_allocator"]
        times = (ms(one), ratio(one, own), ms(same), ratio(same, own.get("same_allocator", {})))
        out.add_row(LABELS[name], *times, *(mib(one[key]) for key in ("peak_rss_bytes", "temp_bytes")), compiled(one))
    if "seconds" in own and "seconds" in found.get("products", {}):
        out.caption = f"jaxrnn takes {own['seconds'] / found['products']['seconds']:.2f} of its matrix products' time"
        out.caption_justify = "left"
    return out


def ms(one: dict[str, Any]) -> str:
    """Milliseconds."""
    return f"{1e3 * one['seconds']:.1f}"


def ratio(one: dict[str, Any], own: dict[str, Any]) -> str:
    """How many times as long as jaxrnn."""
    return f"{one['seconds'] / own['seconds']:.2f}" if "seconds" in own else ""


def mib(size: int | None) -> str:
    """Mebibytes."""
    return "" if size is None else f"{size / 2**20:.0f}"


def compiled(one: dict[str, Any]) -> str:
    """Seconds of compilation."""
    return "" if one["compile_seconds"] is None else f"{one['compile_seconds']:.1f}"


def picture(found: dict[str, Any]) -> Figure:
    """A panel a row: a bar for each implementation as it comes, a mark where all have the same allocator.

    Args:
        found: row -> implementation -> what was measured.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(11, 2.3 * -(-len(found) // 2)), layout="constrained")
    axes = figure.subplots(-(-len(found) // 2), 2, squeeze=False).flatten()
    for axis, (row, of_row) in zip(axes, found.items(), strict=False):
        there = {name: one for name, one in of_row.items() if "missing" not in one}
        colors = ["C0" if name == "jaxrnn" else "0.85" if name == "products" else "0.6" for name in there]
        labels = [LABELS[name] for name in there]
        axis.barh(labels, [1e3 * one["seconds"] for one in there.values()], color=colors)
        axis.plot([1e3 * one["same_allocator"]["seconds"] for one in there.values()], labels, "k|", markersize=9)
        axis.invert_yaxis()
        axis.set(title=row, xlabel="ms an update; | with the same allocator for all")
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    return figure
