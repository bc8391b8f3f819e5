"""What the values of a configuration must satisfy together; each by itself is checked as it is read.

Every message names the keys, and the nearest values that work.
"""

import re
from typing import get_args

from msgspec.structs import fields, replace

from jaxrnn.config import Config, Data, Gradient, Model, Parallel, Section, Training, average_after, length
from jaxrnn.errors import InputError


def check(config: Config) -> None:
    """Refuse values that are good each by itself and do not go together.

    Args:
        config: a configuration.

    Raises:
        InputError: naming the keys.

    Example:
        >>> check(Config(gradient=Gradient(rule="truncated", horizon=33)))
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: gradient.horizon = 33: expected a multiple of data.chunk_length = 32; the nearest \
that work are 32 and 64
    """
    data, model, gradient = config.data, config.model, config.gradient
    length(config.training)
    if (data.valid is None) != (data.test is None):
        raise InputError("data.valid, data.test: expected both or neither; one of them is missing")
    if model.last_size and model.num_layers == 1:
        raise InputError(f"model.last_size = {model.last_size}: there is one layer; give model.hidden_size instead")
    size = state_size(layers(model)[-1])
    if model.tie and model.embedding_size != size:
        widest = "last_size" if model.last_size else "hidden_size"
        named = "projection_size" if model.cell == "projection_lstm" else widest
        sizes = f"{model.embedding_size} is not model.{named} = {size}"
        raise InputError(f"model.embedding_size: {sizes}; expected equal sizes with model.tie = true")
    if model.initializer == "chrono" and model.cell != "lstm":
        raise InputError(f"model.initializer = 'chrono': it is for model.cell = 'lstm', not for {model.cell!r}")
    after, patience = average_after(config.optimizer), config.training.patience
    if after is not None and 0 < patience <= after + 1:
        expected = f"expected more than {after + 1}, one more than optimizer.average_after, or 0"
        raise InputError(f"training.patience = {patience}: training would stop first; {expected}")
    dispatch, every = config.training.updates_per_dispatch, config.training.validate_every
    if dispatch > every:
        expected = f"expected at most training.validate_every = {every}: validations come between dispatches"
        raise InputError(f"training.updates_per_dispatch = {dispatch}: {expected}")
    if data.circular and data.chunk_spread:
        raise InputError("data.circular = true: its chunks are of one length; expected data.chunk_spread = 0")
    _check_horizons(data, gradient)
    _check_processes(config.parallel, config.training)


def layers(model: Model) -> list[Model]:
    """Tell what each layer is like: all are alike, but for the size of the last.

    Args:
        model: the section.

    Returns:
        A section for each, the lowest first, with its own `hidden_size`.

    Example:
        >>> [layer.hidden_size for layer in layers(Model(hidden_size=8, num_layers=3, last_size=5))]
        [8, 8, 5]
    """
    last = replace(model, hidden_size=model.last_size or model.hidden_size)
    return [model] * (model.num_layers - 1) + [last]


def state_size(model: Model) -> int:
    """Tell how many numbers a layer hands on: its units, or what they are projected to, by default half as many.

    Args:
        model: the section.

    Returns:
        The number.

    Example:
        >>> state_size(Model(hidden_size=8)), state_size(Model(cell="projection_lstm", hidden_size=8))
        (8, 4)
    """
    if model.cell != "projection_lstm":
        return model.hidden_size
    return model.projection_size or max(1, model.hidden_size // 2)


def readers(section: type[Section], name: str) -> tuple[str, ...]:
    """Tell which choices read a key.

    Args:
        section: the key's section.
        name: of the key in it.

    Returns:
        Their names; none where all of them do.

    Example:
        >>> readers(Gradient, "segment_length")
        ('checkpointed', 'randomized')
    """
    (field,) = (field for field in fields(section) if field.name == name)
    about = get_args(field.type)[1]
    return about.extra["names"] if about.extra else ()


def has_budget(gradient: Gradient) -> bool:
    """Tell whether an amount of memory decides how the rule cuts time.

    Args:
        gradient: the section.

    Returns:
        Whether the rule is one that reads `gradient.memory`, and it is given.

    Example:
        >>> [has_budget(Gradient(rule=rule, memory="1MiB")) for rule in ("bptt", "checkpointed")]
        [False, True]
    """
    return gradient.rule in readers(Gradient, "memory") and gradient.memory is not None


def has_segments(gradient: Gradient) -> bool:
    """Tell whether the rule goes by segments of a length that is given.

    Args:
        gradient: the section.

    Returns:
        Whether the rule is one that reads `gradient.segment_length`, and no budget decides instead.

    Example:
        >>> [has_segments(Gradient(rule=rule)) for rule in ("bptt", "checkpointed", "randomized")]
        [False, True, True]
    """
    return gradient.rule in readers(Gradient, "segment_length") and not has_budget(gradient)


def _check_processes(parallel: Parallel, training: Training) -> None:
    """Refuse half an answer to the question who is who."""
    where, number, own = parallel.coordinator, parallel.processes, parallel.process
    if where is not None and where != "auto" and not _is_address(where):
        expected = 'expected "auto" or HOST:PORT, with a port from 1 to 65535, such as 10.0.0.1:1234'
        raise InputError(f"parallel.coordinator = {where!r}: {expected}")
    if where is not None and length(training).unit == "minutes":
        remedy = "expected updates or epochs: several processes have no clock in common"
        raise InputError(f"training.length = {training.length!r}: {remedy}")
    if where in (None, "auto"):
        if number is not None or own is not None:
            raise InputError("parallel.processes, parallel.process: expected parallel.coordinator = HOST:PORT as well")
    elif number is None or own is None:
        raise InputError(f"parallel.coordinator = {where!r}: expected parallel.processes and parallel.process as well")
    elif own >= number:
        raise InputError(f"parallel.process = {own}: expected 0 to {number - 1}, for parallel.processes = {number}")


def _is_address(where: str) -> bool:
    """Whether it is HOST:PORT; an address of IPv6, which has colons of its own, stands in brackets."""
    found = re.fullmatch(r"(?:\[[^\s\[\]]+\]|[^\s\[\]:]+):([0-9]{1,5})", where)
    return found is not None and 1 <= int(found[1]) <= 65535


def _check_horizons(data: Data, gradient: Gradient) -> None:
    """Refuse lengths of the gradient rule that do not go with that of a chunk."""
    steps, rule = data.chunk_length, gradient.rule
    if has_segments(gradient) and gradient.segment_length > steps:
        raise InputError(f"gradient.segment_length = {gradient.segment_length}: expected at most {steps}, one chunk")
    if rule == "randomized" and gradient.segment_length == steps:
        less = f"expected less than data.chunk_length = {steps}: credit is cut between segments"
        raise InputError(f"gradient.segment_length = {gradient.segment_length}: {less}")
    if rule == "truncated" and gradient.horizon > steps:  # it would run, but for nothing over a part of old chunks
        _check_replay("gradient.horizon", gradient.horizon, data, least=1)
    if rule == "adaptive":
        _check_replay("gradient.longest", gradient.longest, data, least=2)


def _check_replay(key: str, horizon: int, data: Data, least: int) -> None:
    """Refuse a horizon that is not some number of chunks of one length, at least so many."""
    steps = data.chunk_length
    if horizon % steps or horizon < least * steps:
        below = max(least, horizon // steps) * steps
        nearest = f"the nearest that work are {below} and {below + steps}"
        raise InputError(f"{key} = {horizon}: expected a multiple of data.chunk_length = {steps}; {nearest}")
    if data.chunk_spread:
        raise InputError(f"{key} = {horizon}: past chunks must be of one length; expected data.chunk_spread = 0")
