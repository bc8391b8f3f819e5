"""What a run is made of: a typed configuration. A TOML file and the command line say what differs from the defaults.

Each key is declared here once, with its type, its bounds and its meaning. The help texts, the checks and the messages
(`jaxrnn.settings`) are read from that. Which names there are, for a cell or an optimizer, `jaxrnn.build` knows.
"""

import sys
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from jaxrnn.errors import InputError


def _about(text: str, **bounds: Any) -> Meta:
    """Attach the meaning of a key, and its bounds, to its type."""
    return Meta(description=text, **bounds)


_Positive = Annotated[int, Meta(ge=1)]
_MOST = sys.float_info.max  # not infinity
_NotNegative = Annotated[float, Meta(ge=0, le=_MOST)]
_NotNegativeInt = Annotated[int, Meta(ge=0)]


def _share(text: str) -> Meta:
    """The meaning of a share that is dropped."""
    return _about(text, ge=0, lt=1)


def _for(key: str, names: str, text: str, **bounds: Any) -> Meta:
    """The same for a key that is read only where another key names one of these."""
    return Meta(description=f"{names}: {text}", extra={"key": key, "names": tuple(names.split(", "))}, **bounds)


def _rule(names: str, text: str, **bounds: Any) -> Meta:
    """The meaning of a key that belongs to some gradient rules."""
    return _for("gradient.rule", names, text, **bounds)


def _course(names: str, text: str, **bounds: Any) -> Meta:
    """The meaning of a key that belongs to some courses of the learning rate."""
    return _for("optimizer.schedule", names, text, **bounds)


_LSTMS = "lstm, peephole_lstm, coupled_lstm, projection_lstm, layer_norm_lstm"


class Section(msgspec.Struct, frozen=True):
    """A section of the configuration: values that do not change."""


class Data(Section, frozen=True):
    """What is read, and how it is cut."""

    corpus: Annotated[
        str,
        _about("stdlib, ptb, ptb_char, tinyshakespeare, a text file, a folder, or - for standard input"),
    ] = "stdlib"
    valid: Annotated[str | None, _about("file or folder of the validation text, where it is a separate one")] = None
    test: Annotated[str | None, _about("file or folder of the test text, where it is a separate one")] = None
    valid_share: Annotated[float, _about("share of the corpus that is split off for validation", gt=0, lt=0.5)] = 0.05
    test_share: Annotated[float, _about("share of the corpus that is split off for the test", gt=0, lt=0.5)] = 0.05
    tokenizer: Annotated[str, _about("what the symbols are")] = "character"
    separate_lines: Annotated[
        bool, _about("each line is a text of its own: the network starts anew at its beginning, and credit ends there")
    ] = False
    minimum_count: Annotated[
        _Positive | None, _about("symbols rarer than this are read as unknown; left out: 20 for stdlib, else 1")
    ] = None
    batch_size: Annotated[int, _about("streams of text read side by side (B)", ge=1)] = 64
    chunk_length: Annotated[int, _about("steps in a chunk: new ones for each gradient estimate (K, or k1)", ge=1)] = 32
    circular: Annotated[
        bool, _about("text as a circle: at an epoch's end a row keeps its carry and goes on with the next one's text")
    ] = False
    evaluation_streams: Annotated[
        _Positive | None, _about("streams side by side when a text is scored; left out: batch_size")
    ] = None
    chunk_spread: Annotated[
        float, _about("random chunk lengths: their standard deviation; 0 = all equal", ge=0, lt=2**31)
    ] = 0.0


class Model(Section, frozen=True):
    """The recurrent network."""

    cell: Annotated[str, _about("the recurrent cell")] = "lstm"
    hidden_size: Annotated[int, _about("units in each layer (H)", ge=1)] = 384
    num_layers: Annotated[int, _about("layers, one above the other (L)", ge=1)] = 1
    last_size: Annotated[
        _Positive | None, _about("units in the last of several layers; left out: as many as in the others")
    ] = None
    projection_size: Annotated[
        _Positive | None,
        _for("model.cell", "projection_lstm", "size of a layer's output; left out: half of the units"),
    ] = None
    embedding_size: Annotated[int, _about("size of each symbol's embedding vector (E)", ge=1)] = 64
    embedding_spread: Annotated[
        Annotated[float, Meta(gt=0, le=_MOST)] | None,
        _about("standard deviation of the initial embedding; left out: 1, or 1/sqrt(embedding_size) when tied"),
    ] = None
    tie: Annotated[bool, _about("weight tying: one matrix for embedding and readout, if sizes are equal")] = False
    vocabulary_block: Annotated[
        _Positive | None, _about("symbols whose logits are held at a time, for large vocabularies; left out: all")
    ] = None
    vocabulary_sample: Annotated[
        Annotated[int, Meta(ge=32)] | None,
        _about("sampled softmax: symbols whose logits training computes, drawn for each chunk; left out: all"),
    ] = None
    dropout: Annotated[float, _about("share of activations dropped around each layer in training", ge=0, lt=1)] = 0.0
    initializer: Annotated[str, _about("how the cell's weights start")] = "orthogonal"
    longest_memory: Annotated[
        float, _for("model.initializer", "chrono", "the longest that an LSTM should remember, in steps", gt=2, le=_MOST)
    ] = 100.0
    recurrent_bias: Annotated[
        bool, _about("a second bias for each gate, b_hh, as PyTorch and cuDNN have it; false: one, as in textbooks")
    ] = True
    forget_bias: Annotated[
        Annotated[float, Meta(ge=-_MOST, le=_MOST)] | None,
        _for("model.cell", f"{_LSTMS}, elstm", "bias of the forget gate; left out: 1, of an elstm 0, or chrono's own"),
    ] = None


class Regularizer(Section, frozen=True):
    """Against overfitting, in training only; 0 = off. Dropout masks hold for a whole chunk (variational dropout)."""

    dropout_embedding: Annotated[float, _share("word (embedding) dropout: share of symbols read as zeros")] = 0.0
    dropout_input: Annotated[float, _share("share of the embedding's numbers dropped")] = 0.0
    dropout_hidden: Annotated[float, _share("share of units dropped between layers")] = 0.0
    dropout_output: Annotated[float, _share("share of units dropped above the last layer")] = 0.0
    weight_drop: Annotated[float, _share("share of the recurrent weights w_hh dropped (DropConnect)")] = 0.0
    zoneout: Annotated[float, _share("how likely a unit's state h (elstm: c) stays what it was, at each step")] = 0.0
    zoneout_content: Annotated[
        float, _for("model.cell", _LSTMS, "the same for the cell state c of LSTM variants", ge=0, lt=1)
    ] = 0.0
    activation_penalty: Annotated[
        float, _about("alpha of AR: weight in the loss of the output's mean square", ge=0, le=_MOST)
    ] = 0.0
    temporal_penalty: Annotated[
        float, _about("beta of TAR: weight in the loss of the mean square of its change", ge=0, le=_MOST)
    ] = 0.0


class Gradient(Section, frozen=True):
    """How credit, the gradient through time, flows back."""

    rule: Annotated[str, _about("the gradient estimator")] = "bptt"
    horizon: Annotated[int, _rule("truncated", "how many steps credit flows back at most (k2)", ge=1)] = 32
    segment_length: Annotated[int, _rule("checkpointed, randomized", "steps in a segment", ge=1)] = 16
    memory: Annotated[
        Annotated[str, Meta(min_length=1)] | None, _rule("checkpointed", "a memory budget instead, such as 64MiB")
    ] = None
    longest: Annotated[int, _rule("adaptive", "the longest horizon, two chunks or more (3 steps or more)", ge=3)] = 128
    target: Annotated[float, _rule("adaptive", "relative bias to stay below", gt=0, le=_MOST)] = 0.1
    measure_every: Annotated[int, _rule("adaptive", "chunks from one measurement of decay to the next", ge=1)] = 16
    cut_rate: Annotated[float, _rule("randomized", "probability of a cut between segments", ge=0, lt=1)] = 0.5


class Optimizer(Section, frozen=True):
    """How a gradient becomes an update of the parameters."""

    name: Annotated[str, _about("the optimizer")] = "adam"
    rate: Annotated[float, _about("the peak learning rate", gt=0, le=_MOST)] = 1e-2
    schedule: Annotated[str, _about("the schedule of the learning rate")] = "cosine"
    warmup: Annotated[int, _about("updates during which the rate rises to its peak", ge=0)] = 100
    final: Annotated[float, _course("linear, cosine", "rate at the end, as a fraction of the peak", ge=0, le=1)] = 0.01
    every: Annotated[int, _course("exponential, step", "updates between two decays", ge=1)] = 1000
    decay: Annotated[float, _course("exponential, step, plateau", "factor of each decay", gt=0, le=1)] = 0.5
    plateau: Annotated[int, _course("plateau", "validations without a new best before a decay", ge=1)] = 2
    average_after: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        _about("average once validation is worse than its best before the last N (NT-ASGD); left out: 5 for asgd"),
    ] = None
    average_last: Annotated[
        float,
        _about("average the weights over the last part of training, of this share; 0 = none", ge=0, lt=1),
    ] = 0.0
    clip_norm: Annotated[float, _about("gradient clipping: greatest global norm; inf = no limit", gt=0)] = 1.0
    clip_value: Annotated[float, _about("gradient clipping: greatest entry; inf = no limit", gt=0)] = float("inf")
    weight_decay: Annotated[
        _NotNegative | None, _about("decoupled weight decay, times the rate; left out: 0.01 for adamw, else 0")
    ] = None
    options: Annotated[dict[str, float | bool], _about("other options of optax, such as {b2 = 0.99}")] = {}


class Training(Section, frozen=True):
    """How long to train, and what happens on the way."""

    length: Annotated[str, _about("how long: '2000 updates', '10 epochs' or '5 minutes'")] = "5 minutes"
    accumulate: Annotated[int, _about("gradient accumulation: successive chunks that make one update", ge=1)] = 1
    updates_per_dispatch: Annotated[int, _about("updates made by one call of the compiled train step", ge=1)] = 1
    precision: Annotated[str, _about("operands of the matrix products of an update (sums stay float32)")] = "float32"
    validate_every: Annotated[int, _about("updates between two validations, each followed by a snapshot", ge=1)] = 250
    validate_targets: Annotated[int, _about("at most so many validation symbols are scored each time", ge=1)] = 200_000
    patience: Annotated[int, _about("validations without a new best before training stops; 0 = never", ge=0)] = 0
    max_skipped: Annotated[int, _about("skipped (non-finite) updates in a row before training stops", ge=1)] = 20
    keep: Annotated[int, _about("snapshots kept beside the best one", ge=1)] = 2


class Sampling(Section, frozen=True):
    """The sample at the end of training; what `jaxrnn sample` does unless told otherwise."""

    prompt: Annotated[str | None, _about("the text to go on from; left out or empty: the model begins a line")] = None
    length: Annotated[int, _about("symbols to write", ge=1, lt=2**31)] = 500
    temperature: Annotated[
        float, _about("1 = as learned, lower = safer, 0 = always the likeliest symbol", ge=0, le=_MOST)
    ] = 0.8
    top_k: Annotated[_Positive | None, _about("choose among the k likeliest symbols only")] = None
    top_p: Annotated[float, _about("nucleus sampling: likeliest symbols of this total probability", gt=0, le=1)] = 1.0


class Parallel(Section, frozen=True):
    """The devices and processes that share the rows of a batch. What is learnt differs by rounding alone."""

    devices: Annotated[
        _Positive | None, _about("how many; left out: the most that divide batch_size; of CPU cores only if it pays")
    ] = None
    coordinator: Annotated[
        str | None, _about("several processes: HOST:PORT of the first one, or auto under a launcher (Slurm, MPI)")
    ] = None
    processes: Annotated[_Positive | None, _about("with HOST:PORT: how many processes there are")] = None
    process: Annotated[_NotNegativeInt | None, _about("with HOST:PORT: the number of this one, from 0")] = None


class Machine(Section, frozen=True):
    """How the machine is used. Nothing of it changes what is learnt."""

    keep_buffers: Annotated[bool, _about("keep freed memory for the next step, where glibc is the C library")] = True
    compilation_cache: Annotated[
        str, _about("folder of compiled programs, for a quick start: auto = the user's cache, off = none")
    ] = "auto"


class Config(Section, frozen=True):
    """A whole configuration."""

    seed: Annotated[int, _about("seed of every random draw", ge=0, lt=2**32)] = 1
    data: Data = Data()
    model: Model = Model()
    regularizer: Regularizer = Regularizer()
    gradient: Gradient = Gradient()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    sampling: Sampling = Sampling()
    parallel: Parallel = Parallel()
    machine: Machine = Machine()


def portable(config: Config) -> Config:
    """Leave out where a run takes place: what remains decides what is learnt.

    Args:
        config: a configuration.

    Returns:
        The same with the defaults of `parallel` and `machine`.

    Example:
        >>> portable(Config(seed=2, parallel=Parallel(devices=8))) == Config(seed=2)
        True
    """
    return msgspec.structs.replace(config, parallel=Parallel(), machine=Machine())


def average_after(optimizer: Optimizer) -> int | None:
    """After how many validations a worse one makes the parameters be averaged.

    Args:
        optimizer: the section.

    Returns:
        n of `jaxrnn.averaging.worsened`; None for never. Left out it is 5 for asgd, which is there to average, unless
        `average_last` says when.

    Example:
        >>> average_after(Optimizer()), average_after(Optimizer(name="asgd"))
        (None, 5)
    """
    unsaid = optimizer.average_after is None and optimizer.average_last == 0
    return 5 if unsaid and optimizer.name == "asgd" else optimizer.average_after


UNITS = ("updates", "epochs", "minutes")


class Length(NamedTuple):
    """How long to train.

    Attributes:
        amount: how many.
        unit: of what, "updates", "epochs" or "minutes".
    """

    amount: int
    unit: str


def length(training: Training) -> Length:
    """Read `training.length`.

    Args:
        training: the section.

    Returns:
        The amount and its unit.

    Raises:
        InputError: if it is not a number and a unit.

    Example:
        >>> length(Training(length="10 epochs"))
        Length(amount=10, unit='epochs')
    """
    amount, _, unit = training.length.partition(" ")
    unit = unit if unit in UNITS else f"{unit}s"  # one epoch
    digits = amount.isascii() and amount.isdigit() and len(amount) < 20  # Python refuses to read thousands of them
    if not (digits and 0 < int(amount) < 2**31 and unit in UNITS):
        expected = "expected a number below 2^31 and its unit, such as '2000 updates', '10 epochs' or '5 minutes'"
        raise InputError(f"training.length = {training.length!r}: {expected}")
    return Length(int(amount), unit)


def countable(updates: int, training: Training) -> int:
    """Refuse more updates than a state's counter, an int32, can count.

    Args:
        updates: how many a training is long.
        training: the section that says so.

    Returns:
        The number of updates.

    Raises:
        InputError: if it is too large.
    """
    if updates >= 2**31:
        found = f"training.length = {training.length!r}: {updates:,} updates"
        raise InputError(f"{found}; expected a length of fewer than 2^31")
    return updates
