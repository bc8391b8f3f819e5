"""What every implementation makes of a row: updates that can be counted and timed."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.peers.rows import Weights


class Prepared(NamedTuple):
    """An implementation that has its weights and its data, and is compiled.

    Attributes:
        run: `(n) -> loss`: makes n updates, waits for the last one and gives its loss, the mean over the targets.
        weights: `() -> weights` as they are after the updates so far.
        temp_bytes: of the compiled program on all its devices, as the compiler says; None where nothing is compiled.
        compile_seconds: what tracing and compiling took.
    """

    run: Callable[[int], float]
    weights: Callable[[], Weights]
    temp_bytes: int | None = None
    compile_seconds: float | None = None
