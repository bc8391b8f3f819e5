"""What the tests of gradients share: random trees, all gradients at once, and the comparison to 1e-12."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import reference
from jaxrnn.fused import trace
from jaxrnn.trees import is_float, is_key, join, renew_keys, split_carry


def plain(leaf):
    """A leaf as a NumPy array; a random key as its numbers."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def assert_close(actual, expected, tolerance=1e-12):
    """Two trees have one structure, equal shapes and dtypes, and agree relative to each array's largest number.

    An array far smaller than the rest of its tree may be what is left of a difference of larger numbers, so each is
    compared to the tree's largest as well, if only up to 1. Integers and keys must be equal, non-finite values stand at
    the same places.
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    expected = [plain(b) for b in jax.tree.leaves(expected)]
    floor = min(1.0, max((largest(b) for b in expected if is_float(b)), default=0.0))
    for (path, a), b in zip(jax.tree.leaves_with_path(actual), expected, strict=True):
        a, name = plain(a), jax.tree_util.keystr(path)
        assert a.shape == b.shape and a.dtype == b.dtype, (name, a.shape, b.shape, a.dtype, b.dtype)
        if not is_float(a):
            np.testing.assert_array_equal(a, b, err_msg=name)
            continue
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(floor, largest(b)), err_msg=name)


def largest(array):
    """The largest of an array's finite magnitudes, 0 if it has none."""
    return np.abs(array[np.isfinite(array)]).max(initial=0.0)


def random_like(seed, tree):
    """Standard normal numbers in the place of every float leaf; integers and keys stay. Drawn by NumPy, uncompiled."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(size=a.shape).astype(a.dtype) if is_float(a) else a, tree)


def random_params(seed, cell):
    """Parameters of a cell, all of them random: none is zero, for that would hide mistakes."""
    return jax.tree.map(lambda p: 0.5 * p, random_like(seed, jax.eval_shape(cell.init, jax.random.key(0))))


def all_gradients(function, seed, *arguments):
    """The results of a function, and the cotangents of every float in its arguments for random ones of its results."""
    floats, others = split_carry(arguments)

    def of_floats(floats):
        return split_carry(function(*join(floats, others)))

    results, pull, rest = jax.vjp(of_floats, floats, has_aux=True)
    (cotangents,) = pull(random_like(seed, results))
    return join(results, rest), cotangents


def scanned(cell):
    """The definition of a cell's `unroll`: the scan of its step."""
    return lambda params, carry, xs: jax.lax.scan(partial(cell.step, params), carry, xs)


def count_of(params):
    """How many numbers there are in a tree."""
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(params))


def estimate_by_definition(cell, loss, params, carry, chunk, cut, renew_every):
    """What an estimate is by definition: one gradient of one scan of the step, with `stop_gradient` at each boundary.

    Credit stops, and noise is renewed, before every step whose number is a multiple of `cut` or of `renew_every`. Both
    may be traced, so that one compilation serves for all lengths. Returns `(loss, weight, grads)` and the carry.
    """

    def objective(params):
        def body(running, now):
            (carry, total), (t, x, target, weight) = running, now
            floats, others = split_carry(carry)
            floats = jax.tree.map(lambda a: jnp.where(t % cut == 0, jax.lax.stop_gradient(a), a), floats)
            renewed = renew_keys(others)
            others = jax.tree.map(lambda a, b: jnp.where(t % renew_every == 0, b, a), others, renewed)
            carry, y = cell.step(params, join(floats, others), x)
            return (carry, total + jnp.sum(weight * loss(y, target))), None

        steps = jnp.arange(chunk.weight.shape[0])
        (last, total), _ = jax.lax.scan(body, (carry, jnp.zeros(())), (steps, *chunk))
        return total, last

    (total, last), grads = jax.value_and_grad(objective, has_aux=True)(params)
    return (total, jnp.sum(chunk.weight), grads), last


def assert_follows_by_hand(cell, by_hand):
    """A cell's step, unroll, trace and gradients are those of the NumPy loops, at random parameters and carry."""
    steps, rows = 6, 2
    params = random_params(1, cell)
    xs = np.random.default_rng(3).normal(size=(steps, rows, cell.input_size))

    def as_states(carry):
        return carry if by_hand.states > 1 else (carry,)

    def as_carry(states):
        return states if by_hand.states > 1 else states[0]

    states = as_states(random_like(2, cell.initial_carry(rows)))

    def unroll(params, states, xs):
        carry, ys = cell.unroll(params, as_carry(states), xs)
        return as_states(carry), ys

    last, ys, tape = reference.unroll(by_hand, params, states, xs)
    (results, cotangents), seen, (carry, y) = jax.jit(
        lambda *arguments: (
            all_gradients(unroll, 4, *arguments),
            trace(cell, params, as_carry(states), xs),
            cell.step(params, as_carry(states), xs[0]),
        )
    )(params, states, xs)
    first, _ = by_hand.forward(params, states, xs[0])
    assert_close((as_states(carry), y), (first, first[0]))
    assert_close(results, (last, ys))
    d_last, d_ys = random_like(4, results)
    assert_close(cotangents, reference.bptt(by_hand, params, tape, d_last, d_ys))
    no_notes = {"x", "h_before", "c_before", "h_n", "m", "out", "from_input", "from_state", "products"}
    assert set(seen.notes) == set(tape[0]) - no_notes
    for name, values in seen.notes.items():
        assert_close(values, np.array([at_step[name] for at_step in tape]))
