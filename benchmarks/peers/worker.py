"""One implementation of one row, alone in a process, that works when it is told to.

    python -m benchmarks.peers.worker NAME ROW SIZE [check FILE]

First it says in a line of JSON that it is ready, or what is missing. Then it reads lines: `N` makes N updates, after
one that is not timed, and answers with the seconds of one of them; `end` answers with the memory that was needed. With
`check` it makes two updates without dropout and writes losses and weights into a file.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

import numpy as np

from benchmarks.memory import peak_rss
from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Row, batch, compared, sized, start

IN_TURN = "BENCHMARK_UPDATES_IN_TURN"
"""In the environment: JAX makes an update when it is asked to, not behind the next one, as jaxrnn's trainer does."""


def main(name: str, row_name: str, size: str, *check: str) -> None:
    """Prepare, say so, and do as told.

    Args:
        name: of the implementation.
        row_name: of the row.
        size: "full" or "small".
        *check: nothing, or the word and the file.
    """
    row = sized(row_name, size)
    row = compared(row) if check else row
    prepared = prepare(name, row)
    if isinstance(prepared, dict):
        say(prepared)
    elif check:
        np.savez(check[1], **two_updates(prepared))
        say({})
    else:
        say({"temp_bytes": prepared.temp_bytes, "compile_seconds": prepared.compile_seconds})
        obey(prepared)


def prepare(name: str, row: Row) -> Prepared | dict[str, str]:
    """Build a row, or tell what is missing."""
    try:
        implementation = importlib.import_module(f"benchmarks.peers.implementations.{name}")
    except ModuleNotFoundError as error:
        return {"missing": f"{error.name} is not installed"}
    if IN_TURN in os.environ and "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_cpu_enable_async_dispatch", False)
    if row.cell not in implementation.CELLS:
        return {"missing": "no such cell"}
    return implementation.build(row, start(row), batch(row))


def two_updates(prepared: Prepared) -> dict[str, Any]:
    """The losses of the first two updates, and the weights after them."""
    losses = [prepared.run(1), prepared.run(1)]
    return {"losses": np.array(losses), **prepared.weights()}


def obey(prepared: Prepared) -> None:
    """Do as standard input says, to its end."""
    for line in sys.stdin:
        if line.strip() == "end":
            say({"peak_rss_bytes": peak_rss()})
            return
        number = int(line)
        prepared.run(1)
        began = time.perf_counter()
        prepared.run(number)
        say({"seconds": (time.perf_counter() - began) / number})


def say(something: dict[str, Any]) -> None:
    """Write a line of JSON at once."""
    print(json.dumps(something), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
