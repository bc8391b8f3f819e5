"""The compiled functions of a run: its first state, its training, and the start of an epoch."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import msgspec

from jaxrnn import build, training
from jaxrnn.gradients import Chunk
from jaxrnn.parallel import row_shardings
from jaxrnn.running.experiment import Experiment, first_state, next_epoch
from jaxrnn.running.feed import next_chunks, put_chunks
from jaxrnn.running.position import Position
from jaxrnn.training import Metrics, TrainState
from jaxrnn.types import Array


class Programs(NamedTuple):
    """What a run lets the devices do. All are compiled, each when it is first called or by `compile_ahead`.

    Attributes:
        shardings: where the state lies, for each leaf; None on one device.
        beginning: `(params=None) -> state`, the one before the first update, on the devices where it belongs: see
            `first_state`.
        train_step: `(state, chunks, updates) -> (state, metrics)`, see `jaxrnn.training.make_train_step`. What the
            schedule of the rate runs over is an argument: the program that has measured the pace is the one that
            trains.
        next_epoch: `(state, epoch) -> state` starts on the text anew: see `next_epoch`; not called on a circle.
    """

    shardings: TrainState | None
    beginning: jax.stages.Wrapped
    train_step: jax.stages.Wrapped
    next_epoch: jax.stages.Wrapped


class Compiled(NamedTuple):
    """A compiled program.

    Attributes:
        seconds: what compilation took, or reading it from the folder of compiled programs.
        temp_bytes: memory for all that it makes on the way, on each device; None where the backend does not tell.
        argument_bytes: memory of what it is given, likewise.
    """

    seconds: float
    temp_bytes: int | None
    argument_bytes: int | None


def build_programs(experiment: Experiment) -> Programs:
    """Make the functions of a run; nothing is compiled yet.

    Args:
        experiment: the experiment. Its length makes no difference.

    Returns:
        The programs.
    """
    where = _shardings(experiment)
    begin = partial(first_state, experiment.config, experiment.learner)
    begin_epoch = partial(next_epoch, experiment.config, experiment.learner)
    return Programs(
        shardings=where,
        beginning=jax.jit(begin, out_shardings=where),
        train_step=jax.jit(_train_step(experiment), donate_argnums=0),
        next_epoch=jax.jit(begin_epoch, out_shardings=where),
    )


def compile_ahead(programs: Programs, experiment: Experiment, *, resumed: bool = False) -> Compiled:
    """Compile what a run needs before its first update, side by side: the calls that follow find it compiled.

    Args:
        programs: the functions.
        experiment: what they were made for.
        resumed: whether the state, or what it is made of, comes from elsewhere, so that none is drawn.

    Returns:
        What the train step takes.
    """
    beginning = programs.beginning.trace()
    with ThreadPoolExecutor(max_workers=1) as aside:
        step = aside.submit(_compile_step, programs, experiment, beginning.out_info)
        if not resumed:
            beginning.lower().compile()
        return step.result()


def _train_step(experiment: Experiment) -> Callable[[TrainState, Chunk, Array], tuple[TrainState, Metrics]]:
    """The function that trains. Where chunks differ in length, the learning rate goes with the length."""
    config, estimator, mesh = experiment.config, experiment.learner.estimator, experiment.mesh
    data, accumulate = config.data, config.training.accumulate
    full_weight = data.chunk_length * data.batch_size * accumulate if data.chunk_spread else None

    def train_step(state: TrainState, chunks: Chunk, updates: Array) -> tuple[TrainState, Metrics]:
        optimizer = build.build_optimizer(config.optimizer, updates)
        # What fills up a dispatch has weight 0. It is left out, so that a longer run goes on from the same carry.
        full = jnp.any(chunks.weight != 0, axis=(1, 2, 3))
        count = jnp.sum(full) if full.size > 1 else None
        step = training.make_train_step(estimator, optimizer, full_weight=full_weight, mesh=mesh)
        return step(state, chunks, count)

    return train_step


def _shardings(experiment: Experiment) -> TrainState | None:
    """Say where the state lies: rows of the batch are shared out, all else is everywhere."""
    config, learner, mesh = experiment.config, experiment.learner, experiment.mesh

    def shapes(rows: int) -> TrainState:
        data = msgspec.structs.replace(config.data, batch_size=rows)
        return jax.eval_shape(partial(first_state, msgspec.structs.replace(config, data=data), learner))

    rows = config.data.batch_size
    return None if mesh.size == 1 else row_shardings(mesh, shapes(rows), shapes(rows // mesh.size))


def _compile_step(programs: Programs, experiment: Experiment, state: TrainState) -> Compiled:
    """Compile the train step for a state of such shapes, and look at what it takes."""
    if programs.shardings is not None:
        state = jax.tree.map(lambda leaf, sharding: leaf.update(sharding=sharding), state, programs.shardings)
    chunks = put_chunks(experiment, next_chunks(experiment, Position())[0])
    lowered = programs.train_step.lower(state, chunks, experiment.updates)
    began = time.perf_counter()
    analysis = lowered.compile().memory_analysis()
    seconds = time.perf_counter() - began
    if analysis is None:
        return Compiled(seconds, None, None)
    return Compiled(seconds, analysis.temp_size_in_bytes, analysis.argument_size_in_bytes)
