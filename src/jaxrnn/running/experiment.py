"""Everything that a configuration stands for, made ready: text, model, estimator, optimizer and the first state."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxrnn import build, training
from jaxrnn.cell import Cell
from jaxrnn.config import Config, countable, length
from jaxrnn.data.chunks import Streams, make_streams, number_of_chunks
from jaxrnn.data.corpora import Corpus
from jaxrnn.data.dataset import Dataset
from jaxrnn.data.lengths import longest, vary_lengths
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, GradientEstimator
from jaxrnn.mesh import data_mesh
from jaxrnn.parallel import data_parallel
from jaxrnn.running.devices import choose_mesh, cores_pay
from jaxrnn.running.run_text import find_beginning, open_text
from jaxrnn.running.runs import Run
from jaxrnn.training import TrainState
from jaxrnn.trees import threefry
from jaxrnn.types import Array, Marked, Params


class Learner(NamedTuple):
    """A model and the gradient that it learns by; how it descends depends on the length of the run as well.

    Attributes:
        cell: the model, symbols in and logits out.
        estimator: how to differentiate through time.
    """

    cell: Cell
    estimator: GradientEstimator


class Experiment(NamedTuple):
    """What a configuration stands for.

    Attributes:
        config: the configuration.
        corpus: the text in its splits.
        dataset: the text as ids, with the vocabulary.
        streams: the training text as rows of chunks; for the cuts of a later epoch see `epoch_streams`.
        learner: the model and the way it learns.
        updates: how many updates training takes in all.
        mesh: the devices that share the rows of a batch.
    """

    config: Config
    corpus: Corpus
    dataset: Dataset
    streams: Streams
    learner: Learner
    updates: int
    mesh: Mesh


def set_up(config: Config, run: Run | None = None, vocabulary: Vocabulary | None = None) -> Experiment:
    """Make everything ready that a configuration names.

    Args:
        config: the configuration.
        run: the run to go on with, or None.
        vocabulary: the symbols of a new run; None counts them in its training text.

    Returns:
        The experiment.

    Raises:
        InputError: naming the key, if a name is not known or the text is not there, not readable or too short.
    """
    corpus, dataset = open_text(config, run, vocabulary=vocabulary)
    data = config.data
    name = f"data.corpus = {data.corpus!r}"
    for split, given, text in (("valid", data.valid, "validation text"), ("test", data.test, "test text")):
        place = name if given is None else f"data.{split} = {given!r}"
        make_streams(dataset.ids[split], 1, 1, drop_tail=False, name=f"{place}: {text}")  # or it has no target
    places = longest(data.chunk_length, data.chunk_spread)
    spread = (
        f", data.chunk_length = {data.chunk_length} and data.chunk_spread = {data.chunk_spread:g} want {places} steps"
    )
    named = f"{name}: training text{spread if data.chunk_spread else ''}"
    streams = make_streams(dataset.ids["train"], data.batch_size, places, drop_tail=True, name=named)
    streams = epoch_streams(config, streams, 0)
    _check_lap(config, streams)
    if run is None:
        _check_new(config, streams)
    updates = total_updates(config, streams)
    learner = build_learner(config, dataset.vocabulary)
    return Experiment(config, corpus, dataset, streams, learner, updates, _mesh(config, learner))


def epoch_streams(config: Config, streams: Streams, epoch: int) -> Streams:
    """Cut the training text as an epoch wants it: with lengths in an order of its own, or at its lap on the circle.

    Args:
        config: the configuration.
        streams: the training text.
        epoch: which epoch, from 0.

    Returns:
        The training text as rows of chunks, as many in every epoch.
    """
    data = config.data
    if data.circular:
        return streams._replace(lap=epoch)
    return vary_lengths(streams, data.chunk_length, data.chunk_spread, seed=config.seed, epoch=epoch)


def _check_new(config: Config, streams: Streams) -> None:
    """Refuse what is of no use, where a run begins; one that is there may go on so, and can be read."""
    chunks, accumulate = number_of_chunks(streams), config.training.accumulate
    if accumulate > chunks:
        raise InputError(f"training.accumulate = {accumulate}: expected at most {chunks}, the chunks of an epoch")
    patience, plateau = config.training.patience, config.optimizer.plateau
    if config.optimizer.schedule == "plateau" and 0 < patience <= plateau:
        expected = f"expected more than optimizer.plateau = {plateau}, or 0"
        raise InputError(f"training.patience = {patience}: training would stop before the rate falls; {expected}")


def _check_lap(config: Config, streams: Streams) -> None:
    """Refuse a lap that ends within an update: what would fill that up would be read by the carry, which goes on."""
    chunks, accumulate = number_of_chunks(streams), config.training.accumulate
    if config.data.circular and chunks % accumulate:
        expected = f"expected a divisor of {chunks}, the chunks of a lap, with data.circular = true"
        raise InputError(f"training.accumulate = {accumulate}: {expected}")


def updates_per_epoch(config: Config, streams: Streams) -> int:
    """Count the updates of one epoch; the last of them may have fewer chunks than the others.

    Args:
        config: the configuration.
        streams: the training text.

    Returns:
        The number.
    """
    return -(-number_of_chunks(streams) // config.training.accumulate)


def total_updates(config: Config, streams: Streams) -> int:
    """Count the updates of a whole training.

    Args:
        config: the configuration.
        streams: the training text.

    Returns:
        The number; for a length in minutes a placeholder, see `pace.fix_length`.

    Raises:
        InputError: if it is more than can be counted.
    """
    amount, unit = length(config.training)
    updates = amount * {"updates": 1, "epochs": updates_per_epoch(config, streams), "minutes": 1}[unit]
    return countable(updates, config.training)


def build_learner(config: Config, vocabulary: Vocabulary) -> Learner:
    """Make the model and the estimator of its gradient.

    Args:
        config: the configuration.
        vocabulary: the symbols.

    Returns:
        The learner.
    """
    begins_at = find_beginning(config.data, vocabulary)
    cell = build.build_model(config.model, len(vocabulary.symbols), config.regularizer, begins_at)
    tells = (config.model.vocabulary_block or config.model.vocabulary_sample) is not None
    return Learner(cell, build.build_estimator(config.gradient, cell, tells, config.training.precision))


def first_state(config: Config, learner: Learner, params: Params | None = None) -> TrainState:
    """Make the state before the first update. Everything random in it follows from the seed.

    Args:
        config: the configuration.
        learner: the model and the way it learns.
        params: what the model begins with; None draws it.

    Returns:
        The state.
    """
    params_key, carry_key, estimator_key, _ = _keys(config)
    params = learner.cell.init(params_key) if params is None else params
    carry = learner.cell.initial_carry((config.data.batch_size,), carry_key)
    optimizer = build.build_optimizer(config.optimizer, steps=1)  # whose first state does not depend on the schedule
    return training.init(learner.estimator, optimizer, estimator_key, params, carry, _blank_chunk(config))


def next_epoch(config: Config, learner: Learner, state: TrainState, epoch: int) -> TrainState:
    """Start on the text anew with a fresh carry; parameters, optimizer and noise go on.

    Args:
        config: the configuration.
        learner: the model and the way it learns.
        state: the state at the end of an epoch, not to be used again.
        epoch: the number of the epoch that begins, from 1.

    Returns:
        The state to go on with.
    """
    key = jax.random.fold_in(_keys(config)[3], epoch)
    carry = learner.cell.initial_carry((config.data.batch_size,), key)
    return training.restart(learner.estimator, state, key, carry, _blank_chunk(config))


def _mesh(config: Config, learner: Learner) -> Mesh:
    """The devices; unless somebody asks for more, one of each process where the rows cannot be split, or need not."""
    mesh, alone = choose_mesh(config), data_mesh(jax.process_count())
    if config.parallel.devices is not None or mesh.size == alone.size:
        return mesh
    state = jax.eval_shape(partial(first_state, config, learner))
    steps = config.data.chunk_length * config.training.accumulate * config.model.num_layers
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))  # of shapes: `optax.tree.size` wants arrays
    if jax.default_backend() == "cpu" and not cores_pay(count, steps):
        return alone
    try:
        estimate = data_parallel(learner.estimator, mesh).estimate
        jax.eval_shape(estimate, state.params, state.estimator, _blank_chunk(config))
    except InputError:
        return alone
    return mesh


def _keys(config: Config) -> Array:
    """Derive from the seed one key each for the parameters, the carry, the estimator and the epochs to come: `[4]`."""
    return jax.random.split(threefry(config.seed), 4)


def _blank_chunk(config: Config) -> Chunk:
    """A chunk that shows nothing but its shapes."""
    shape = (longest(config.data.chunk_length, config.data.chunk_spread), config.data.batch_size)
    ids = jnp.zeros(shape, jnp.int32)
    inputs = Marked(ids, keep=jnp.zeros(shape, bool)) if config.data.chunk_spread else ids
    return Chunk(inputs, ids, jnp.zeros(shape, jnp.float32))
