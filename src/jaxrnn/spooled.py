"""Full backpropagation through time over a sequence longer than memory, streamed from disk and back to it.

The outer level of recomputation, driven from the host. Forward, chunk after chunk is read, and the carry at each
boundary spooled to a folder. Backward, the last chunk first, each is read again and differentiated from its spooled
carry, and the carry's cotangent handed to the chunk before it.

Both passes go on where they were when the process ended. In the folder lie, as snapshots (`jaxrnn.snapshots`):

- `carry_N`: the carry after N chunks; the newest one is how far the forward pass has come;
- `credit_N`: after the last N chunks have been gone back through, the sums so far and the carry's cotangent.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrnn import snapshots
from jaxrnn.cell import Cell
from jaxrnn.choices import is_whole, require
from jaxrnn.errors import InputError
from jaxrnn.gradients.base import Chunk, Estimate
from jaxrnn.gradients.budget import shapes
from jaxrnn.gradients.checkpointed import read_lengths, recomputed
from jaxrnn.gradients.segments import ChunkLoss, chunk_loss, with_credit
from jaxrnn.sums import added, sum_dtype
from jaxrnn.trees import is_key, renew_keys, split_carry
from jaxrnn.types import Carry, Loss, Params

Spooled = Callable[[Params, Carry, Callable[[int], Chunk], int, str | os.PathLike], tuple[Estimate, Carry]]


def spooled_bptt(cell: Cell, loss: Loss, *, segment_length: int | Sequence[int] | None = None) -> Spooled:
    """Make the function that gives the exact gradient over chunks read one by one, and can be interrupted anywhere.

    Equals `bptt` over all chunks as one: credit crosses their boundaries, and noise in the carry is renewed once, at
    the start.

    Args:
        cell: any cell.
        loss: `(outputs [K, B, ...], targets [K, B, ...]) -> [K, B]`; see `jaxrnn.losses`.
        segment_length: where the intermediates of a chunk do not fit into memory, time steps that are recomputed at a
            time within it, as for `checkpointed_bptt`.

    Returns:
        `(params, carry, read, number, folder) -> (Estimate, carry)`, with `read(n)` the chunk n, the same whenever it
        is asked for, and `number` how many there are. The estimate is that of the whole sequence, the carry the one
        after it. Called again with the same arguments after an interruption, it goes on from the last chunk that was
        done and comes to the same bits; where all were done, they are read once more, to see that they are the same.
        Whoever calls it has the folder for itself, and removes it in the end.

    Raises:
        InputError: if a segment's length is no whole number of steps; from the function, where there is no chunk; the
            folder was begun with other parameters, another carry, cell, loss or number of chunks, or under another JAX;
            a chunk that is read is not what it was in the forward pass; or a spooled carry is damaged.

    Cost:
        The forward pass twice, and three times with segments. Memory of one chunk, its intermediates (or those of a
        segment) and two gradients, however long the sequence is. On disk a carry for each chunk; and for each chunk
        a gradient is written, so a chunk should be worth it: thousands of steps.

    References:
        T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174,
        section 3 (the same cut, within memory).

    Example:
        >>> import tempfile
        >>> from jaxrnn.cells.elman import elman
        >>> from jaxrnn.losses import squared_error
        >>> cell = elman(3, 4)
        >>> params, carry = cell.init(jax.random.key(0)), cell.initial_carry(2)
        >>> read = lambda n: Chunk(jnp.ones((10, 2, 3)), jnp.zeros((10, 2, 4)), jnp.ones((10, 2)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     estimate, carry = spooled_bptt(cell, squared_error)(params, carry, read, 3, folder)
        >>> float(estimate.weight), estimate.grads["w_hh"].shape
        (60.0, (4, 4))
    """
    lengths = () if segment_length is None else read_lengths("spooled_bptt", segment_length)
    run = chunk_loss(cell, loss)
    forward, backward = _passes(recomputed(run, lengths))
    uncut = jax.jit(partial(with_credit, run))  # never run: its text says what is computed, whatever the segments

    def estimate(params, carry, read, number, folder):
        require(is_whole(number), "spooled_bptt: number", number, "a whole number of chunks, at least 1")
        first, folder = shapes(read(0)), Path(folder)
        carry = _of_lasting_dtypes(renew_keys(carry), jax.eval_shape(forward, params, carry, first))
        credit = jax.tree.map(jnp.zeros_like, split_carry(carry)[0])
        program = uncut.lower(*shapes((params, carry, first, credit))).as_text()
        begun = _digest((params, carry), f"{number} chunks, {program}")
        nothing = jax.eval_shape(backward, params, carry, first, credit)
        summed = jax.tree.map(lambda a: jnp.zeros(a.shape, sum_dtype(a.dtype)), nothing[0])

        last, meta = _resumed(folder, "carry", carry, begun) or _saved(folder, "carry", 0, carry, begun, begun)
        for n in range(meta["chunks"], number):
            chunk = read(n)
            last = forward(params, last, chunk)
            last, meta = _saved(folder, "carry", n + 1, last, begun, _digest(chunk, meta["history"]))
            del chunk  # before the next is read: they may be large

        start = (summed, credit), {"chunks": 0, "history": meta["history"]}
        (summed, credit), meta = _resumed(folder, "credit", (summed, credit), begun) or start
        if meta["chunks"] == number:  # nothing is left to do that would tell whether these are other data
            history = begun
            for n in range(number):
                history = _digest(read(n), history)
                _check_same(folder, n, history, snapshots.load_meta(folder / f"carry_{n + 1}")["history"])
        for n in reversed(range(number - meta["chunks"])):
            before, about = snapshots.load(folder / f"carry_{n}", carry)
            chunk = read(n)
            _check_same(folder, n, _digest(chunk, about["history"]), meta["history"])
            part, credit = backward(params, before, chunk, credit)
            del chunk
            summed = added(summed, part)
            _, meta = _saved(folder, "credit", number - n, (summed, credit), begun, about["history"])
            snapshots.prune(folder, keep=1, kind="credit")
        return optax.tree.cast_like(summed, nothing[0]), last

    return estimate


def _passes(run: ChunkLoss) -> tuple[Callable[..., Carry], Callable[..., Any]]:
    """A chunk forward: its carry; and backward: its estimate, and the cotangent of the carry that it began with."""

    @jax.jit
    def forward(params, carry, chunk):
        return run(params, carry, chunk)[0]

    @jax.jit
    def backward(params, carry, chunk, credit):
        estimate, _, credit = with_credit(run, params, carry, chunk, credit)
        return estimate, credit

    return forward, backward


def _of_lasting_dtypes(carry: Carry, after: Carry) -> Carry:
    """The carry with the dtypes that it has after a chunk: others, as NumPy's float64, would not be found again."""
    return jax.tree.map(lambda leaf, like: leaf if is_key(leaf) else jnp.asarray(leaf, like.dtype), carry, after)


def _saved(folder: Path, kind: str, chunks: int, state: Any, begun: str, history: str) -> tuple[Any, dict[str, Any]]:
    """The state and what is known of it, once they are on the disk."""
    meta = {"chunks": chunks, "begun": begun, "history": history}
    snapshots.save(folder / f"{kind}_{chunks}", state, meta)
    return state, meta


def _resumed(folder: Path, kind: str, like: Any, begun: str) -> tuple[Any, dict[str, Any]] | None:
    """The newest state of a kind that is whole; None where there is none."""
    newest = snapshots.newest(folder, kind)
    if newest is None:
        return None
    if snapshots.load_meta(newest)["begun"] != begun:
        what = "begun with other parameters, another carry, cell, loss or number of chunks, or under another JAX"
        raise InputError(f"{folder}: {what}; give another folder, or remove it to begin anew")
    return snapshots.load(newest, like)


def _check_same(folder: Path, number: int, digest: str, before: str) -> None:
    """Refuse a chunk that is not what it was in the forward pass."""
    if digest != before:
        raise InputError(f"{folder}: read({number}) gives another chunk than in the forward pass; give that one")


def _digest(tree: Any, before: str) -> str:
    """SHA-256 of what came before and of every leaf, with name, dtype and shape."""
    digest = hashlib.sha256(before.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
