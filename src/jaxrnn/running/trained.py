"""A trained model, read back from its run: to be scored, to be sampled, or to be trained further."""

import math
import warnings
from pathlib import Path
from typing import NamedTuple

from jaxrnn import snapshots
from jaxrnn.averaging import evaluated
from jaxrnn.cell import Cell
from jaxrnn.config import Config
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.running import runs
from jaxrnn.running.experiment import build_learner
from jaxrnn.running.position import Position, load
from jaxrnn.running.run_text import kept_vocabulary
from jaxrnn.running.runs import Run
from jaxrnn.types import Params


class Trained(NamedTuple):
    """A model as a run has left it.

    Attributes:
        run: where it lies.
        config: the run's configuration.
        vocabulary: its symbols.
        cell: the model, symbols in and logits out.
        params: its parameters, averaged where the run averages them.
        snapshot: where these were read.
        position: where the run stood then.
    """

    run: Run
    config: Config
    vocabulary: Vocabulary
    cell: Cell
    params: Params
    snapshot: Path
    position: Position


def load_trained(folder: Path) -> Trained:
    """Read the best model of a run: the one with the lowest validation loss, or the newest where none is validated.

    Where the best one is lost the newest is read as well, with a `SnapshotWarning`.

    Args:
        folder: the run's folder.

    Returns:
        The model.

    Raises:
        InputError: if there is no run, or no snapshot in it yet.
    """
    run, config = runs.find(folder)
    vocabulary = kept_vocabulary(run)
    learner = build_learner(config, vocabulary)
    while True:
        best = snapshots.newest(run.snapshots, "best")
        snapshot = best or snapshots.newest(run.snapshots)
        if snapshot is None:
            raise InputError(f"{folder}: has no sound snapshot; train it first: jaxrnn train --run {folder} --resume")
        try:
            state, where = load(snapshot, config, learner)
            break
        except InputError:
            if snapshot.exists():
                raise  # else the run, which is still trained, has just put a better one in its place
    if best is None and math.isfinite(where.best):  # else no validation has had a loss that is a number
        lost = f"{run.snapshots}: the best snapshot is missing or damaged; {snapshot.name} is used in its place"
        warnings.warn(lost, snapshots.SnapshotWarning, stacklevel=2)
    params = evaluated(state.optimizer, state.params)
    return Trained(run, config, vocabulary, learner.cell, params, snapshot, where)


def load_params(trained: Trained, snapshot: Path) -> Params:
    """Read the parameters of another snapshot of the same run.

    Args:
        trained: the run's model.
        snapshot: the snapshot's folder.

    Returns:
        The parameters, averaged where the run averages them.

    Raises:
        InputError: if the snapshot is damaged, or gone.
    """
    learner = build_learner(trained.config, trained.vocabulary)
    state, _ = load(snapshot, trained.config, learner)
    return evaluated(state.optimizer, state.params)
