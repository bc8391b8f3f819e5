"""How long may a sequence be, and what does its exact gradient cost?

    python -m benchmarks.long_sequence --steps 10000000 --hidden 128 --json     # one length, about 8 minutes
    python -m benchmarks.long_sequence                                          # all lengths and peers, half an hour
    python -m benchmarks.long_sequence --quick                                  # under a minute, to see that it works

One gradient of the loss over T steps of an LSTM language model, one row, float32 (`benchmarks.contenders`), by
`checkpointed_bptt` in 64 MiB. Every figure is of a process of its own: the most memory that the whole process had in
use, the temporaries of the compiled program, and the seconds, with full BPTT over 16,000 steps timed before and after.

- The gradient is held to forward mode: its product with a random direction against `jax.jvp` of the same loss in
  float64, which keeps and recomputes nothing.
- Full BPTT, Flax and PyTorch run at twice the length again and again, until the next run would need more than 16 GiB.
- Gradients in float32 are held to those in float64: plain autodiff adds up a weight's gradient step by step.
"""

import json
import math
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.contenders import BUDGET, LIMIT, direction, flat, model, text
from jaxrnn.gradients import checkpointed_bptt
from jaxrnn.gradients.budget import compiled_memory
from jaxrnn.losses import softmax_cross_entropy


class Setting(NamedTuple):
    """What is measured.

    Attributes:
        hidden: H.
        lengths: T, of the checkpointed gradient.
        spooled: T, of the same by way of the disk.
        plain: T of full BPTT, whose time a step is the measure.
        check: T at which the gradient is held to forward mode, and T at which float32 is held to float64.
        peers: the first T of those that keep every step.
        limit: bytes that they may take.
    """

    hidden: int = 128
    lengths: tuple[int, ...] = (16_000, 64_000, 256_000, 1_000_000, 10_000_000)
    spooled: tuple[int, ...] = (100_000, 1_000_000)
    plain: int = 16_000
    check: tuple[int, int] = (10_000_000, 2**18)
    peers: int = 16_000
    limit: int = LIMIT


QUICK = Setting(hidden=8, lengths=(4_000,), spooled=(), plain=1_000, check=(4_000, 4_000), peers=4_000, limit=2**28)
PEERS = {"bptt": "jaxrnn bptt", "flax": "Flax", "torch": "PyTorch"}


def main(
    steps: Annotated[int | None, tyro.conf.arg(help="T, for one length only")] = None,
    hidden: Annotated[int, tyro.conf.arg(help="H, the LSTM's hidden size")] = 128,
    check_steps: Annotated[int, tyro.conf.arg(help="T, at most, of the comparison with forward mode")] = 1_000_000,
    quick: Annotated[bool, tyro.conf.arg(help="a small model and short lengths, to see that it works")] = False,
    print_json: Annotated[bool, tyro.conf.arg(name="json", help="print the result as JSON and write nothing")] = False,
) -> None:
    """Measure the exact gradient of a long sequence: its memory, time and truth."""
    if steps is not None:
        result = one_length("checkpointed", steps, hidden) | against_forward_mode(min(steps, check_steps), hidden)
        print(json.dumps({"machine": results.machine(), **result}, indent=None if print_json else 2))
        return
    result = measure(QUICK if quick else Setting(hidden=hidden))
    if print_json:
        print(json.dumps({"machine": results.machine(), **result}))
        return
    results.save("long_sequence", result, picture(result), quick=quick)


def one_length(name: str, steps: int, hidden: int, plain: int = Setting().plain) -> dict[str, Any]:
    """A gradient in bounded memory over T steps, with full BPTT over some thousand steps timed before and after."""
    before = run("bptt", plain, hidden, rounds=5)
    bounded = run(name, steps, hidden, rounds=rounds_for(steps))
    after = run("bptt", plain, hidden, rounds=5)
    seconds = (before["seconds_per_step"] + after["seconds_per_step"]) / 2
    return {"steps": steps, "hidden": hidden, **bounded, "plain_steps": plain, "plain_seconds_per_step": seconds}


def rounds_for(steps: int) -> int:
    """How often a run is timed: a long one once."""
    return 3 if steps < 100_000 else 1


def against_forward_mode(steps: int, hidden: int) -> dict[str, Any]:
    """How far the gradient along a random direction is from `jax.jvp` in float64, in both dtypes."""
    along = flat(direction(model(hidden, "float32")[1]))
    (exact,) = gradient("forward", steps, hidden, "float64")
    errors = {
        dtype: abs(float(gradient("checkpointed", steps, hidden, dtype) @ along) / exact - 1)
        for dtype in ("float64", "float32")
    }
    return {
        "jvp_relative_error": errors["float64"],
        "jvp_relative_error_float32": errors["float32"],
        "jvp_steps": steps,
        "jvp_dtype": "float64",
    }


def float32_errors(steps: int, hidden: int) -> dict[str, Any]:
    """The relative error of gradients in float32, by norm, against float64."""
    exact = gradient("checkpointed", steps, hidden, "float64")
    errors = {name: gradient(name, steps, hidden, "float32") - exact for name in ("scan", "bptt", "checkpointed")}
    size = float(np.linalg.norm(exact))
    return {"steps": steps, "hidden": hidden} | {name: float(np.linalg.norm(e)) / size for name, e in errors.items()}


def grow(name: str, setting: Setting) -> list[dict[str, Any]]:
    """A contender at twice the length again and again; the last row is the forecast of the first that does not fit."""
    rows, steps = [], setting.peers
    while True:
        forecast = extrapolated(rows, steps)
        unfit = {"name": name, "steps": steps, "peak_rss_bytes": forecast, "measured": False}
        if forecast and forecast > setting.limit:
            return [*rows, unfit]
        try:
            row = {"name": name, "steps": steps, **run(name, steps, setting.hidden, rounds=rounds_for(steps))}
        except subprocess.CalledProcessError:
            if not forecast:
                raise
            return [*rows, unfit]
        if "missing" in row:
            return [row]
        rows, steps = [*rows, row | {"measured": True}], 2 * steps
        if row["peak_rss_bytes"] > setting.limit:
            return rows


def extrapolated(rows: list[dict[str, Any]], steps: int) -> int | None:
    """The memory of a process at T, on a straight line through the last two rows; None without two."""
    if len(rows) < 2:
        return None
    (short, less), (long, more) = ((row["steps"], row["peak_rss_bytes"]) for row in rows[-2:])
    return more + (more - less) * (steps - long) // (long - short)


def temporaries(steps: int, hidden: int) -> int:
    """Bytes of the compiled gradient with segments as long as they are many; nothing is run."""
    cell, params = model(hidden, "float32")
    rule = checkpointed_bptt(cell, softmax_cross_entropy, segment_length=math.isqrt(steps))
    chunk = jax.tree.map(lambda a: jax.ShapeDtypeStruct((steps, 1), a.dtype), text(1))
    return compiled_memory(rule, params, cell.initial_carry(1), chunk)


def measure(setting: Setting) -> dict[str, Any]:
    """All lengths and peers, then all comparisons of gradients."""
    plain, hidden = setting.plain, setting.hidden
    checkpointed = [one_length("checkpointed", steps, hidden, plain) for steps in setting.lengths]
    spooled = [one_length("spooled", steps, hidden, plain) for steps in setting.spooled]
    peers = [row for name in PEERS for row in grow(name, setting)]
    print("all is timed; now gradients are compared", file=sys.stderr, flush=True)
    return {
        "setting": setting._asdict() | {"budget": BUDGET},
        "checkpointed": checkpointed,
        "spooled": spooled,
        "peers": peers,
        "roots": [{"steps": steps, "temp_bytes": temporaries(steps, hidden)} for steps in setting.lengths],
        "forward_mode": against_forward_mode(setting.check[0], hidden),
        "float32_error": float32_errors(setting.check[1], hidden),
    }


@cache
def gradient(name: str, steps: int, hidden: int, dtype: str) -> np.ndarray:
    """What a contender computes, as one vector."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gradient.npy"
        run(name, steps, hidden, "--dtype", dtype, "--result", str(path))
        return np.load(path)


def run(name: str, steps: int, hidden: int, *options: str, rounds: int = 1) -> dict[str, Any]:
    """Run a contender in a process of its own."""
    sizes = ["--steps", str(steps), "--hidden", str(hidden), "--rounds", str(rounds)]
    command = [sys.executable, "-m", "benchmarks.contenders", name, *sizes, *options]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(name, steps, *options[:2], result, file=sys.stderr, flush=True)
    return result


def picture(result: dict[str, Any]) -> Figure:
    """Memory of the process, temporaries of the program, and time, against T; a hollow point is a forecast."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    whole, temporary, time = figure.subplots(1, 3)
    lines = {f"jaxrnn checkpointed_bptt, {BUDGET}": result["checkpointed"]}
    lines["jaxrnn spooled_bptt"] = result["spooled"]
    lines |= {label: [row for row in result["peers"] if row["name"] == name] for name, label in PEERS.items()}
    for color, (label, rows) in enumerate(lines.items()):
        style = {"color": f"C{color}", "marker": "o", "markersize": 4, "label": label}
        whole.plot(*points(rows, "peak_rss_bytes", 2**30), **style | {"markerfacecolor": "white", "linestyle": ":"})
        rows = [row for row in rows if row.get("measured", True)]
        whole.plot(*points(rows, "peak_rss_bytes", 2**30), **style)
        temporary.plot(*points(rows, "temp_bytes", 2**20), **style)
        time.plot(*points(rows, "seconds_per_step", 1e-6), **style)
    steps, roots = points(result["roots"], "temp_bytes", 2**20)
    temporary.plot(steps, roots, "C0s", markersize=4, label="jaxrnn checkpointed_bptt, segments of √T")
    bound = [roots[0] * math.sqrt(t / steps[0]) for t in steps]
    temporary.plot(steps, bound, color="0.6", linestyle="--", linewidth=1, label="what grows as √T", zorder=0)
    whole.axhline(result["setting"]["limit"] / 2**30, color="0.6", linewidth=1, zorder=0)
    whole.set(title="memory of the whole process, GiB", yscale="log")
    temporary.set(title="temporaries of the compiled program, MiB", yscale="log")
    time.set(title="microseconds a step", ylim=(0, None))
    for axis in (whole, temporary, time):
        axis.set(xscale="log", xlabel="T, time steps")
    handles = whole.get_lines()[1 : 2 * len(lines) : 2] + temporary.get_lines()[-2:]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def points(rows: list[dict[str, Any]], key: str, unit: float) -> tuple[list[int], list[float]]:
    """T, and what was measured there, in a unit."""
    present = [row for row in rows if row.get(key)]
    return [row["steps"] for row in present], [row[key] / unit for row in present]


if __name__ == "__main__":
    tyro.cli(main)
