"""The losses against plain NumPy, in value and slope, and at the ends of what floats can hold."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import reference
from agreement import assert_close
from jaxrnn.errors import InputError
from jaxrnn.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from jaxrnn.types import Penalized

RNG = np.random.default_rng(0)
OUTPUTS, WEIGHT = RNG.normal(size=(5, 2, 7)), RNG.random((5, 2))
IDS = RNG.integers(0, 7, (5, 2))


@pytest.mark.parametrize("loss", [softmax_cross_entropy, sigmoid_cross_entropy, squared_error])
def test_a_penalty_is_not_lost(loss):
    with pytest.raises(InputError, match=rf"with a penalty each.*with_penalties\({loss.__name__}\)"):
        loss(Penalized(OUTPUTS, WEIGHT), IDS)


@pytest.mark.parametrize(
    ("loss", "by_hand", "targets"),
    [
        (softmax_cross_entropy, reference.softmax_cross_entropy, IDS),
        (squared_error, reference.squared_error, RNG.normal(size=(5, 2, 7))),
    ],
    ids=["softmax", "squared"],
)
def test_value_and_slope(loss, by_hand, targets):
    found = jax.value_and_grad(lambda outputs: jnp.sum(WEIGHT * loss(outputs, targets)))(OUTPUTS)
    assert_close(found, jax.tree.map(np.asarray, by_hand(OUTPUTS, targets, WEIGHT)))
    assert loss(OUTPUTS, targets).shape == (5, 2)


def test_targets_that_do_not_exist_are_nan_from_whichever_end():
    losses = softmax_cross_entropy(np.zeros((5, 4)), np.array([-1, -4, -5, 4, 3]))
    assert_close(losses, np.array([np.nan] * 4 + [np.log(4)]))


@pytest.mark.parametrize("dtype", [bool, int, float])
def test_one_sigmoid_unit(dtype):
    logits, targets = OUTPUTS[..., 0], IDS > 3
    p = reference.sigmoid(logits)
    expected = -np.where(targets, np.log(p), np.log(1 - p))
    for shaped in (logits, logits[..., None]):
        value, slope = jax.value_and_grad(lambda a: jnp.sum(sigmoid_cross_entropy(a, targets.astype(dtype))))(shaped)
        assert_close((value, slope), (np.asarray(expected.sum()), (p - targets).reshape(shaped.shape)))


def test_squared_error_of_one_output():
    targets = RNG.normal(size=(5, 2))
    assert_close(squared_error(OUTPUTS[..., :1], targets), (OUTPUTS[..., 0] - targets) ** 2)


def test_large_logits_do_not_overflow():
    """A certain answer costs nothing, a certainly wrong one as much as it was wrong; slopes stay between -1 and 1."""
    logits = jnp.array([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4]])
    value, slope = jax.value_and_grad(lambda a: jnp.sum(softmax_cross_entropy(a, jnp.array([0, 0]))))(logits)
    assert_close((value, slope), (np.asarray(2e4), np.array([[0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]])))
    each = sigmoid_cross_entropy(jnp.array([1e4, 1e4, -1e4]), jnp.array([1, 0, 0]))
    assert_close(each, np.array([0.0, 1e4, 0.0]))


def test_every_derivative_of_the_softmax_is_that_of_optax():
    """Forwards, and a second time."""
    theirs = optax.softmax_cross_entropy_with_integer_labels
    direction = RNG.normal(size=OUTPUTS.shape)

    def derivatives(loss):
        def slope(outputs):
            return jax.grad(lambda outputs: jnp.sum(WEIGHT * loss(outputs, IDS)))(outputs)

        along = jax.jvp(lambda outputs: loss(outputs, IDS), (OUTPUTS,), (direction,))
        return along, jax.jvp(slope, (OUTPUTS,), (direction,)), jax.vmap(loss)(OUTPUTS, IDS)

    assert_close(derivatives(softmax_cross_entropy), derivatives(theirs))


def test_the_slope_of_the_softmax_scatters_nothing():
    """A scatter is one more pass over an array as large as the logits."""

    def scatters(loss):
        return "scatter" in str(jax.make_jaxpr(jax.grad(lambda outputs: jnp.sum(loss(outputs, IDS))))(OUTPUTS))

    assert scatters(optax.softmax_cross_entropy_with_integer_labels)
    assert not scatters(softmax_cross_entropy)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_softmax_of_many_narrow_logits_is_added_up_in_wider_floats(default_settings, dtype):
    """The sum of 70,000 equal exponentials is infinite in float16. To the rounding of bfloat16, 2^-8."""
    logits = jnp.zeros((1, 70_000), dtype)
    loss, slope = jax.value_and_grad(lambda a: softmax_cross_entropy(a, np.array([0])).sum())(logits)
    assert loss.dtype == slope.dtype == dtype
    assert abs(float(loss) - np.log(70_000)) < 2**-8 * float(loss)
    assert float(slope[0, 0]) == -1 and abs(np.asarray(slope, float)[0, 1:].sum() - 1) < 2**-8
