"""From minutes to updates: measured once, before a run begins, and kept in its configuration.

A run whose length were read from the clock could not be resumed to the same bits, nor could its rate follow a schedule.
So the clock is asked once, and from then on the run is as long as its configuration says.
"""

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import jax
import msgspec

from jaxrnn.config import countable, length
from jaxrnn.evaluation import Evaluation
from jaxrnn.running.experiment import Experiment
from jaxrnn.running.feed import next_chunks, put_chunks
from jaxrnn.running.position import Position
from jaxrnn.running.programs import Programs
from jaxrnn.running.run_text import validation_ids
from jaxrnn.running.scorer import count_scored, evaluation_streams, text_in_rows
from jaxrnn.training import TrainState
from jaxrnn.types import Params

_WARM_UP = 0.25  # seconds: the first updates after the compilation are slower
_SECONDS = 1.25  # about ten updates of the built-in model


def fix_length(experiment: Experiment, programs: Programs, score: Callable[..., Evaluation]) -> Experiment:
    """Turn a length in minutes into one in updates; any other length stays as it is.

    Args:
        experiment: the experiment.
        programs: its compiled functions.
        score: see `seconds_to_validate`.

    Returns:
        The same with its length in updates. The minutes are for training and its validations; compilation before, and
        the test after, come on top. How exact they are depends on what else the machine does.

    Cost:
        A second or two of updates that are thrown away; `seconds_to_validate`; and compilation, unless `compile_ahead`
        has done it.
    """
    config = experiment.config
    amount, unit = length(config.training)
    if unit != "minutes":
        return experiment
    state = programs.beginning()
    validation = seconds_to_validate(experiment, state.params, score)
    update = _seconds_per_update(experiment._replace(updates=10**9), programs, state)
    pace = update + validation / config.training.validate_every
    updates = countable(max(1, round(60 * amount / pace)), config.training)
    training = msgspec.structs.replace(config.training, length=f"{updates} updates")
    config = msgspec.structs.replace(config, training=training)
    return experiment._replace(config=config, updates=updates)


def seconds_to_validate(experiment: Experiment, params: Params, score: Callable[..., Evaluation]) -> float:
    """Score one chunk of the validation text twice: first to compile, and to see that it fits into memory; then timed.

    Args:
        experiment: the experiment.
        params: of its model.
        score: `(params, ids, name) -> Evaluation` of a text, or a refusal.

    Returns:
        What a validation takes if each of its chunks takes as long.

    Cost:
        Compilation, which the first validation would need.
    """
    data, ids = experiment.config.data, validation_ids(experiment.config, experiment.dataset)
    text = text_in_rows(ids, evaluation_streams(data), data.chunk_length)
    chunk, name = ids[: text.batch_size * text.chunk_length + 1], "data.corpus: validation text"
    score(params, chunk, name)
    began = time.monotonic()
    score(params, chunk, name)
    return (time.monotonic() - began) * count_scored(text)


def _seconds_per_update(experiment: Experiment, programs: Programs, state: TrainState) -> float:
    """Make updates for a second or two, and forget them: what half of them took at most, once they were warm."""
    position = Position()
    looks: list[tuple[float, int]] = []  # the clock and the updates made by then, the first one after the compilation
    while not looks or looks[-1][0] - looks[0][0] < _WARM_UP + _SECONDS:
        chunks, position = next_chunks(experiment, position)
        state, metrics = programs.train_step(state, put_chunks(experiment, chunks), experiment.updates)
        jax.block_until_ready(metrics)
        looks.append((time.monotonic(), position.updates))
    took = [(now, (now - then) / (n - before)) for (then, before), (now, n) in pairwise(looks)]
    return median(seconds for now, seconds in took if now - looks[0][0] > _WARM_UP)
