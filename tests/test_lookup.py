"""Tables that are multiplied before their rows are looked up: the same values and gradients, by smaller products."""

from functools import partial

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_params
from jaxrnn.cell import scan_unroll
from jaxrnn.cells import elman, gru, lstm, min_gru
from jaxrnn.compose import dropout, embedding, language_model, stack, zoneout
from jaxrnn.lookup import TakesLookup, take_rows
from jaxrnn.types import Marked

SYMBOLS, WIDTH, ROWS = 4, 3, 2
LONG, SHORT = 5, 3  # steps: with two rows twice as many symbols as there are in the vocabulary and more, or fewer

STACKS = {
    "elman": lambda: stack(embedding(SYMBOLS, WIDTH), elman(WIDTH, 5)),
    "a stack": lambda: stack(embedding(SYMBOLS, WIDTH), stack(lstm(WIDTH, 5), gru(5, 4))),
    "zoneout": lambda: stack(embedding(SYMBOLS, WIDTH), zoneout(lstm(WIDTH, 5), 0.2, 0.1)),
    "no loop": lambda: stack(embedding(SYMBOLS, WIDTH), min_gru(WIDTH, 5)),
    "a language model": lambda: language_model(gru(WIDTH, WIDTH), SYMBOLS),
    "tied": lambda: language_model(gru(WIDTH, WIDTH), SYMBOLS, tie=True),
    "something between": lambda: language_model(gru(WIDTH, 5), SYMBOLS, below=dropout(0.3)),
    "dropped words": lambda: language_model(gru(WIDTH, 5), SYMBOLS, word_dropout=0.3),
}


def ids_of(steps):
    return jnp.asarray(np.random.default_rng(0).integers(0, SYMBOLS, (steps, ROWS)))


def products(cell, steps):
    """How many rows there are on the left of each product of the width of an embedding, outside the loop over time."""
    params = jax.eval_shape(cell.init, jax.random.key(0))
    program = jax.make_jaxpr(cell.unroll)(params, cell.initial_carry(ROWS), ids_of(steps))

    def shapes(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                yield equation.invars[0].aval.shape
            elif equation.primitive.name != "scan":
                yield from (
                    shape for inner in jax.extend.core.jaxprs_in_params(equation.params) for shape in shapes(inner)
                )

    return [shape[0] for shape in shapes(program.jaxpr) if shape[1] == WIDTH]


@pytest.mark.parametrize("steps", [LONG, SHORT])
@pytest.mark.parametrize("name", STACKS)
def test_values_and_gradients_are_those_of_the_loop(name, steps):
    cell, ids = STACKS[name](), ids_of(steps)
    params, carry = random_params(1, cell), cell.initial_carry(ROWS, jax.random.key(1))

    def total(unroll, params):
        carry_after, ys = unroll(params, carry, ids)
        floats = [leaf for leaf in jax.tree.leaves(carry_after) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in [ys, *floats])

    runs = [partial(total, unroll) for unroll in (cell.unroll, scan_unroll(cell.step))]
    values = jax.jit(lambda params: [jax.value_and_grad(run)(params) for run in runs])
    one, other = values(params)
    assert_close(one, other)


def test_the_table_is_multiplied_where_there_are_more_symbols():
    assert products(STACKS["elman"](), LONG) == [SYMBOLS]
    assert products(STACKS["a stack"](), LONG) == [SYMBOLS]
    assert products(STACKS["no loop"](), LONG) == [SYMBOLS]
    assert products(STACKS["elman"](), SHORT) == [SHORT * ROWS]


def test_ids_that_do_not_exist_are_nan_from_whichever_end():
    rows = take_rows(np.arange(4.0)[:, None], np.array([-1, -4, -5, 4, 3]))
    assert_close(rows.ravel(), np.array([np.nan] * 4 + [3.0]))


def test_gradients_of_one_row_are_added_up_in_32_bits(default_settings):
    """In bfloat16, 256 + 1 is 256."""
    table, ids = jnp.ones((2, 1), jnp.bfloat16), jnp.zeros(2000, int)
    rows, pull = jax.vjp(lambda table: take_rows(table, ids), table)
    (d_table,) = pull(jnp.ones_like(rows))
    assert rows.dtype == d_table.dtype == jnp.bfloat16 and d_table.ravel().tolist() == [2000, 0]


def test_marks_are_heeded():
    cell, ids = STACKS["elman"](), ids_of(LONG)
    params, carry = cell.init(jax.random.key(0)), cell.initial_carry(ROWS)
    keep = jnp.arange(LONG)[:, None] < jnp.array([2, 4])[None]
    marked = Marked(ids, keep=keep)
    assert_close(cell.unroll(params, carry, marked), scan_unroll(cell.step)(params, carry, marked))


def test_a_wrapped_unroll_is_not_taken_for_one_that_takes_lookups():
    inner = elman(WIDTH, 5)
    wrapped = inner._replace(unroll=lambda params, carry, xs: inner.unroll(params, carry, 2 * xs))
    assert isinstance(inner.unroll, TakesLookup)
    assert products(stack(embedding(SYMBOLS, WIDTH), wrapped), LONG) == [LONG * ROWS]
