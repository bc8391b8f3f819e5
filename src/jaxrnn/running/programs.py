"""The compiled functions of a run: its first state, its training, and the start of an epoch."""

from collections.abc import Callable
from functools import partial

import jax
import msgspec

from jaxrnn import build, training
from jaxrnn.gradients import Chunk
from jaxrnn.parallel import row_shardings
from jaxrnn.running.experiment import Experiment, first_state, next_epoch
from jaxrnn.training import Metrics, TrainState
from jaxrnn.types import Array


def build_train_step(experiment: Experiment) -> jax.stages.Wrapped:
    """Make the compiled function that trains. Where chunks differ in length, the learning rate goes with the length.

    How many updates there will be is no part of the program: the one that has measured the pace is the one that trains.

    Args:
        experiment: the experiment.

    Returns:
        `train_step(state, chunks, updates) -> (state, metrics)`, see `jaxrnn.training.make_train_step`; `updates` is
        what the schedule of the rate runs over.
    """
    config, estimator, mesh = experiment.config, experiment.learner.estimator, experiment.mesh
    data, accumulate = config.data, config.training.accumulate
    full_weight = data.chunk_length * data.batch_size * accumulate if data.chunk_spread else None

    def train_step(state: TrainState, chunks: Chunk, updates: Array) -> tuple[TrainState, Metrics]:
        optimizer = build.build_optimizer(config.optimizer, updates)
        return training.make_train_step(estimator, optimizer, full_weight=full_weight, mesh=mesh)(state, chunks)

    return jax.jit(train_step, donate_argnums=0)


def build_beginning(experiment: Experiment) -> Callable[[], TrainState]:
    """Make the compiled function that makes the state before the first update, on the devices where it belongs.

    Args:
        experiment: the experiment.

    Returns:
        `beginning() -> state`, see `first_state`.
    """
    begin = partial(first_state, experiment.config, experiment.learner)
    return jax.jit(begin, out_shardings=shardings(experiment))


def build_next_epoch(experiment: Experiment) -> Callable[[TrainState, int], TrainState]:
    """Make the compiled function that starts on the text anew.

    Args:
        experiment: the experiment.

    Returns:
        `begin_epoch(state, epoch) -> state`, see `next_epoch`.
    """
    begin = partial(next_epoch, experiment.config, experiment.learner)
    return jax.jit(begin, out_shardings=shardings(experiment))


def shardings(experiment: Experiment) -> TrainState | None:
    """Say where the state lies.

    Args:
        experiment: the experiment.

    Returns:
        A sharding for each leaf; None on one device.
    """
    config, learner, mesh = experiment.config, experiment.learner, experiment.mesh

    def shapes(rows: int) -> TrainState:
        data = msgspec.structs.replace(config.data, batch_size=rows)
        return jax.eval_shape(partial(first_state, msgspec.structs.replace(config, data=data), learner))

    rows = config.data.batch_size
    return None if mesh.size == 1 else row_shardings(mesh, shapes(rows), shapes(rows // mesh.size))
