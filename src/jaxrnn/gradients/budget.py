"""From a memory budget to segment lengths: estimated from shapes, settled by what the compiler says."""

import math
import re
from collections.abc import Callable
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.errors import InputError
from jaxrnn.gradients.base import CarryState, Chunk, GradientEstimator
from jaxrnn.gradients.segments import ChunkLoss
from jaxrnn.types import Carry, Params

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
DEEPEST, MOST_TRIED = 3, 12


def read_bytes(amount: int | str, name: str = "memory") -> int:
    """Read an amount of memory.

    Args:
        amount: bytes, or text such as "64MiB" or "1.5 GB".
        name: what messages call it.

    Returns:
        Bytes.

    Raises:
        InputError: if it is no such thing, or less than one byte.

    Example:
        >>> read_bytes("1.5 KiB"), read_bytes("64MB"), read_bytes(10)
        (1536, 64000000, 10)
    """
    number, unit = str(amount) if isinstance(amount, Real) and not isinstance(amount, bool) else "0", "B"
    if isinstance(amount, str) and (match := re.fullmatch(r"\s*(\d+\.?\d*)\s*([A-Za-z]+)\s*", amount)):
        number, unit = match.groups()
    if unit not in UNITS or not 1 <= float(number) * UNITS[unit] < math.inf:
        raise InputError(f"{name} is {amount!r}; expected bytes, as a number or with a unit: {', '.join(UNITS)}")
    return math.floor(float(number) * UNITS[unit])


def nested_lengths(steps: int, length: int, levels: int) -> tuple[int, ...]:
    """Spread levels of segments evenly between one innermost segment and the whole chunk.

    Args:
        steps: K.
        length: C, of the innermost segments.
        levels: L, how many segments lie inside each other; 0 for none.

    Returns:
        `(C n^(L-1), ..., C n, C)` with n about `(K / C)^(1/L)`.

    Example:
        >>> nested_lengths(1000, 10, 1), nested_lengths(1000, 10, 2), nested_lengths(1000, 10, 0)
        ((10,), (100, 10), ())
    """
    branches = math.ceil(round((steps / length) ** (1 / max(1, levels)), 9))
    return tuple(length * branches**level for level in reversed(range(levels)))


def plan(
    run: ChunkLoss,
    make: Callable[[tuple[int, ...]], GradientEstimator],
    params: Params,
    carry: Carry,
    chunk: Chunk,
    budget: int,
) -> tuple[int, ...]:
    """Find how to cut a chunk so that the compiled gradient fits a budget: in few levels and with long segments.

    With b_c bytes a carry and b_r bytes kept for each step, innermost segments of C steps in L levels take about::

        M = L (K / C)^(1/L) b_c + C b_r             # one level is least at C* = sqrt(K b_c / b_r)

    This orders the candidates. The first that should fit is compiled; if the compiler disagrees, all estimates are
    corrected by the ratio and the next is tried. Where by that none should fit any more, the rest are tried that fitted
    uncorrected, least first: segments that do not divide the chunk take more than the estimate knows of. Keeping
    everything is tried where the estimate is up to twice the budget: buffers may share memory, so that it is high.

    Args:
        run: the chunk's loss.
        make: `(lengths) -> estimator`, whose memory counts.
        params: the parameters.
        carry: the carry.
        chunk: `[K, B, ...]`; of all three only the shapes matter.
        budget: bytes for temporaries. Parameters, the chunk, and the results come on top.

    Returns:
        The lengths of the segments, the outermost level first; empty where everything is kept.

    Raises:
        InputError: if none of the plans tried fits, with a budget that would do.

    Cost:
        One to a few compilations, of a second or so each whatever K is; up to a dozen where the budget is at the limit.
    """
    params, carry, chunk = (shapes(tree) for tree in (params, carry, chunk))
    candidates = _candidates(run, params, carry, chunk)
    least, tried = min(candidates.values()), {}
    while True:
        # What the compiler says, relative to the estimate; before it has said anything, see above.
        ratios = [tried[lengths] / candidates[lengths] for lengths in tried]
        ratio, lowest = (ratios[-1], min(1, *ratios)) if ratios else (0.5 if candidates[()] <= 2 * budget else 1,) * 2
        allowed = max(least, budget / lowest)
        left = {lengths: size for lengths, size in candidates.items() if lengths not in tried and size <= allowed}
        if not left or len(tried) == MOST_TRIED:
            steps, rows = chunk.weight.shape
            raise InputError(
                f"checkpointed_bptt: memory (gradient.memory) is {budget} bytes, too little for a chunk of {steps} "
                f"steps and {rows} rows; a budget of {min(tried.values())} bytes works"
            )
        fitting = [lengths for lengths, size in left.items() if size * ratio <= budget]
        lengths = fitting[0] if fitting else min(left, key=left.__getitem__)
        memory = tried[lengths] = compiled_memory(make(lengths), params, carry, chunk)
        if memory <= budget:
            return lengths


def shapes(tree: Any) -> Any:
    """Take from arrays nothing but shape and dtype, least of all where they lie.

    Args:
        tree: arrays, or shapes.

    Returns:
        Shapes.
    """
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), tree)


def compiled_memory(estimator: GradientEstimator, params: Params, carry: Carry, chunk: Chunk) -> int:
    """Ask the compiler how much temporary memory an estimate takes; nothing is run.

    Args:
        estimator: any estimator whose state is the carry.
        params: shapes of the parameters.
        carry: shapes of the carry.
        chunk: shapes of the chunk.

    Returns:
        Bytes, on the default device.

    Raises:
        InputError: if the compiler does not say.
    """
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):  # on one device, whoever asks
        analysis = jax.jit(estimator.estimate).lower(params, CarryState(carry), chunk).compile().memory_analysis()
    if analysis is None:
        raise InputError("memory: the compiler for this device does not report its memory; give a segment_length")
    return analysis.temp_size_in_bytes


def _candidates(run: ChunkLoss, params: Params, carry: Carry, chunk: Chunk) -> dict[tuple[int, ...], float]:
    """All plans with the bytes that they should take, the fastest first."""
    steps = max(1, chunk.weight.shape[0])
    two, four = (_kept(run, params, carry, chunk, n) for n in (2, 4))
    per_carry, per_step, fixed = _bytes(carry), (four - two) / 2, _bytes(params)
    halvings = range(1, max(1, steps - 1).bit_length() + 1)
    cuts = [(levels, -(-steps // 2**halving)) for levels in range(1, DEEPEST + 1) for halving in halvings]
    plans = [(), *(nested_lengths(steps, length, levels) for levels, length in cuts)]

    def estimate(lengths):
        inner = lengths[-1] if lengths else steps
        boundaries = sum(-(-outer // length) for outer, length in zip((steps, *lengths), lengths, strict=False))
        return fixed + boundaries * per_carry + inner * per_step

    return {lengths: estimate(lengths) for lengths in plans}


def _kept(run: ChunkLoss, params: Params, carry: Carry, chunk: Chunk, steps: int) -> int:
    """Bytes that differentiation keeps of a few steps."""

    def residuals(params, carry, chunk):
        return jax.vjp(lambda params: run(params, carry, chunk)[1][0], params)[1]

    few = jax.tree.map(lambda a: jax.ShapeDtypeStruct((steps, *a.shape[1:]), a.dtype), chunk)
    return _bytes(jax.eval_shape(residuals, params, carry, few))


def _bytes(tree: Any) -> int:
    """Bytes of a tree of shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
