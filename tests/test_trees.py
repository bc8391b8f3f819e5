"""Carries taken apart and put together."""

import jax
import jax.numpy as jnp
import numpy as np

from agreement import assert_close
from jaxrnn.compose import Noise
from jaxrnn.trees import dependencies, is_float, is_key, join, partition, renew_keys, row_norms, split_carry

KEYS = jax.random.split(jax.random.key(0), (2, 3))
CARRY = ((np.ones(2), jnp.zeros(2, jnp.bfloat16)), Noise(KEYS, np.arange(6).reshape(2, 3)), (), None)


def test_what_has_a_cotangent():
    assert [is_float(leaf) for leaf in jax.tree.leaves(CARRY)] == [True, True, False, False]
    assert [is_key(leaf) for leaf in jax.tree.leaves(CARRY)] == [False, False, True, False]
    assert is_float(1.0) and not is_float(1) and not is_float(True)


def test_parts_join_to_the_whole():
    floats, others = split_carry(CARRY)
    assert len(jax.tree.leaves(floats)) == len(jax.tree.leaves(others)) == 2
    assert_close(join(floats, others), CARRY)
    assert_close(join(others, floats), CARRY)
    first, rest = partition({"a": 1, "b": 2, "c": 3}, {"a": True, "b": False, "c": True})
    assert join(first, rest) == {"a": 1, "b": 2, "c": 3}


def test_what_a_result_depends_on():
    """Through other quantities, as an argument handed on, and not where it only goes beside."""
    tree = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2), "d": jnp.ones(2)}

    def function(tree):
        unused = tree["d"] * tree["a"]
        del unused
        total = jax.lax.scan(lambda total, x: (total + x, None), 0.0, tree["a"] + 1)[0]
        return 3.0, tree["c"], total

    assert dependencies(function, tree) == {"a": True, "b": False, "c": True, "d": False}
    assert dependencies(lambda tree: 3.0, tree) == dict.fromkeys(tree, False)


def test_each_key_goes_on_by_itself():
    """The next key of a chain is `fold_in(key, 0)`, wherever the key lies; all else stays."""
    new = renew_keys(CARRY)
    floats, _ = split_carry(new)
    assert_close(floats, split_carry(CARRY)[0])
    assert_close(new[1].count, CARRY[1].count)
    for place in np.ndindex(KEYS.shape):
        assert_close(new[1].key[place], jax.random.fold_in(KEYS[place], 0))
    assert_close(renew_keys(jax.random.key(7)), jax.random.fold_in(jax.random.key(7), 0))
    assert_close(renew_keys(KEYS[:0]), KEYS[:0])


def test_the_norm_of_a_row_counts_both_parts_of_a_complex_number():
    assert row_norms([jnp.array([[3 + 4j], [0j]])], 2).tolist() == [5.0, 0.0]


def test_norms_neither_over_nor_underflow():
    rows = jnp.array([[3e-200, 4e-200], [3e200, 4e200], [0, 0], [jnp.inf, 1], [jnp.nan, 1]])
    np.testing.assert_allclose(row_norms([rows], 5), [5e-200, 5e200, 0, np.inf, np.nan], rtol=1e-12)
