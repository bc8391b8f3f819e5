"""The average of the parameters: a plain mean over the updates since it began, which training does not notice."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agreement import assert_close
from jaxrnn.averaging import Averaged, averaged, begin, evaluated, follow, remember, worsened
from jaxrnn.compose import dense
from jaxrnn.gradients import Chunk, bptt
from jaxrnn.losses import squared_error
from jaxrnn.optimizers import optimizer
from jaxrnn.training import init, update

PARAMS = {"w": np.array([[1.0, -2.0], [0.5, 3.0]]), "b": np.array([0.25, -1.0])}


def trained(made, updates, begin_before=None, poison=None):
    """The states after each update of a linear layer, and of the beginning."""
    rng = np.random.default_rng(0)
    chunk = Chunk(rng.normal(size=(1, 3, 1, 2)), rng.normal(size=(1, 3, 1, 2)), np.ones((1, 3, 1)))
    estimator = bptt(dense(2, 2), squared_error)
    states = [init(estimator, made, jax.random.key(0), PARAMS, (), jax.tree.map(lambda a: a[0], chunk))]
    step = jax.jit(lambda state, chunk: update(estimator, made, state, chunk)[0])
    for number in range(updates):
        state = states[-1]
        if number == begin_before:
            state = state._replace(optimizer=begin(begin(state.optimizer)))
        bad = np.nan if number == poison else 1.0
        states.append(step(state, chunk._replace(targets=bad * chunk.targets)))
    return states


@pytest.mark.parametrize("name", ["asgd", "adam"])
def test_it_is_the_mean_over_the_updates_since_it_began(name):
    """Those before the first of them among them: `mean(w_T, ..., w_t)`, with T the updates made when it began."""
    states = trained(optimizer(name, 0.1, average=name != "asgd", weight_decay=0.1), 7, begin_before=3)
    for number, state in enumerate(states):
        since = states[3 : number + 1] if number > 3 else [state]
        mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *(each.params for each in since))
        assert_close(evaluated(state.optimizer, state.params), mean)
        assert int(state.optimizer.number) == len(since)
    assert np.abs(states[-1].params["w"] - states[-1].optimizer.average["w"]).max() > 1e-3


def test_training_does_not_notice_it():
    """Not in a bit where the program is the same; one that keeps no average may round otherwise."""
    begun, never, plain = (
        [state.params for state in trained(optimizer(name, 0.1), 5, begin_before=at)]
        for name, at in (("asgd", 2), ("asgd", None), ("sgd", None))
    )
    assert_close(begun, never, tolerance=0)
    assert_close(begun, plain)


def test_an_update_that_is_skipped_is_not_averaged():
    states = trained(optimizer("asgd", 0.1), 4, begin_before=1, poison=2)
    assert_close(states[3].optimizer, states[2].optimizer, tolerance=0)
    assert int(states[4].optimizer.number) == 3 and int(states[4].skipped) == 1


def test_a_mean_of_small_numbers_is_made_in_large_ones():
    """In bfloat16 a mean over hundreds would no longer move; what is evaluated has the dtype of the parameters."""
    params = {"w": jnp.zeros(1, jnp.bfloat16)}
    state = begin(averaged(optax.sgd(1.0)).init(params))
    seen = {"w": (jnp.arange(1, 400) % 2).astype(jnp.bfloat16)[:, None]}
    state, _ = jax.lax.scan(lambda state, params: (follow(state, params), None), state, seen)
    assert state.average["w"].dtype == jnp.float32 and evaluated(state, params)["w"].dtype == jnp.bfloat16
    assert float(state.average["w"][0]) == pytest.approx(0.5, abs=1e-5)


def test_where_nothing_is_averaged_the_parameters_are_evaluated_as_they_are():
    state = optimizer("adam", 0.1).transformation.init(PARAMS)
    assert not isinstance(state, Averaged) and evaluated(state, PARAMS) is PARAMS and follow(state, PARAMS) is state


@pytest.mark.parametrize("n", [0, 1, 3, 5])
def test_the_trigger_is_that_of_the_algorithm(n):
    """With the whole log, as Algorithm 1 and its authors' program keep it."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.integers(0, 6, size=15).astype(float)  # with ties
        scores[rng.random(15) < 0.1] = math.nan
        kept = ()
        for t, score in enumerate(scores.tolist()):
            log = np.where(np.isnan(scores[:t]), math.inf, scores[:t])
            expected = t > n and (math.inf if math.isnan(score) else score) > min(log[: t - n])
            assert worsened(kept, score, n) == expected
            kept = remember(kept, score, n)
            assert len(kept) <= n + 1
