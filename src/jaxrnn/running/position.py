"""Where a run stands, and how state and position are saved and read back together."""

import math
from pathlib import Path
from typing import NamedTuple

import jax

from jaxrnn import snapshots
from jaxrnn.config import Config, portable
from jaxrnn.errors import InputError
from jaxrnn.running.experiment import Learner, first_state
from jaxrnn.running.runs import Run
from jaxrnn.settings import flatten
from jaxrnn.training import TrainState

MAY_CHANGE = (
    *("data.corpus", "data.valid", "data.test"),  # a text may move, if its digest is still the same
    *("training.length", "training.patience"),  # a run may be lengthened
)
"""The keys in which a run that goes on may differ from what it was."""


class Position(NamedTuple):
    """Where a run stands: what must survive beside the `TrainState`.

    Attributes:
        updates: updates tried, the skipped ones among them.
        epoch: how many times the text has been read to its end.
        chunk: the chunk of this epoch to be read next.
        validated: the updates at the last validation.
        best: the lowest validation loss so far, in nats per symbol.
        stale: validations since then.
        log: validation losses that are to be remembered, see `jaxrnn.averaging.remember`.
        seconds: how long the run has been training, in all.
    """

    updates: int = 0
    epoch: int = 0
    chunk: int = 0
    validated: int = 0
    best: float = math.inf
    stale: int = 0
    log: tuple[float, ...] = ()
    seconds: float = 0.0


def save(run: Run, kind: str, state: TrainState, position: Position, config: Config) -> Path:
    """Save a snapshot of a run.

    Args:
        run: the run.
        kind: `step` to go on from, `best` for the best validation score.
        state: the state.
        position: where it stands.
        config: the run's configuration.

    Returns:
        The snapshot's folder.

    Raises:
        InputError: if the disk refuses; then nothing has changed.
    """
    meta = {"position": position._asdict(), "config": flatten(portable(config))}
    return snapshots.save(run.snapshots / f"{kind}_{position.updates}", state, meta)


def load(snapshot: Path, config: Config, learner: Learner) -> tuple[TrainState, Position]:
    """Read a snapshot that `save` has written.

    Args:
        snapshot: the snapshot's folder.
        config: the run's configuration.
        learner: what it builds.

    Returns:
        The state, and where it stands.

    Raises:
        InputError: if the snapshot is damaged, or was made with another configuration.
    """
    kept = flatten(Config()) | snapshots.load_meta(snapshot)["config"]  # defaults for keys newer than the run
    ours = flatten(portable(config))
    changed = [name for name, value in ours.items() if kept[name] != value and name not in MAY_CHANGE]
    if changed:
        was = ", ".join(f"{name} was {kept[name]!r}" for name in changed)
        raise InputError(f"{snapshot}: the run's config.toml has changed since: {was}; restore it, or start a new run")
    state, meta = snapshots.load(snapshot, jax.eval_shape(lambda: first_state(config, learner)))
    position = Position(**meta["position"])
    return state, position._replace(log=tuple(position.log))  # JSON has lists
