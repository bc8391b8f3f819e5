"""The training loop: dispatches, validations, snapshots, and when to stop.

A run is a pair: the `TrainState` on the device and the `Position` on the host. Both are saved together, and everything
that follows depends on them alone. So a run that is stopped anywhere and resumed on the same devices ends with the same
bits as one that is not.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxrnn import snapshots
from jaxrnn.averaging import average_start, begin, evaluated, remember, worsened
from jaxrnn.config import average_after
from jaxrnn.evaluation import Score
from jaxrnn.mesh import gathered, in_turn
from jaxrnn.running.experiment import Experiment
from jaxrnn.running.feed import next_chunks, put_chunks
from jaxrnn.running.meter import Meter
from jaxrnn.running.position import Position, save
from jaxrnn.running.processes import together
from jaxrnn.running.programs import Programs
from jaxrnn.running.runs import Run, flush_metrics
from jaxrnn.schedules import Plateau, observe, stalled
from jaxrnn.training import TrainState, scale_rate


class Job(NamedTuple):
    """What the loop works with.

    Attributes:
        experiment: the experiment.
        programs: its compiled functions.
        run: where its parts are written.
        validate: `(params) -> Score` on the validation text.
        meter: reads the metrics.
        announce: `(position, score)` tells the user of a validation.
        stop: `() -> bool`, whether somebody wants the run to stop.
    """

    experiment: Experiment
    programs: Programs
    run: Run
    validate: Callable[[Any], Score]
    meter: Meter
    announce: Callable[[Position, Score], None]
    stop: Callable[[], bool]


def train(job: Job, state: TrainState, position: Position) -> tuple[TrainState, Position]:
    """Train until the run is finished or somebody wants it to stop; either way, everything is saved.

    Args:
        job: what to work with.
        state: the state to go on from, not to be used again.
        position: where it stands.

    Returns:
        State and position at the end; `finished` tells which end it is.

    Raises:
        InputError: after too many updates in a row that were not finite.
    """
    config = job.experiment.config
    train_step = in_turn(job.programs.train_step, job.experiment.mesh)
    began = time.monotonic() - position.seconds
    while not finished(job.experiment, position) and not job.stop():
        if validation_due(job.experiment, position):
            job.meter.pause()
            state, position = _validate(job, state, position._replace(seconds=time.monotonic() - began))
            continue
        chunks, after = next_chunks(job.experiment, position)
        state, metrics = train_step(state, put_chunks(job.experiment, chunks), job.experiment.updates)
        job.meter.put(metrics, position.updates, after.updates)
        if after.epoch > position.epoch and not config.data.circular:
            job.meter.pause()
            state = job.programs.next_epoch(state, after.epoch)
        if averaging_due(job.experiment, after.updates):
            state = state._replace(optimizer=begin(state.optimizer))
        position = after
    job.meter.pause()
    if not finished(job.experiment, position):  # else the last validation has saved it
        position = position._replace(seconds=time.monotonic() - began)
        _save(job, "step", state, position, keep=config.training.keep)
    return state, position


def finished(experiment: Experiment, position: Position) -> bool:
    """Tell whether a run has come to its end: its full length, or early because validation no longer improves.

    Args:
        experiment: the experiment.
        position: where the run stands.

    Returns:
        Whether nothing is left to do.
    """
    patience = experiment.config.training.patience
    return position.validated >= experiment.updates or 0 < patience <= position.stale


def validation_due(experiment: Experiment, position: Position) -> bool:
    """Tell whether a validation comes before the next update: at every multiple of the interval, and at the end.

    Args:
        experiment: the experiment.
        position: where the run stands.

    Returns:
        Whether it is due.
    """
    every = experiment.config.training.validate_every
    crossed = position.updates // every > position.validated // every
    return crossed or position.validated < position.updates >= experiment.updates


def averaging_due(experiment: Experiment, updates: int) -> bool:
    """Tell whether the last share of training begins, over which the parameters are averaged.

    Args:
        experiment: the experiment.
        updates: made so far; a dispatch ends where that share begins.

    Returns:
        True where it begins.
    """
    return updates == average_start(experiment.config.optimizer.average_last, experiment.updates) < experiment.updates


def _validate(job: Job, state: TrainState, position: Position) -> tuple[TrainState, Position]:
    """Score the validation text, on a plateau lower the rate or begin to average the parameters, and save.

    Where to go on from is saved last: if the process dies before, the validation is made again, and all of it.
    """
    config = job.experiment.config
    score = job.validate(evaluated(state.optimizer, state.params))
    plateau = observe(Plateau(position.best, position.stale), score.nats)
    if config.optimizer.schedule == "plateau" and stalled(plateau, config.optimizer.plateau):
        state = scale_rate(state, config.optimizer.decay)
    after = average_after(config.optimizer)
    log = position.log
    if after is not None:
        if worsened(log, score.nats, after):
            state = state._replace(optimizer=begin(state.optimizer))
        log = remember(log, score.nats, after)
    position = position._replace(validated=position.updates, best=plateau.best, stale=plateau.stale, log=log)
    job.announce(position, score)
    if plateau.stale == 0:
        _save(job, "best", state, position, keep=1)
    _save(job, "step", state, position, keep=config.training.keep)
    return state, position


def _save(job: Job, kind: str, state: TrainState, position: Position, keep: int) -> None:
    """Save a snapshot, and remove those that it makes superfluous."""
    flush_metrics(job.run)  # a snapshot has no update of which the disk has no line
    state = gathered(state)
    with together("snapshot"):  # the disk of one may take longer than collectives wait
        save(job.run, kind, state, position, job.experiment.config)
    snapshots.prune(job.run.snapshots, keep, kind)
