"""The command: every row by every implementation."""

import json
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from benchmarks import results
from benchmarks.peers.contest import BARE, Setting, measure
from benchmarks.peers.tables import picture, table

RowName = Literal["rnnlm", "better_rnnlm", "charlm", "seqmnist", "longscan", "gru", "elman"]
Name = Literal["jaxrnn", "torch", "linen", "nnx", "equinox", "haiku", "keras", "products"]


def main(
    rows: Annotated[tuple[RowName, ...], tyro.conf.arg(help="which models; by default all")] = RowName.__args__,
    implementations: Annotated[tuple[Name, ...], tyro.conf.arg(help="which; by default all")] = Name.__args__,
    rounds: Annotated[int, tyro.conf.arg(help="how often each is timed")] = 9,
    quick: Annotated[bool, tyro.conf.arg(help="small sizes and two implementations, to see that it works")] = False,
    print_json: Annotated[bool, tyro.conf.arg(name="json", help="print the result as JSON and write nothing")] = False,
) -> None:
    """Time the whole train step of jaxrnn and of its peers.

    As JSON: `{row: {implementation: {seconds, peak_rss_bytes, temp_bytes, compile_seconds, ...}}}`, and in the same
    place `same_allocator`, those four once more from processes in which glibc keeps what is freed, and `difference`
    from the first implementation: of the `loss`, of the `update`. `temp_bytes` and `compile_seconds` are null where
    nothing is compiled. The products are those of the faster of two ways, and `variant` says of which. Where
    something is not installed, or has no such cell, there is only `missing`, with the reason.
    """
    if quick:
        rows = rows if rows != RowName.__args__ else ("rnnlm", "seqmnist")
        implementations = implementations if implementations != Name.__args__ else ("jaxrnn", "linen")
    names = tuple(way for name in implementations for way in (BARE if name == "products" else (name,)))
    setting = Setting(names, "small" if quick else "full", 2 if quick else rounds, 0.01 if quick else 0.5)
    found = {} if print_json else results.before("peers", quick=quick)  # rows that were not asked for stay
    for row in rows:
        found[row] = with_faster_products(measure(row, setting))
        if not print_json:
            Console(width=120).print(table(row, found[row]))
            found = {name: found[name] for name in RowName.__args__ if name in found}
            results.save("peers", found, picture(found), quick=quick)
    if print_json:
        print(json.dumps(found))


def with_faster_products(of_row: dict[str, Any]) -> dict[str, Any]:
    """The row with the faster of the two ways to multiply as `products`, in each pass by itself."""
    ways = {name: of_row[name] for name in BARE if name in of_row}
    rest = {name: one for name, one in of_row.items() if name not in BARE}
    if not ways:
        return rest
    passes = ways, {name: one["same_allocator"] for name, one in ways.items()}
    shipped, same = (faster(each) for each in passes)
    return rest | {"products": shipped | {"same_allocator": same}}


def faster(ways: dict[str, Any]) -> dict[str, Any]:
    """The one with the least time, with its name as `variant`."""
    name = min(ways, key=lambda name: ways[name]["seconds"])
    return ways[name] | {"variant": {"products": "XLA's own threads", "products_by_core": "one stream a core"}[name]}


if __name__ == "__main__":
    tyro.cli(main)
