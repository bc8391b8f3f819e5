"""Whether what a gradient rule carries through time fits into memory: asked before anything is written."""

import os
from collections.abc import Iterator

import jax
import msgspec

from jaxrnn.build import ONLINE_RULES
from jaxrnn.config import Config
from jaxrnn.errors import InputError
from jaxrnn.running.experiment import Experiment, Learner, build_learner, first_state
from jaxrnn.running.programs import Compiled
from jaxrnn.trees import is_float

_TIMES = 4  # how often an update of rtrl or snap1 holds the influence: this one, the next, two on the way (3.7 to 4.0)


def check_memory(experiment: Experiment, memory: int | None = None) -> None:
    """Refuse a rule that goes forward in time where the influence it keeps is above a quarter of the memory there is.

    Args:
        experiment: the experiment.
        memory: in bytes; None for that of the device, or of the machine where the device does not say.

    Raises:
        InputError: naming the key, what it would take, and what would fit.

    Cost:
        Traces the first state; computes nothing.
    """
    config, rule = experiment.config, experiment.config.gradient.rule
    if rule not in ONLINE_RULES:
        return
    needed = influence_bytes(config, experiment.learner)
    room = (_memory() if memory is None else memory) * _memories(experiment) // _TIMES
    if needed <= room:
        return
    vocabulary = experiment.dataset.vocabulary
    fitting = (other for other in _smaller(config) if influence_bytes(other, build_learner(other, vocabulary)) <= room)
    smaller = next(fitting, None)
    fits = f"model.hidden_size = {smaller.model.hidden_size} would fit, or " if smaller else ""
    others = " or ".join(map(repr, (*ONLINE_RULES[ONLINE_RULES.index(rule) + 1 :], "truncated")))
    raise InputError(
        f"gradient.rule = {rule!r}: the influence of every parameter on the carry takes {_gib(needed)}, an update "
        f"{_TIMES} times that; there is {_gib(room * _TIMES)} of memory: {fits}a rule that keeps less: {others}"
    )


def _memories(experiment: Experiment) -> int:
    """Over how many memories the rows are spread: those of accelerators. Cores have one, and processes may share it."""
    return 1 if jax.default_backend() == "cpu" else experiment.mesh.size


def check_program(compiled: Compiled, devices: int = 1, memory: int | None = None) -> None:
    """Refuse a train step that takes more than the memory there is.

    Args:
        compiled: the train step.
        devices: of this process that run it; those of a CPU share one memory.
        memory: see `check_memory`; an accelerator that does not say what it has is not asked for less.

    Raises:
        InputError: naming the keys that decide it.
    """
    needed = (compiled.temp_bytes or 0) + (compiled.argument_bytes or 0)
    on_cpu = jax.default_backend() == "cpu"
    if memory is None and not on_cpu and not jax.local_devices()[0].memory_stats():
        return
    needed, there = needed * devices if on_cpu else needed, _memory() if memory is None else memory
    if needed > there:
        takes = f"an update takes {_gib(needed)} of memory, and there is {_gib(there)}"
        remedy = "lower one of them, or choose a gradient.rule that keeps less"
        raise InputError(f"model.hidden_size, data.batch_size, data.chunk_length: {takes}; {remedy}")


def influence_bytes(config: Config, learner: Learner) -> int:
    """Count the bytes of the gradient estimator's state; `rtrl` keeps the whole carry for every parameter and row.

    Args:
        config: the configuration.
        learner: what it builds.

    Returns:
        Bytes of its float leaves: for `rtrl` B n P numbers, and the carry.
    """
    state = jax.eval_shape(lambda: first_state(config, learner).estimator)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state) if is_float(leaf))


def _smaller(config: Config) -> Iterator[Config]:
    """The same configuration with half the units, a quarter, ...; with tied matrices a size does not stand alone."""
    size = 0 if config.model.tie else config.model.hidden_size // 2
    while size:
        yield msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, hidden_size=size))
        size //= 2


def _memory() -> int:
    """Bytes of memory of the device, or of the machine where the device does not say."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gib(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 2**30:,.1f} GiB"
