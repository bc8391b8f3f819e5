"""One way of taking the gradient of a long sequence, alone in a process: what memory and time does it need?

    python -m benchmarks.contenders checkpointed --steps 16000 --hidden 128 --rounds 3

Prints one line of JSON. The model is the same for all: an embedding, an LSTM and a readout over 65 symbols, one row,
fresh parameters; the text is random. A library that is not installed is said to be missing.
"""

import importlib
import json
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.memory import forbid_more_than, peak_rss, temp_bytes
from jaxrnn.cell import Cell, scan_unroll
from jaxrnn.cells import lstm
from jaxrnn.compose import language_model
from jaxrnn.data.chunks import make_streams, number_of_chunks, read
from jaxrnn.gradients import CarryState, Chunk, GradientEstimator, bptt, checkpointed_bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.spooled import spooled_bptt

VOCABULARY, EMBEDDING = 65, 64
BUDGET = "64MiB"
LIMIT = 16 * 2**30


class Prepared(NamedTuple):
    """A contender that has its data and is compiled.

    Attributes:
        call: computes once, waits for the result and returns it as one vector.
        temp_bytes: of the compiled program, as the compiler says; None where there is no such thing.
    """

    call: Callable[[], np.ndarray]
    temp_bytes: int | None


Contender = Callable[[int, int, str], Prepared]  # (steps, hidden_size, dtype)


def main(
    name: Annotated[str, tyro.conf.Positional],
    steps: int,
    hidden: int,
    dtype: str = "float32",
    rounds: int = 1,
    result: Path | None = None,
) -> None:
    """Run a contender and say what it took.

    Args:
        name: of the contender.
        steps: T.
        hidden: H.
        dtype: of parameters and carry.
        rounds: how often it is timed, after one round that is not where there is more than one.
        result: a file for the gradient, in NumPy's format.
    """
    forbid_more_than(LIMIT)
    jax.config.update("jax_enable_x64", dtype == "float64")
    try:
        prepared = CONTENDERS[name](steps, hidden, dtype)
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}))
        return
    gradient, seconds = np.zeros(0), []
    for _ in range(rounds if rounds == 1 else rounds + 1):
        start = time.perf_counter()
        gradient = prepared.call()
        seconds.append(time.perf_counter() - start)
    if result:
        np.save(result, gradient)
    said = {"temp_bytes": prepared.temp_bytes, "seconds_per_step": median(seconds[-rounds:]) / steps}
    print(json.dumps({"peak_rss_bytes": peak_rss(), **said}))


@cache
def model(hidden: int, dtype: str) -> tuple[Cell, Any]:
    """The language model and its parameters: those drawn in float32, whatever the dtype."""

    def make(dtype):
        return language_model(lstm(EMBEDDING, hidden, dtype=dtype), VOCABULARY, dtype=dtype)

    params = jax.jit(make(jnp.float32).init)(jax.random.key(0))
    return make(jnp.dtype(dtype)), jax.tree.map(lambda p: p.astype(dtype), params)


def symbols(steps: int) -> np.ndarray:
    """Random symbols: the first, and one to be predicted at each step."""
    return np.random.default_rng(0).integers(0, VOCABULARY, steps + 1, dtype=np.int32)


def text(steps: int) -> Chunk:
    """The symbols as one row."""
    ids, weight = symbols(steps)[:, None], np.ones((steps, 1), np.float32)
    return Chunk(ids[:-1], ids[1:], jnp.asarray(weight))


def flat(tree: Any) -> np.ndarray:
    """The leaves of a tree as one vector of float64."""
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(tree)])


def direction(params: Any) -> Any:
    """A random tree like the parameters, in any dtype that of float32."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32).astype(p.dtype), params)


def compiled(function: Callable[..., Any], *arguments: Any) -> Prepared:
    """A function of JAX, compiled for its arguments."""
    program = jax.jit(function).lower(*arguments).compile()
    return Prepared(lambda: flat(program(*arguments)), temp_bytes(program))


def reverse(make: Callable[..., GradientEstimator], steps: int, hidden: int, dtype: str) -> Prepared:
    """An estimator of jaxrnn: the gradient."""
    cell, params = model(hidden, dtype)
    rule, chunk = make(cell, softmax_cross_entropy), jax.tree.map(jnp.asarray, text(steps))
    state = CarryState(cell.initial_carry(1))
    return compiled(lambda *arguments: rule.estimate(*arguments)[0].grads, params, state, chunk)


def scan(cell: Cell, loss: Callable[..., Any]) -> GradientEstimator:
    """What JAX makes of a loop over steps by itself: `grad` of `lax.scan`."""
    return bptt(cell._replace(unroll=scan_unroll(cell.step)), loss)


def forward(steps: int, hidden: int, dtype: str) -> Prepared:
    """The derivative of the same loss along `direction`, forward in time by `jax.jvp`: no step is kept or run twice."""
    cell, params = model(hidden, dtype)

    def loss(params, chunk):
        def step(running, now):
            carry, total = running
            carry, y = cell.step(params, carry, now.inputs)
            return (carry, total + jnp.sum(softmax_cross_entropy(y, now.targets))), None

        return jax.lax.scan(step, (cell.initial_carry(1), jnp.zeros((), dtype)), chunk)[0][1]

    def along(params, v, chunk):
        return jax.jvp(partial(loss, chunk=chunk), (params,), (v,))[1]

    return compiled(along, params, direction(params), jax.tree.map(jnp.asarray, text(steps)))


def spooled(steps: int, hidden: int, dtype: str) -> Prepared:
    """The gradient with the text and the carries on disk, and one chunk in memory."""
    cell, params = model(hidden, dtype)
    estimate = spooled_bptt(cell, softmax_cross_entropy, segment_length=256)
    length = -(-steps // -(-steps // 2**16))  # chunks of at most 65,536 steps, as even as they can be: padding is work

    def over(steps: int) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            ids = Path(folder, "ids.npy")
            np.save(ids, symbols(steps))
            streams = make_streams(np.load(ids, mmap_mode="r"), 1, length, drop_tail=False)
            source = partial(read, streams), number_of_chunks(streams)
            return flat(estimate(params, cell.initial_carry(1), *source, Path(folder, "spool"))[0].grads)

    over(length)  # to compile
    return Prepared(partial(over, steps), None)


def flax(steps: int, hidden: int, dtype: str) -> Prepared:
    """Flax: `nn.RNN` over `nn.OptimizedLSTMCell`, differentiated by `jax.grad`."""
    nn = importlib.import_module("flax.linen")
    types = {"dtype": dtype, "param_dtype": dtype}
    layers = [nn.Embed(VOCABULARY, EMBEDDING, **types), nn.RNN(nn.OptimizedLSTMCell(hidden, **types), time_major=True)]
    network = nn.Sequential([*layers, nn.Dense(VOCABULARY, **types)])
    chunk = jax.tree.map(jnp.asarray, text(steps))
    params = network.init(jax.random.key(0), chunk.inputs[:1])

    def loss(params, chunk):
        return jnp.sum(softmax_cross_entropy(network.apply(params, chunk.inputs), chunk.targets))

    return compiled(jax.grad(loss), params, chunk)


def torch(steps: int, hidden: int, dtype: str) -> Prepared:
    """PyTorch: `nn.LSTM`, differentiated by `backward`."""
    torch = importlib.import_module("torch")
    types = {"dtype": getattr(torch, dtype)}
    embedding, readout = (
        torch.nn.Embedding(VOCABULARY, EMBEDDING, **types),
        torch.nn.Linear(hidden, VOCABULARY, **types),
    )
    core = torch.nn.LSTM(EMBEDDING, hidden, **types)
    layers = torch.nn.ModuleList([embedding, core, readout])
    inputs, targets = (torch.tensor(np.asarray(ids), dtype=torch.long) for ids in text(steps)[:2])

    def call():
        layers.zero_grad()
        logits = readout(core(embedding(inputs))[0])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        loss.backward()
        return flat([p.grad.numpy() for p in layers.parameters()])

    return Prepared(call, None)


CONTENDERS: dict[str, Contender] = {
    "checkpointed": partial(reverse, partial(checkpointed_bptt, memory=BUDGET)),
    "bptt": partial(reverse, bptt),
    "scan": partial(reverse, scan),
    "spooled": spooled,
    "forward": forward,
    "flax": flax,
    "torch": torch,
}


if __name__ == "__main__":
    tyro.cli(main)
