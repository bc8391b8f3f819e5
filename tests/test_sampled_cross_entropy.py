"""The sampled cross-entropy: exact where all are drawn, right in the mean, and a plain loop given the draw."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agreement import assert_close
from jaxrnn.errors import InputError
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.products import made_from
from jaxrnn.sampled_cross_entropy import groups, sampled_cross_entropy

STEPS, ROWS, HIDDEN, WORDS, SAMPLE = 3, 2, 4, 9, 5
RNG = np.random.default_rng(0)
H, W, B = RNG.normal(size=(STEPS, ROWS, HIDDEN)), RNG.normal(size=(HIDDEN, WORDS)), RNG.normal(size=WORDS)
TARGETS = np.array([[0, 8], [7, 3], [5, 5]])
D_LOSS = RNG.normal(size=TARGETS.shape)
FIRST, SIZE = map(np.array, groups(WORDS, SAMPLE))


def plain(h, w, b):
    return softmax_cross_entropy(jnp.einsum("tbh,hv->tbv", h, w) + b[None, None], TARGETS)


def estimate(key, h=H, w=W, b=B, targets=TARGETS, sample=SAMPLE):
    return sampled_cross_entropy(key, h, w, b, targets, sample=sample)


def with_gradients(loss, d_loss=D_LOSS):
    losses, pull = jax.vjp(loss, H, W, B)
    return losses, pull(jnp.asarray(d_loss))


def drawn(keys, targets):
    """Which symbols an estimate has, bool `[keys, V]`, seen from outside: a bias moves it where its symbol is there."""
    moves = jax.vmap(jax.grad(lambda b, key: estimate(key, b=b, targets=targets).sum()), (None, 0))
    return np.array(jax.jit(moves)(jnp.asarray(B), keys)) != 0


def by_loop(symbols):
    """Losses and gradients of the definition, symbol by symbol, in NumPy."""
    losses, d_h, d_w, d_b = np.zeros(TARGETS.shape), np.zeros_like(H), np.zeros_like(W), np.zeros_like(B)
    for t, row in np.ndindex(*TARGETS.shape):
        h, target = H[t, row], TARGETS[t, row]
        there = [
            target if first <= target < first + size else c for c, first, size in zip(symbols, FIRST, SIZE, strict=True)
        ]
        shares = {c: size * math.exp(h @ W[:, c] + B[c]) for c, size in zip(there, SIZE, strict=True)}
        z = sum(shares.values())
        losses[t, row] = math.log(z) - h @ W[:, target] - B[target]
        for c, share in shares.items():
            d_logit = D_LOSS[t, row] * (share / z - (c == target))
            d_h[t, row] += d_logit * W[:, c]
            d_w[:, c] += d_logit * h
            d_b[c] += d_logit
    return losses, (d_h, d_w, d_b)


@pytest.fixture(scope="module")
def keys_by_draw():
    """A key for each draw that there is."""
    assert SIZE.tolist() == [1, 1, 2, 3, 2]
    keys = jax.random.split(jax.random.key(0), 200)
    there = drawn(keys, np.zeros_like(TARGETS))  # a target that is a group by itself, and so there anyway
    found = {tuple(np.flatnonzero(one).tolist()): key for one, key in zip(there, keys, strict=True)}
    members = (range(first, first + size) for first, size in zip(FIRST, SIZE, strict=True))
    assert set(found) == set(itertools.product(*members))
    return found


@pytest.mark.parametrize("sample", [WORDS, 100])
def test_with_all_symbols_it_is_the_plain_one(sample):
    all_drawn = jax.jit(lambda: with_gradients(lambda *given: estimate(jax.random.key(1), *given, sample=sample)))()
    assert_close(all_drawn, jax.jit(lambda: with_gradients(plain))())


def test_of_each_draw_values_and_gradients_are_those_of_a_plain_loop(keys_by_draw):
    sampled = jax.jit(lambda key: with_gradients(lambda *given: estimate(key, *given)))
    for draw, key in keys_by_draw.items():
        assert_close(sampled(key), by_loop(draw))


def test_in_the_mean_the_true_distribution_is_where_the_loss_is_least(keys_by_draw):
    """Over all draws, each as likely as the next, and all targets, as likely as the model says: no gradient is left."""
    h, targets = np.broadcast_to(H[0, 0], (WORDS, HIDDEN)), np.arange(WORDS)
    logits = H[0, 0] @ W + B
    truth = np.exp(logits) / np.exp(logits).sum()

    def expected(w, b, key):
        return jnp.sum(truth * estimate(key, h, w, b, targets))

    keys = jnp.stack(list(keys_by_draw.values()))
    slopes = jax.jit(jax.vmap(jax.grad(expected, argnums=(0, 1)), (None, None, 0)))(W, B, keys)
    for slope in slopes:
        assert np.abs(slope.mean(0)).max() < 1e-12 < 0.01 < np.abs(slope).max()  # of all draws; of one


def test_of_a_target_that_is_a_group_by_itself_the_normalizer_is_unbiased(keys_by_draw):
    losses = np.array(jax.jit(jax.vmap(partial(estimate, targets=0 * TARGETS)))(jnp.stack(list(keys_by_draw.values()))))
    logits = H @ W + B
    assert_close(np.exp(losses + logits[..., 0]).mean(0), np.exp(logits).sum(-1))
    assert np.all(losses.std(0) > 0.01)


def test_every_symbol_of_a_group_is_as_likely_as_the_next():
    """4,000 draws; 5 standard deviations."""
    keys = jax.random.split(jax.random.key(1), 4000)
    there = drawn(keys, TARGETS)
    chosen = [symbol for symbol in range(WORDS) if symbol not in TARGETS]  # those are there anyway
    assert chosen == [1, 2, 4, 6]
    for symbol in chosen:
        size = SIZE[np.searchsorted(FIRST, symbol, side="right") - 1]
        times, expected = int(there[:, symbol].sum()), len(keys) / size
        assert abs(times - expected) <= 5 * math.sqrt(expected * (1 - 1 / size))


@given(st.integers(1, 3000), st.integers(0, 500))
def test_groups_are_the_vocabulary_and_grow_with_the_id(words, more):
    fewest = math.floor(math.log2(words)) + 1
    first, size = map(np.array, groups(words, fewest + more))
    assert len(first) <= fewest + more
    assert first.tolist() == [0, *np.cumsum(size)[:-1]] and size.sum() == words
    assert np.all(np.diff(size[:-1]) >= 0) and size.min() >= 1
    assert len(groups(words, words)[0]) == words


@pytest.mark.parametrize("words", [1, 2, 7, 40])
def test_of_all_ways_to_group_it_is_the_one_with_most_groups_that_are_not_too_many(words):
    """Of the sizes `1 + first // m`, by trying every m; of equally many groups those of the largest m."""

    def grouped(m):
        first = [0]
        while (following := first[-1] + 1 + first[-1] // m) < words:
            first.append(following)
        return tuple(first)

    ways = [grouped(m) for m in range(1, words + 1)]
    for sample in range(len(ways[0]), words + 3):
        assert groups(words, sample)[0] == max((way for way in reversed(ways) if len(way) <= sample), key=len)


def test_a_sample_that_is_too_small_names_the_least():
    assert len(groups(1000, 10)[0]) == 10
    with pytest.raises(InputError, match="sample is 9; it must be a whole number, at least 10 with 1000 symbols"):
        groups(1000, 9)
    with pytest.raises(InputError, match="sampled_cross_entropy: sample is 2.5"):
        estimate(jax.random.key(0), sample=2.5)


def test_one_symbol_is_certain():
    loss, grads = jax.value_and_grad(
        lambda w: estimate(jax.random.key(0), w=w, b=np.ones(1), targets=np.zeros_like(TARGETS), sample=1).sum()
    )(jnp.ones((HIDDEN, 1)))
    assert float(loss) == 0 and not np.any(grads)


def test_targets_that_do_not_exist_are_nan_as_in_the_plain_one():
    targets = np.array([[-1, 8], [-WORDS, 3], [WORDS, 5]])
    d_loss = np.where(np.isin(targets, (8, 3, 5)), D_LOSS, 0)  # a place of weight 0 may have any target
    losses, grads = with_gradients(lambda *given: estimate(jax.random.key(0), *given, targets=targets), d_loss)
    assert np.isnan(losses).tolist() == [[True, False]] * 3
    _, expected = with_gradients(lambda *given: estimate(jax.random.key(0), *given), d_loss)
    assert_close(grads, expected)


def test_logits_of_any_size_are_safe():
    losses, pulled = with_gradients(lambda h, w, b: estimate(jax.random.key(0), h, 1000 * w, b))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((losses, pulled)))


def test_narrow_floats_are_added_up_in_wider_ones(default_settings):
    """To the rounding of bfloat16, 2^-8."""
    h, w, b = jnp.zeros((1, 4), jnp.bfloat16), jnp.zeros((4, 10_000), jnp.bfloat16), jnp.zeros(10_000, jnp.bfloat16)
    loss = estimate(jax.random.key(0), h, w, b, np.array([0]), 3000)
    assert loss.dtype == jnp.bfloat16 and abs(float(loss[0]) - np.log(10_000)) < 2**-8 * float(loss[0])
    h, w, b = jnp.ones((4096, 1), jnp.bfloat16), jnp.zeros((1, 40), jnp.bfloat16), jnp.zeros(40, jnp.bfloat16)
    targets = np.zeros(4096, int)
    d_w, d_b = jax.grad(lambda w, b: estimate(jax.random.key(0), h, w, b, targets, 40).sum(), (0, 1))(w, b)
    for one in (d_w[0, 0], d_b[0]):  # in bfloat16 the sum would stop at 256
        assert abs(float(one) + 4096 * 39 / 40) < 2**-7 * 4096


def test_operands_are_rounded_where_that_is_asked_for_but_those_of_the_targets():
    coarse = made_from(jnp.bfloat16, lambda h, w, b: estimate(jax.random.key(0), h, w, b, sample=WORDS))(H, W, B)
    rounded_h, rounded_w = (np.asarray(jnp.asarray(a).astype(jnp.bfloat16), float) for a in (H, W))
    logits, own = rounded_h @ rounded_w + B, np.take_along_axis(H @ W + B, TARGETS[..., None], -1)
    np.put_along_axis(logits, TARGETS[..., None], own, -1)
    assert_close(coarse, np.log(np.exp(logits).sum(-1)) - own[..., 0])
    assert np.abs(coarse - estimate(jax.random.key(0), sample=WORDS)).max() > 1e-4


def test_memory_and_products_grow_with_the_sample_and_not_with_the_vocabulary():
    """The compiled program's own account, of value and gradient. What grows is the gradient, which is its result."""
    rows, hidden = 512, 8
    targets = np.zeros(rows, int)

    def cost(words, sample):
        arguments = jnp.zeros((rows, hidden)), jnp.zeros((hidden, words)), jnp.zeros(words)

        def total(h, w, b):
            return estimate(jax.random.key(0), h, w, b, targets, sample).sum()

        program = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2))).lower(*arguments).compile()
        return program.memory_analysis().temp_size_in_bytes, program.cost_analysis()["flops"]

    (small, few), (large, more), (whole, most) = cost(4000, 200), cost(8000, 200), cost(8000, 8000)
    assert large < small + 4 * 4000 * hidden * 8 and more < 1.2 * few
    assert whole > rows * 8000 * 8 > 10 * large and most > 20 * more


def test_what_does_not_fit_is_named():
    for h, w, b, targets, name in (
        (H, W.T, B, TARGETS, "w"),
        (H, W, B[1:], TARGETS, "b"),
        (H, W, B, TARGETS[1:], "ta"),
        (H, W, B, TARGETS.astype(float), "targets must be integers"),
    ):
        with pytest.raises(AssertionError, match=f"sampled_cross_entropy: {name}"):
            estimate(jax.random.key(0), h, w, b, targets)


@pytest.mark.parametrize("anything", [np.inf, np.nan])
def test_a_row_without_credit_may_hold_anything(anything):
    empty = np.arange(STEPS) == 1
    d_loss, filled = np.where(empty[:, None], 0, D_LOSS), np.where(empty[:, None, None], anything, H)
    losses, given_anything = jax.vjp(lambda *given: estimate(jax.random.key(0), *given), filled, W, B)
    clean = jax.vjp(lambda *given: estimate(jax.random.key(0), *given), H, W, B)[1]
    assert np.isnan(losses).all(axis=1).tolist() == empty.tolist()
    assert_close(given_anything(jnp.asarray(d_loss)), clean(jnp.asarray(d_loss)))
