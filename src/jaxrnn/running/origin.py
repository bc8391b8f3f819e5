"""Where a run comes from: a configuration alone, another run's parameters, or itself, where it was left."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from jaxrnn import snapshots
from jaxrnn.averaging import average_start
from jaxrnn.config import Config, length, portable
from jaxrnn.data.vocabulary import to_json
from jaxrnn.errors import InputError
from jaxrnn.mesh import place
from jaxrnn.running import runs
from jaxrnn.running.experiment import Experiment, total_updates
from jaxrnn.running.position import MAY_CHANGE, Position, load
from jaxrnn.running.processes import is_first
from jaxrnn.running.programs import Programs
from jaxrnn.running.run_text import about_text
from jaxrnn.running.runs import Run
from jaxrnn.running.trained import Trained
from jaxrnn.settings import KEYS, differences, dumps, flatten, resolve
from jaxrnn.training import TrainState

SAME_MODEL = {
    "data.tokenizer",
    "model.cell",
    "model.hidden_size",
    "model.num_layers",
    "model.last_size",
    "model.projection_size",
    "model.embedding_size",
    "model.tie",
    "model.recurrent_bias",
}
"""The settings on which parameters, and what they mean, depend."""

_UNREAD = {
    "data.minimum_count",
    "model.initializer",
    "model.longest_memory",
    "model.forget_bias",
    "model.embedding_spread",
}


class Origin(NamedTuple):
    """What a training begins with, or goes on from.

    Attributes:
        config: its settings.
        run: the run to go on with, or None.
        parent: the folder of the run whose symbols and best parameters a new one takes, or None.
    """

    config: Config
    run: Run | None = None
    parent: Path | None = None


def begun_anew(file: Path | None, given: Mapping[str, str], parent: Path | None) -> Origin:
    """Begin a run, with what another one has learned if there is one.

    Args:
        file: a configuration, or None for the built-in values, or the other run's.
        given: the keys that were given on the command line.
        parent: the folder of the other run, or None.

    Returns:
        The origin.

    Raises:
        InputError: if there is no such run, or its model is another one.
    """
    if parent is None:
        return Origin(_own_splits(resolve(file, given), given))
    run, before = runs.find(parent)
    config = _own_splits(resolve(file or run.config, given), given)
    ours, theirs = flatten(config), flatten(before)
    said = {name for name in _UNREAD if ours[name] not in (theirs[name], KEYS[name].default)}  # by the file
    unread = said | _UNREAD & set(given)
    if unread:
        where = "where a run begins with the parameters of another"
        raise InputError(f"{min(unread)}: nothing reads it {where}; leave it out")
    changed = differences(before, config, leave_out=set(KEYS) - SAME_MODEL)
    if changed:
        remedy = f"{_mend(file, 'leave that out')}, or begin without --from"
        raise InputError(f"--from: the model of {parent} is another: {'; '.join(changed)}; {remedy}")
    return Origin(config, parent=parent)


def _own_splits(config: Config, given: Collection[str]) -> Config:
    """Forget the validation and test text that belong to another corpus than the one that was asked for."""
    if "data.corpus" not in given:
        return config
    own = {name: getattr(config.data, name) if f"data.{name}" in given else None for name in ("valid", "test")}
    return replace(config, data=replace(config.data, **own))


def _mend(file: Path | None, otherwise: str) -> str:
    """What to do about settings that differ: a file stands for all settings, those that it does not name too."""
    return otherwise if file is None else f"say the same in {file}, which stands for all settings, or name no file"


def gone_on_with(folder: Path | None, file: Path | None, given: Mapping[str, str]) -> Origin:
    """Go on with a run, perhaps longer, or its text elsewhere. Who asks for other settings is told which.

    Args:
        folder: the run's.
        file: a configuration, which must say what the run's own does, or None.
        given: the keys that were given on the command line.

    Returns:
        The origin.

    Raises:
        InputError: if there is no such run, or other settings are asked for than may change.
    """
    if folder is None:
        raise InputError("--resume: which run? name its folder: --run DIR --resume")
    run, config = runs.find(folder)
    wanted = resolve(file or run.config, given)
    if length(wanted.training).unit == "minutes" and "training.length" not in given:  # it was measured when it began
        wanted = replace(wanted, training=replace(wanted.training, length=config.training.length))
    changed = differences(config, wanted, leave_out=MAY_CHANGE)
    if changed:
        remedy = f"{_mend(file, 'leave out what differs')}, or start a new run"
        raise InputError(f"--resume: {folder} was started with other settings: {'; '.join(changed)}; {remedy}")
    if length(wanted.training).unit == "minutes":
        was = f"{folder} is {config.training.length!r} long, whatever the clock says"
        asked_for = f"training.length = {wanted.training.length!r}"
        raise InputError(f"--resume: {asked_for}: {was}; lengthen it by updates or epochs")
    return Origin(wanted, run)


def lengthen(experiment: Experiment, run: Run, position: Position) -> None:
    """Keep the settings of a run that goes on; it may be longer than it was, and not shorter.

    Args:
        experiment: what goes on.
        run: the run.
        position: where it stands.

    Raises:
        InputError: if it would be shorter, would stop early at once, or averages its end already.
    """
    _, before = runs.find(run.folder)
    updates, patience = total_updates(before, experiment.streams), experiment.config.training.patience
    if experiment.updates > updates and 0 < patience <= position.stale:
        early = f"{run.folder} stopped early, after {position.stale} validations without a new best"
        raise InputError(f"--resume: training.patience = {patience}: {early}; raise --training.patience too")
    share = experiment.config.optimizer.average_last
    if experiment.updates > updates > average_start(share, updates) <= position.updates:
        begun = f"{run.folder} averages its weights since update {average_start(share, updates):,}"
        raise InputError(
            f"--resume: optimizer.average_last = {share}: {begun}, so it cannot be longer; begin a new run"
        )
    if experiment.updates < updates:
        was = f"{run.folder} is {before.training.length!r} long"
        asked = f"training.length = {experiment.config.training.length!r}"
        raise InputError(f"--resume: {asked}: {was}; expected more, or start a new run")
    if is_first() and portable(experiment.config) != before:
        runs.change_config(run, dumps(portable(experiment.config)))


def first_files(experiment: Experiment, parent: Trained | None) -> dict[str, str]:
    """Write what a run's folder holds from its beginning.

    Args:
        experiment: what begins.
        parent: the model whose parameters it begins with, or None.

    Returns:
        The text of each file by its name.
    """
    about = about_text(experiment.corpus, experiment.dataset)
    if parent:
        where = parent.position
        way = {"snapshot": str(parent.snapshot.resolve()), "updates": where.updates, "seconds": where.seconds}
        about |= {"begun_from": way}
    return {
        "config.toml": dumps(portable(experiment.config)),  # it may go on elsewhere
        "vocabulary.json": to_json(experiment.dataset.vocabulary),
        "corpus.json": json.dumps(about, indent=1) + "\n",
    }


def last_snapshot(experiment: Experiment, programs: Programs, run: Run) -> tuple[TrainState, Position] | None:
    """Read the newest snapshot of a run, if need be that of the best score.

    Args:
        experiment: what goes on.
        programs: its functions, which say where the state lies.
        run: the run.

    Returns:
        The state, and where it stands; None where none was saved yet.

    Raises:
        InputError: if there are snapshots and none can be read.
    """
    best = snapshots.newest(run.snapshots, "best")  # looked at anyhow: a damaged one would be in a new one's way
    newest = snapshots.newest(run.snapshots) or best
    if newest is None:
        lost = sorted(path.name for path in run.snapshots.glob("*_*") if ".tmp-" not in path.name)
        if lost:
            remedy = "put a copy of one back, or start a new run"
            raise InputError(f"{run.snapshots}: of {', '.join(lost)} none can be read; {remedy}")
        return None
    state, position = load(newest, experiment.config, experiment.learner)
    return place(state, programs.shardings), position
