"""Cells without memory: what is done to each time step by itself, such as an embedding or a readout."""

import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell import Cell, Recurrence, product
from jaxrnn.errors import expect
from jaxrnn.initializers import Initializer
from jaxrnn.lookup import GivesLookup, Lookup, take_rows
from jaxrnn.marks import blank, silence
from jaxrnn.products import narrowed
from jaxrnn.shapes import check_last_axis, check_params, check_sizes
from jaxrnn.types import Array, Params


def pointwise(
    init: Callable[[Array], Params],
    apply: Callable[[Params, Any], Any],
    *,
    input_size: int | None = None,
    output_size: int | None = None,
) -> Cell:
    """Make a cell of a function of one time step. Its carry is empty, and its `unroll` is one call for all steps.

    Args:
        init: `(key) -> params`.
        apply: `(params, x) -> y`, for `[*batch, I]` and `[T, *batch, I]` alike.
        input_size: I, where fixed.
        output_size: O, where fixed.

    Returns:
        The cell, which takes `Marked` inputs too: the output is zero where the input is padding.

    Example:
        >>> twice = pointwise(lambda key: {}, lambda params, x: 2 * x)
        >>> twice.unroll({}, (), jnp.ones((2, 1)))[1].ravel().tolist()
        [2.0, 2.0]
    """

    def step(params, carry, x):
        return carry, silence(x, apply(params, blank(x)))

    def project(params, x):
        return step(params, (), x)[1]

    def recur(params, carry, z, dot, note):
        del params, dot, note
        return carry, z

    recurrence = Recurrence(project, recur)
    return Cell(init, lambda batch_shape, key=None: (), step, step, recurrence, input_size, output_size)


def embedding(
    vocabulary_size: int,
    embedding_size: int,
    *,
    w: Initializer = initializers.standard_normal,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make a lookup of integer ids in a table: `y = w[id]`.

    Args:
        vocabulary_size: V.
        embedding_size: E.
        w: initializer of the table `[V, E]`.
        dtype: of the table.

    Returns:
        A cell with params `w [V, E]`, inputs integer `[*batch]` and outputs `[*batch, E]`. Ids outside `[0, V)` are the
        caller's to prevent: they give NaN. It raises an InputError for other parameters than its own.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1.

    Cost:
        The gradient is one scatter-add per chunk into a table of the size of `w`. In a stack, a layer above that can
        do so multiplies the table instead of its rows: see `jaxrnn.lookup`.

    Example:
        >>> cell = embedding(10, 4)
        >>> cell.step(cell.init(jax.random.key(0)), (), jnp.array([1, 2, 3]))[1].shape
        (3, 4)
    """
    check_sizes("embedding", vocabulary_size=vocabulary_size, embedding_size=embedding_size)

    def init(key):
        return {"w": w(key, (vocabulary_size, embedding_size), jax.dtypes.canonicalize_dtype(dtype))}

    def lookup(params, ids):
        expect("embedding: the input must be integer ids [*batch]", chex.assert_type, ids, int)
        check_params("embedding", params, {"w": (vocabulary_size, embedding_size)})
        return Lookup(params["w"], ids)

    cell = pointwise(init, lambda params, ids: take_rows(*lookup(params, ids)), output_size=embedding_size)
    return cell._replace(unroll=GivesLookup(cell.unroll, lookup))


def dense(
    input_size: int,
    output_size: int,
    *,
    w: Initializer = initializers.fan_in_normal,
    b: Initializer = initializers.zeros,
    dtype: jnp.dtype | type = float,
) -> Cell:
    """Make an affine map of each step: `y = x w + b`.

    Args:
        input_size: I.
        output_size: O.
        w: initializer of `[I, O]`.
        b: initializer of `[O]`.
        dtype: of the parameters.

    Returns:
        A cell with params `w [I, O]` and `b [O]`. It raises an InputError for other parameters than its own.

    Raises:
        InputError: for sizes that are not whole numbers of at least 1.

    Example:
        >>> cell = dense(3, 2)
        >>> cell.step(cell.init(jax.random.key(0)), (), jnp.ones((5, 3)))[1].shape
        (5, 2)
    """
    check_sizes("dense", input_size=input_size, output_size=output_size)

    def init(key):
        key_w, key_b = jax.random.split(key)
        canonical = jax.dtypes.canonicalize_dtype(dtype)
        return {"w": w(key_w, (input_size, output_size), canonical), "b": b(key_b, (output_size,), canonical)}

    def apply(params, x):
        check_last_axis("dense: the input x [*batch, I]", x, input_size)
        check_params("dense", params, {"w": (input_size, output_size), "b": (output_size,)})
        rows = x.reshape(math.prod(x.shape[:-1]), input_size)
        return _affine(rows, params["w"], params["b"]).reshape(*x.shape[:-1], output_size)

    return pointwise(init, apply, input_size=input_size, output_size=output_size)


def _affine(rows: Array, w: Array, b: Array) -> Array:
    """`rows @ w + b`. The bias is in a product, too: so all gradients read the same cotangents, which XLA makes once.

    On a CPU, where rows and outputs are many beside the inputs, it is one more row of the weights: that copies both
    sides of the product, and saves passes over the outputs. Not where operands are rounded, for the bias is not to be.
    """
    ones = jnp.ones((len(rows), 1), rows.dtype)
    many = jax.default_backend() == "cpu" and min(len(rows), len(b)) >= 2 * len(w)
    if many and narrowed(b).dtype == b.dtype:
        return product(jnp.concatenate([rows, ones], axis=1), jnp.concatenate([w, b[None]]))
    return product(rows, w) + ones @ b[None]
