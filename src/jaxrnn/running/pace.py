"""From minutes to updates: measured once, before a run begins, and kept in its configuration.

A run whose length were read from the clock could not be resumed to the same bits, nor could its rate follow a schedule.
So the clock is asked once, and from then on the run is as long as its configuration says.
"""

import time
from itertools import pairwise
from statistics import median

import jax
import msgspec

from jaxrnn.config import countable, length
from jaxrnn.running.experiment import Experiment
from jaxrnn.running.feed import next_chunks, put_chunks
from jaxrnn.running.position import Position
from jaxrnn.running.programs import Programs
from jaxrnn.running.run_text import validation_ids

_WARM_UP = 0.25  # seconds: the first updates after the compilation are slower
_SECONDS = 1.25  # about ten updates of the built-in model
_FORWARD = 1 / 3  # the share of an update that a validation takes for as many symbols: it has no backward pass


def fix_length(experiment: Experiment, programs: Programs) -> Experiment:
    """Turn a length in minutes into one in updates; any other length stays as it is.

    Args:
        experiment: the experiment.
        programs: its compiled functions.

    Returns:
        The same with its length in updates. The minutes are for training and its validations; compilation before, and
        the test after, come on top. How exact they are depends on what else the machine does.

    Cost:
        A second or two of updates that are thrown away; and compilation, unless `compile_ahead` has done it.
    """
    config = experiment.config
    amount, unit = length(config.training)
    if unit != "minutes":
        return experiment
    update = _seconds_per_update(experiment._replace(updates=10**9), programs)
    places = config.data.batch_size * config.data.chunk_length
    targets = len(validation_ids(config, experiment.dataset)) - 1
    validation = _FORWARD * update * targets / (places * config.training.accumulate)
    pace = update + validation / config.training.validate_every
    updates = countable(max(1, round(60 * amount / pace)), config.training)
    training = msgspec.structs.replace(config.training, length=f"{updates} updates")
    config = msgspec.structs.replace(config, training=training)
    return experiment._replace(config=config, updates=updates)


def _seconds_per_update(experiment: Experiment, programs: Programs) -> float:
    """Make updates for a second or two, and forget them: what half of them took at most, once they were warm."""
    state, position = programs.beginning(), Position()
    looks: list[tuple[float, int]] = []  # the clock and the updates made by then, the first one after the compilation
    while not looks or looks[-1][0] - looks[0][0] < _WARM_UP + _SECONDS:
        chunks, position = next_chunks(experiment, position)
        state, metrics = programs.train_step(state, put_chunks(experiment, chunks), experiment.updates)
        jax.block_until_ready(metrics)
        looks.append((time.monotonic(), position.updates))
    took = [(now, (now - then) / (n - before)) for (then, before), (now, n) in pairwise(looks)]
    return median(seconds for now, seconds in took if now - looks[0][0] > _WARM_UP)
