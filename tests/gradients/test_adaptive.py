"""The measured decay is the true one, its bound holds where its assumptions do, and the horizon follows from it."""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params
from jaxrnn.cells import gru, lstm
from jaxrnn.compose import dropout, stack
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, adaptive_bptt, bptt, certify, credit_by_lag, truncated_bptt
from jaxrnn.gradients.decay import Certificate, Credit
from jaxrnn.losses import squared_error
from jaxrnn.stepwise import from_step
from jaxrnn.trees import join, renew_keys, split_carry
from jaxrnn.types import Marked

LINEAR = from_step(
    init=lambda key: {"a": jnp.asarray(0.5), "b": jnp.asarray(1.0)},
    initial_carry=lambda batch_shape, key=None: jnp.zeros((*batch_shape, 1)),
    step=lambda params, h, x: (params["a"] * h + params["b"] * x,) * 2,
)
CREDIT = jax.jit(lambda params, *window: credit_by_lag(LINEAR, slopes, params, *window))
CERTIFY = jax.jit(certify)
NOT_CERTIFIED = np.finfo(float).max


def slopes(outputs, targets):
    """A linear loss: the targets are its slopes."""
    return jnp.sum(outputs * targets, axis=-1)


def linear(a):
    return {"a": jnp.asarray(a), "b": jnp.asarray(1.0)}


def linear_credit(a, steps, slope=3.0, weight=1.0):
    """Of a window of two rows, the second of weight 0."""
    starts, inputs = np.zeros((1, 2, 1)), np.ones((1, steps, 2, 1))
    return CREDIT(linear(a), starts, inputs, (np.full((2, 1), slope), np.array([weight, 0.0])))


@pytest.mark.parametrize("a", [0.5, 0.9, -0.7, 1.1])
def test_credit_in_the_scalar_linear_network_has_its_closed_form(a):
    """`phi_k = |e| |a|^k`, in logarithms over 3,000 steps, where 0.5^k has long underflowed and 1.1^k is near 1e124."""
    steps = 3000
    credit, lags = linear_credit(a, steps), np.arange(1, steps + 1)
    assert_close(credit.log_norms, jnp.asarray(np.log(3.0) + lags * np.log(abs(a))))
    assert_close(credit.reach[:100], jnp.asarray(np.abs(3.0 * np.cumsum(a ** lags[:100].astype(float)))))


@pytest.mark.parametrize("a", [0.5, 0.9, -0.7])
def test_the_bound_is_never_below_the_true_bias(a):
    """The bias of the gradients of a and b, for the last loss of a long stationary window, at every horizon."""
    steps = 200
    certificate = CERTIFY(linear_credit(a, steps))
    assert float(certificate.decay) == pytest.approx(abs(a), rel=1e-12)

    def last_loss(params, cut):
        def body(h, t):
            h = jnp.where(t == cut, jax.lax.stop_gradient(h), h)
            return LINEAR.step(params, h, jnp.ones(1))

        return 3.0 * jax.lax.scan(body, jnp.full(1, 1 / (1 - a)), jnp.arange(steps))[1][-1, 0]

    horizons = np.arange(1, steps)
    gradient = jax.jit(jax.vmap(jax.grad(last_loss), in_axes=(None, 0)))
    truncated, exact = gradient(linear(a), steps - horizons), gradient(linear(a), np.array([-1]))
    for name in ("a", "b"):
        bias = np.abs(truncated[name] - exact[name]) / np.abs(exact[name])
        assert bias[0] > 0.4 and np.all(certificate.bounds[:-1] >= bias - 1e-14)
    if (
        a > 0
    ):  # no credit cancels: the bound is the bias of what crosses a step, |a|^(K-1), but for the tail counted twice
        assert_close(certificate.bounds[:50], jnp.asarray(a ** (horizons[:50] - 1.0)), tolerance=1e-7)


@pytest.mark.parametrize("target", [0.9, 0.5, 0.1, 0.001])
def test_the_smallest_horizon_has_its_closed_form(target):
    bounds = np.asarray(CERTIFY(linear_credit(0.9, 400)).bounds)
    assert 1 + int(np.argmax(bounds < target)) == math.floor(math.log(target) / math.log(0.9)) + 2


@pytest.mark.parametrize(("t", "row"), [(4, 1), (2, 0)])
def test_outputs_that_do_not_count_may_be_infinite(t, row):
    """In a row whose last loss has weight 0, and at steps before the last: their cotangents are 0, never NaN."""
    cell = from_step(LINEAR.init, LINEAR.initial_carry, lambda params, h, x: (params["a"] * h, h + x))
    target, weight, xs = np.ones((2, 1)), np.array([1.0, 0.0]), np.ones((1, 5, 2, 1))

    @jax.jit
    def credit(xs):
        return credit_by_lag(cell, squared_error, linear(0.5), np.ones((1, 2, 1)), xs, (target, weight))

    filled = xs.copy()
    filled[0, t, row] = np.inf
    assert_close(credit(filled), credit(xs), tolerance=0)
    assert np.all(np.isfinite(credit(xs).log_norms))


def test_credit_that_is_not_a_number_is_not_taken_for_none():
    credit = linear_credit(np.nan, 5)
    assert np.all(np.isnan(credit.log_norms[1:])) and np.all(np.isinf(CERTIFY(credit).bounds))


def test_credit_that_does_not_decay_is_not_certified():
    for credit in (
        linear_credit(1.1, 50),
        linear_credit(1.0, 50),
        linear_credit(0.99, 20),
        linear_credit(0.5, 50, weight=0.0),
    ):
        assert np.all(np.isinf(CERTIFY(credit).bounds))


def test_weights_of_few_bits_do_no_harm():
    """In bfloat16 a logarithm of -50 would not change by -0.05 any more."""
    steps, half = 1500, jnp.bfloat16
    wide, narrow = (
        CREDIT(linear(0.95), np.zeros((1, 2, 1)), np.ones((1, steps, 2, 1)), (np.full((2, 1), 3.0), weight))
        for weight in (np.ones(2), np.ones(2, half))
    )
    assert_close(narrow, wide)


def test_states_of_few_bits_are_added_up_in_more():
    """In bfloat16, where 256 + 1 is 256, as far as the lags reach alike."""
    cell = from_step(
        init=lambda key: {},
        initial_carry=lambda batch_shape, key=None: jnp.zeros((*batch_shape, 1), jnp.bfloat16),
        step=lambda params, h, x: (h + x,) * 2,
    )
    xs, one = jnp.zeros((1, 500, 1, 1), jnp.bfloat16), jnp.ones((1, 1), jnp.bfloat16)
    credit = credit_by_lag(cell, slopes, {}, cell.initial_carry(1)[None], xs, (one, np.ones(1)))
    assert_close(credit, Credit(jnp.zeros(500), jnp.arange(1.0, 501.0)), tolerance=1e-6)


LENGTH, CHUNKS, ROWS = 3, 4, 3


@cache
def noisy_window():
    cell = stack(lstm(2, 3), dropout(0.4), gru(3, 4))
    rng = np.random.default_rng(3)
    keep = rng.random((CHUNKS, LENGTH, ROWS)) < 0.8
    keep[-1, -1] = True
    reset = np.zeros_like(keep)
    reset[1, 1, 2] = True  # the last row starts anew after four steps
    inputs = Marked(rng.normal(size=(CHUNKS, LENGTH, ROWS, 2)), reset, keep)
    carry = random_like(1, cell.initial_carry(ROWS, jax.random.key(2)))
    return cell, random_params(0, cell), carry, inputs, rng.normal(size=(ROWS, 4)), np.array([1.0, 0.0, 0.5])


def test_credit_is_the_gradient_of_the_carry_at_every_step():
    """Against one gradient with respect to a nudge of the carry before each step; with resets, padding and dropout."""
    cell, params, carry, inputs, target, weight = noisy_window()
    flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), inputs)
    steps = LENGTH * CHUNKS

    def nudged(nudges):
        def body(carry, now):
            t, x, nudge = now
            floats, others = split_carry(carry)
            others = jax.tree.map(lambda a, b: jnp.where(t % LENGTH == 0, b, a), others, renew_keys(others))
            carry, y = cell.step(params, join(jax.tree.map(jnp.add, floats, nudge), others), x)
            return carry, (y, join(floats, others))

        _, (ys, carries) = jax.lax.scan(body, carry, (jnp.arange(steps), flat, nudges))
        return jnp.sum(weight * squared_error(ys[-1], target)), carries

    @jax.jit
    def both():
        nudges = jax.tree.map(lambda a: jnp.zeros((steps, *a.shape)), split_carry(carry)[0])
        gradients, carries = jax.grad(nudged, has_aux=True)(nudges)
        starts = jax.tree.map(lambda a: a[::LENGTH], carries)
        return gradients, credit_by_lag(cell, squared_error, params, starts, inputs, (target, weight))

    gradients, credit = both()
    leaves = [np.asarray(g) / weight.sum() for g in jax.tree.leaves(gradients)]
    by_lag = np.concatenate(leaves, axis=-1)[::-1]  # [W, B, ...]
    norms = np.linalg.norm(by_lag, axis=-1).sum(1)
    assert norms[-1] > 0 and np.all(by_lag[-5:, 2] == 0) and np.all(np.any(by_lag[:-5, 2] != 0, axis=-1))
    assert_close(jnp.exp(credit.log_norms), jnp.asarray(norms))
    assert_close(credit.reach, jnp.asarray(np.linalg.norm(by_lag.sum(1).cumsum(0), axis=-1)))


def fed(estimator, params, chunks, calls):
    """All estimates and states of some calls with chunks `[N, K, B, ...]`, in one compiled loop."""
    state = estimator.init(jax.random.key(0), params, LINEAR.initial_carry(1), jax.tree.map(lambda a: a[0], chunks))

    def call(state, chunk):
        estimate, state = estimator.estimate(params, state, chunk)
        return state, (estimate, state)

    return jax.jit(lambda: jax.lax.scan(call, state, jax.tree.map(lambda a: a[:calls], chunks))[1])()


def test_the_estimator_takes_the_shortest_certified_horizon():
    """A = 0.5, target 0.1: the first loss of a chunk of 3 needs 5 steps of credit, so 6 give too few and 9 enough."""
    rng = np.random.default_rng(0)
    chunks = Chunk(*(rng.random((14, LENGTH, 1, 1)) for _ in range(2)), np.ones((14, LENGTH, 1)))
    estimates, states = fed(adaptive_bptt(LINEAR, slopes, longest=30, every=2), linear(0.5), chunks, 14)
    assert states.horizon.tolist() == [30] * 9 + [9] * 5
    assert states.windows.tolist() == [0] * 9 + [1, 1, 2, 2, 3]  # full after nine chunks; every second from then on
    assert np.all(states.bound[:9] == NOT_CERTIFIED) and np.allclose(
        states.bound[9:], 0.5**6, rtol=1e-4
    )  # a window has an end
    wide, narrow = (fed(truncated_bptt(LINEAR, slopes, horizon=h), linear(0.5), chunks, 14)[0] for h in (30, 9))
    assert_close(estimates.grads["b"], jnp.where(jnp.arange(14) < 9, wide.grads["b"], narrow.grads["b"]))
    plain, carries = fed(bptt(LINEAR, slopes), linear(0.5), chunks, 14)
    assert_close((estimates.loss, states.carry), (plain.loss, carries.carry))


def test_the_estimator_keeps_the_longest_horizon_where_nothing_is_certified():
    chunks = Chunk(*(np.ones((5, LENGTH, 1, 1)),) * 2, np.ones((5, LENGTH, 1)))
    _, states = fed(adaptive_bptt(LINEAR, slopes, longest=6, every=1), linear(1.0), chunks, 5)
    assert states.windows.tolist() == [0, 1, 2, 3, 4]
    assert np.all(states.horizon == 6) and np.all(states.bound == NOT_CERTIFIED)


def test_a_measurement_that_cannot_be_made_is_made_as_soon_as_it_can():
    """Only every third chunk has a loss at its last step, and a measurement is due after every second."""
    chunks = Chunk(*(np.ones((11, LENGTH, 1, 1)) for _ in range(2)), np.ones((11, LENGTH, 1)))
    chunks.weight[np.arange(11) % 3 != 1, -1] = 0
    _, states = fed(adaptive_bptt(LINEAR, slopes, longest=6, every=2), linear(0.1), chunks, 11)
    assert states.windows.tolist() == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4]


def test_a_measurement_that_is_not_finite_is_left_out():
    chunks = Chunk(*(np.ones((6, LENGTH, 1, 1)) for _ in range(2)), np.ones((6, LENGTH, 1)))
    chunks.targets[3, -1] = np.nan  # in the window of the fourth call alone
    _, states = fed(adaptive_bptt(LINEAR, slopes, longest=6, every=1), linear(0.1), chunks, 6)
    assert states.windows.tolist() == [0, 1, 2, 2, 3, 4] and np.all(states.horizon == 6)
    assert (states.bound == NOT_CERTIFIED).tolist() == [True, False, False, True, False, False]
    assert np.all(states.bound[np.array([1, 2, 4, 5])] < 0.1)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(states))


def test_targets_may_be_a_tree():
    rng = np.random.default_rng(0)
    chunks = Chunk(*(rng.random((5, LENGTH, 1, 1)) for _ in range(2)), np.ones((5, LENGTH, 1)))
    rule = partial(adaptive_bptt, longest=6, every=1)
    plain = fed(rule(LINEAR, squared_error), linear(0.5), chunks, 5)
    halves = chunks._replace(targets={"one": 0.25 * chunks.targets, "other": 0.75 * chunks.targets})
    whole = lambda outputs, targets: squared_error(outputs, targets["one"] + targets["other"])  # noqa: E731
    assert_close(fed(rule(LINEAR, whole), linear(0.5), halves, 5), plain)


@pytest.mark.parametrize(("longest", "nearest"), [(3, "6 and 9"), (10, "9 and 12")])
def test_a_longest_horizon_that_does_not_fit_the_chunk_is_refused(longest, nearest):
    chunk = Chunk(*(np.zeros((LENGTH, 1, 1)),) * 2, np.zeros((LENGTH, 1)))
    with pytest.raises(InputError, match=f"the nearest that work are {nearest}"):
        adaptive_bptt(LINEAR, slopes, longest=longest).init(jax.random.key(0), {}, LINEAR.initial_carry(1), chunk)


def test_a_chunk_of_another_length_is_refused():
    chunk = Chunk(*(np.zeros((LENGTH, 1, 1)),) * 2, np.zeros((LENGTH, 1)))
    estimator = adaptive_bptt(LINEAR, slopes, longest=2 * LENGTH)
    state = estimator.init(jax.random.key(0), {}, LINEAR.initial_carry(1), chunk)
    with pytest.raises(InputError, match="the chunk has 2 time steps"):
        estimator.estimate({}, state, jax.tree.map(lambda a: a[:2], chunk))


def test_a_window_of_two_steps_is_never_certified():
    """But one of three may be: the shortest that `adaptive_bptt` takes."""
    certified = [bool(np.isfinite(certify(linear_credit(0.01, steps)).bounds).any()) for steps in (2, 3)]
    assert certified == [False, True]


def test_rounding_is_no_decay():
    """Credit halves until it is 60 nats below the largest, where it stays."""
    lags = np.arange(1, 201)
    found = CERTIFY(Credit(jnp.asarray(np.maximum(-lags * np.log(2.0), -60.0)), jnp.asarray(1 - 0.5**lags)))
    assert float(found.decay) == pytest.approx(0.5, rel=1e-12)


def test_the_certificate_is_that_of_its_equations():
    """Beyond tau, where nothing is fitted, the credit of this window is anything."""
    rng, lags, tau = np.random.default_rng(0), np.arange(1, 21), 18
    logs = np.where(lags > tau, 0.0, -0.5 * lags + 0.1 * rng.normal(size=20))
    phi, beta = np.exp(logs), np.exp(np.polyfit(lags[:tau], logs[:tau], 1)[0])
    reach, tail = 5 + np.cumsum(rng.random(20)), phi[tau - 1] / (1 - beta)
    lost = np.array([sum(phi[k - 1 : tau]) + tail if k < tau else tail * beta ** (k - tau) for k in lags])
    bounds = lost / max(before - e for before, e in zip([0, *reach], lost, strict=False))
    found = CERTIFY(Credit(jnp.asarray(logs), jnp.asarray(reach)))
    assert_close(found, Certificate(jnp.asarray(beta), jnp.asarray(bounds)))


def test_old_windows_fade():
    """With two windows, the mean of the measured credits is of the last two."""
    chunks = Chunk(*(np.ones((4, LENGTH, 1, 1)) for _ in range(2)), np.ones((4, LENGTH, 1)))
    chunks.targets[3] = 4.0
    _, states = fed(adaptive_bptt(LINEAR, slopes, longest=6, every=1, windows=2), linear(0.5), chunks, 4)
    np.testing.assert_allclose(states.credit.reach[:, 0], [0, 0.5, 0.5, 0.5 * (1 + 4) / 2], rtol=1e-12)
