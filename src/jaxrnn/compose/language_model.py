"""Embedding, recurrent core and readout over a vocabulary: a language model is a cell too."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, Recurrence, check_cell
from jaxrnn.choices import is_whole, require
from jaxrnn.compose.documents import documents
from jaxrnn.compose.locked import word_dropout as drop_words
from jaxrnn.compose.noise import shared_noise
from jaxrnn.compose.pointwise import dense, embedding
from jaxrnn.compose.stack import stack
from jaxrnn.compose.told import loss_where_told
from jaxrnn.errors import InputError
from jaxrnn.initializers import Initializer
from jaxrnn.sampled_cross_entropy import groups
from jaxrnn.types import Array, Params


def language_model(
    core: Cell,
    vocabulary_size: int,
    *,
    below: Cell | None = None,
    above: Cell | None = None,
    word_dropout: float = 0.0,
    begins_at: int | None = None,
    tie: bool = False,
    vocabulary_block: int | None = None,
    vocabulary_sample: int | None = None,
    embedding_init: Initializer | None = None,
    readout_init: Initializer = initializers.fan_in_normal,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a model that reads symbols and gives the logits of the next one.

    From the bottom up: embedding, core, readout; what lies between them, such as `dropout(0.2)`, is given as layers.

    Args:
        core: a recurrent cell or stack, with `input_size` E (the embedding's) and `output_size` H.
        vocabulary_size: V.
        below: a layer between embedding and core, or a stack of them; None for none.
        above: a layer between core and readout; it may change the size.
        word_dropout: the rate at which whole symbols are dropped at the input: see `jaxrnn.compose.word_dropout`.
        begins_at: the symbol that begins a document, before which the carry starts anew, such as a line's end: then it
            is read as the first of the line that follows. None: the text is one document.
        tie: use the embedding table, transposed, as the readout's matrix; it is one array and counts once. Needs E = H.
        vocabulary_block: the logits of how many symbols to hold at a time where the model is told its targets; None: of
            all. For large vocabularies, see `jaxrnn.gradients.told`.
        vocabulary_sample: estimate the loss from the logits of at most so many symbols, drawn anew for each chunk: see
            `sampled_cross_entropy`. It is done where the model is told its targets and the first carry was made with a
            key, as in training; elsewhere, and with None, the loss is exact, and in blocks if so asked.
        embedding_init: initializer of the table `[V, E]`; by default normal(1), or normal(1/sqrt(E)) when tied.
        readout_init: initializer of the readout's matrix `[H, V]`, unless tied.
        dtype: of the embedding and the readout.

    Returns:
        A cell with integer inputs `[*batch]` and outputs `[*batch, V]`, or with `Told` inputs and as outputs the
        cross-entropy of the targets, `[*batch]`. Its params are `{"embedding": {"w"}, "core": ...,
        "readout": {"w", "b"}}`, where "w" of the readout is absent when tied, and "below" and "above" are present where
        given. The carry is a tuple with one for each layer, from the bottom up; that of the readout is `()`,
        or with vocabulary_sample a `Noise` with one key for all rows.

    Raises:
        InputError: if the core's sizes are not fixed, or are unequal when tied; for a `begins_at` that is no symbol of
            the vocabulary; for a block below 1, or a sample that is too small.

    References:
        O. Press, L. Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017, arXiv:1608.05859 (tying).

    Example:
        >>> from jaxrnn.cells.lstm import lstm
        >>> from jaxrnn.compose import dropout
        >>> import jax
        >>> model = language_model(lstm(8, 16), vocabulary_size=50, above=dropout(0.2))
        >>> params = model.init(jax.random.key(0))
        >>> model.unroll(params, model.initial_carry(2), jnp.zeros((5, 2), int))[1].shape
        (5, 2, 50)
    """
    layers = _beneath(core, vocabulary_size, below, above, word_dropout, tie, embedding_init, dtype)
    trunk = _apart(stack(*layers.values(), names=tuple(layers)), vocabulary_size, begins_at)
    assert trunk.output_size is not None  # since the core's is not
    if tie and core.input_size != trunk.output_size:
        raise InputError(
            f"language_model: tied weights need equal sizes, but the core takes {core.input_size} and the readout "
            f"{trunk.output_size}; make them equal or do not tie"
        )
    readout = dense(trunk.output_size, vocabulary_size, w=readout_init, dtype=dtype)
    possible = vocabulary_block is None or is_whole(vocabulary_block)
    require(possible, "language_model: vocabulary_block", vocabulary_block, "at least 1 symbol")
    if vocabulary_sample is not None:
        groups(vocabulary_size, vocabulary_sample)  # or a refusal
        readout = readout._replace(initial_carry=shared_noise)
    model = _apart(stack(*layers.values(), readout, names=(*layers, "readout")), vocabulary_size, begins_at)
    model = loss_where_told(model, trunk, vocabulary_block, vocabulary_sample)
    return _tied(model) if tie else model


def language_trunk(
    core: Cell,
    vocabulary_size: int,
    *,
    below: Cell | None = None,
    above: Cell | None = None,
    word_dropout: float = 0.0,
    begins_at: int | None = None,
) -> Cell:
    """Make all of a language model but its readout: symbols in, and out what the readout reads.

    Args:
        core: as for `language_model`.
        vocabulary_size: V.
        below: likewise.
        above: likewise.
        word_dropout: likewise.
        begins_at: likewise.

    Returns:
        A cell that runs on the parameters of the language model, tied or not, and on its carry without the last part.

    Example:
        >>> import jax
        >>> from jaxrnn.cells.gru import gru
        >>> model, trunk = language_model(gru(8, 16), 50), language_trunk(gru(8, 16), 50)
        >>> params, ids = model.init(jax.random.key(0)), jnp.zeros((5, 2), int)
        >>> _, hs = trunk.unroll(params, trunk.initial_carry(2), ids)
        >>> w, b = readout_of(params)
        >>> bool(jnp.allclose(hs @ w + b, model.unroll(params, model.initial_carry(2), ids)[1], atol=1e-5))
        True
    """
    layers = _beneath(core, vocabulary_size, below, above, word_dropout)
    return _apart(stack(*layers.values(), names=tuple(layers)), vocabulary_size, begins_at)


def readout_of(params: Params) -> tuple[Array, Array]:
    """The readout of a language model, tied or not.

    Args:
        params: of the model.

    Returns:
        Its matrix `[H, V]` and its bias `[V]`.

    Example:
        >>> import jax
        >>> from jaxrnn.cells.gru import gru
        >>> w, b = readout_of(language_model(gru(8, 8), 50, tie=True).init(jax.random.key(0)))
        >>> w.shape, b.shape
        ((8, 50), (50,))
    """
    readout = params["readout"]
    return readout["w"] if "w" in readout else params["embedding"]["w"].T, readout["b"]


def _beneath(
    core, vocabulary_size, below, above, word_dropout, tie=False, embedding_init=None, dtype: Any = float
) -> dict[str, Cell]:
    """The layers beneath the readout, by their names."""
    check_cell("language_model: core", core)
    if core.input_size is None or core.output_size is None:
        raise InputError("language_model: the core needs fixed sizes; build it with input_size=... and output_size=...")
    spread = 1.0 / math.sqrt(core.input_size) if tie else 1.0
    table = embedding(vocabulary_size, core.input_size, w=embedding_init or initializers.normal(spread), dtype=dtype)
    table = drop_words(table, word_dropout) if word_dropout else table
    layers = {"embedding": table, "below": below, "core": core, "above": above}
    return {name: layer for name, layer in layers.items() if layer is not None}


def _apart(cell: Cell, vocabulary_size: int, begins_at: int | None) -> Cell:
    """A cell that reads symbols, anew from each that begins a document, if any does."""
    if begins_at is None:
        return cell
    good = is_whole(begins_at, least=0) and begins_at < vocabulary_size
    require(good, "language_model: begins_at", begins_at, f"a symbol, from 0 to {vocabulary_size - 1}")
    return documents(cell, lambda ids: ids == begins_at)


def _tied(model: Cell) -> Cell:
    """The same model with the embedding table, transposed, as the readout's matrix."""

    def view(params):
        if not (isinstance(params, Mapping) and "embedding" in params and "readout" in params):
            return params  # the stack refuses it
        if "w" in params["readout"]:
            raise InputError("language_model: params['readout']['w'] is there, but the model is tied; build it untied")
        return {**params, "readout": {**params["readout"], "w": params["embedding"]["w"].T}}

    def init(key):
        params = model.init(key)
        return params | {"readout": {"b": params["readout"]["b"]}}

    recurrence = Recurrence(
        lambda params, x: model.recurrence.project(view(params), x),
        lambda params, carry, z, dot, note: model.recurrence.recur(view(params), carry, z, dot, note),
    )
    return model._replace(
        init=init,
        step=lambda params, carry, x: model.step(view(params), carry, x),
        unroll=lambda params, carry, xs: model.unroll(view(params), carry, xs),
        recurrence=recurrence,
    )
