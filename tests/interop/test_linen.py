"""A cell of Flax is a cell: it learns by every rule as its scan does, alone and on top of ours."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import assert_close, random_params
from jaxrnn.cells import gru
from jaxrnn.compose import stack
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, bptt, checkpointed_bptt, snap1, truncated_bptt
from jaxrnn.interop.linen import from_linen
from jaxrnn.losses import squared_error
from jaxrnn.types import Marked

STEPS, ROWS, INPUT, HIDDEN = 6, 2, 3, 4
MODULES = {
    "lstm": nn.OptimizedLSTMCell(HIDDEN, param_dtype=jnp.float64),
    "gru": nn.GRUCell(HIDDEN, param_dtype=jnp.float64),
    "mgu": nn.MGUCell(HIDDEN, param_dtype=jnp.float64),
}
RNG = np.random.default_rng(0)
XS, YS = RNG.normal(size=(STEPS, ROWS, INPUT)), RNG.normal(size=(STEPS, ROWS, HIDDEN))


def estimate(estimator, cell, params):
    chunk = Chunk(XS, YS, np.ones((STEPS, ROWS)))
    state = estimator.init(jax.random.key(0), params, cell.initial_carry(ROWS), chunk)
    return jax.jit(estimator.estimate)(params, state, chunk)[0]


@pytest.mark.parametrize("name", MODULES)
def test_its_gradient_is_that_of_the_scan_in_flax(name):
    module, cell = MODULES[name], from_linen(MODULES[name], INPUT)
    params = random_params(1, cell)

    def loss(params):
        def step(carry, x):
            return module.apply({"params": params}, carry, x)

        _, ys = jax.lax.scan(step, module.initialize_carry(jax.random.key(0), (ROWS, INPUT)), XS)
        return jnp.sum(squared_error(ys, YS))

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    for estimator in (bptt(cell, squared_error), checkpointed_bptt(cell, squared_error, segment_length=4)):
        found = estimate(estimator, cell, params)
        assert_close((found.loss, found.grads), (value, grads))
    assert jax.tree.structure(cell.init(jax.random.key(2))) == jax.tree.structure(params)


def test_on_top_of_ours_it_is_a_layer():
    cell = stack(gru(INPUT, 5, dtype=float), from_linen(MODULES["lstm"], 5))
    assert (cell.input_size, cell.output_size) == (INPUT, HIDDEN)
    params = random_params(1, cell)
    halves = estimate(truncated_bptt(cell, squared_error, horizon=3), cell, params)
    whole = estimate(bptt(cell, squared_error), cell, params)
    assert_close(halves.loss, whole.loss)
    assert not np.allclose(halves.grads["0"]["w_hh"], whole.grads["0"]["w_hh"])


def test_it_has_no_equations_to_see():
    cell = from_linen(MODULES["gru"], INPUT)
    with pytest.raises(InputError, match="snap1"):
        estimate(snap1(cell, squared_error), cell, random_params(1, cell))


@pytest.mark.parametrize("module", [nn.Dense(3), nn.RNN(nn.GRUCell(3))], ids=["dense", "rnn"])
def test_what_is_no_recurrent_cell_is_refused(module):
    with pytest.raises(InputError, match="from_linen: module .* must be a recurrent cell of flax.linen"):
        from_linen(module, 2)


class Counting(nn.RNNCellBase):
    """A cell without parameters."""

    num_feature_axes = 1

    @nn.compact
    def __call__(self, carry, x):
        return carry + 1, carry

    @nn.nowrap
    def initialize_carry(self, key, shape):
        return jnp.zeros(shape)


class Forgetful(Counting):
    """A cell that draws in every step."""

    @nn.compact
    def __call__(self, carry, x):
        return nn.Dropout(0.5, deterministic=False)(nn.Dense(x.shape[-1], param_dtype=x.dtype)(x)), carry


@pytest.mark.parametrize(
    ("module", "size", "named"),
    [
        (nn.ConvLSTMCell(4, (3,)), 2, "the feature axes of ConvLSTMCell"),
        (nn.GRUCell(3), 0, "from_linen: input_size is 0"),
        (nn.GRUCell(3), "3", "from_linen: input_size is '3'"),
        (Counting(), 2, "from_linen: Counting: expected a cell with parameters"),
        (Forgetful(), 2, "from_linen: Forgetful: expected a cell with parameters, no other variables and no random"),
    ],
    ids=["conv", "no size", "no number", "no parameters", "random"],
)
def test_a_cell_of_another_kind_is_refused_by_its_name(module, size, named):
    with pytest.raises(InputError, match=named):
        from_linen(module, size)


def test_it_heeds_marks():
    cell = from_linen(MODULES["gru"], INPUT)
    params, carry = random_params(1, cell), cell.initial_carry(ROWS)
    reset = np.zeros((STEPS, ROWS), bool)
    reset[3] = True
    _, ys = cell.unroll(params, carry, Marked(XS, reset=reset))
    parts = [cell.unroll(params, carry, part)[1] for part in (XS[:3], XS[3:])]
    assert_close(ys, jnp.concatenate(parts))
