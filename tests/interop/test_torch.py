"""Parameters go to PyTorch's names and come back; that they mean the same there is tested in `tests/peers`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import random_params
from jaxrnn.cells import gru, lstm, mgu, peephole_lstm, projection_lstm
from jaxrnn.compose import bidirectional, dropout, stack
from jaxrnn.errors import InputError
from jaxrnn.interop.torch import from_torch, to_torch

INPUT, H = 3, 4
BOTH = bidirectional(gru(INPUT, H), gru(INPUT, H))


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert jax.tree.all(jax.tree.map(np.array_equal, one, other))


@pytest.mark.parametrize(
    "params",
    [
        random_params(0, stack(lstm(INPUT, H), lstm(H, H))),
        random_params(1, stack(projection_lstm(INPUT, H, 2), projection_lstm(2, H, 2))),
        {"0": random_params(2, gru(INPUT, H))},
        {str(number): random_params(number, lstm(H, H)) for number in range(11)},
        {"0": jax.tree.map(np.asarray, BOTH.init(jax.random.key(3)))},
    ],
)
def test_parameters_come_back_as_they_were(params):
    same(from_torch(to_torch(params)), params)


def test_names_shapes_and_layout_are_those_of_pytorch():
    params = random_params(0, stack(lstm(INPUT, H), dropout(0.5), lstm(H, H)))
    state = to_torch(params)
    assert {name: p.shape for name, p in state.items()} == {
        **{"weight_ih_l0": (16, INPUT), "weight_hh_l0": (16, H), "bias_ih_l0": (16,), "bias_hh_l0": (16,)},
        **{"weight_ih_l1": (16, H), "weight_hh_l1": (16, H), "bias_ih_l1": (16,), "bias_hh_l1": (16,)},
    }
    np.testing.assert_array_equal(state["weight_ih_l1"], params["2"]["w_ih"].T)
    assert all(p.flags["C_CONTIGUOUS"] for p in state.values())


def test_bfloat16_comes_as_float32():
    params = jax.tree.map(jnp.bfloat16, random_params(0, lstm(INPUT, H)))
    state = to_torch(params)
    assert {p.dtype.name for p in state.values()} == {"float32"}
    np.testing.assert_array_equal(state["weight_hh_l0"].T, params["w_hh"].astype(np.float32))


def test_what_one_side_has_not_is_zero_on_the_other():
    """PyTorch has two biases or none; a cell has two or one."""
    params = {"0": random_params(0, lstm(INPUT, H, b_hh=None))}
    state = to_torch(params)
    assert np.all(state["bias_hh_l0"] == 0) and state["bias_hh_l0"].shape == (16,)
    weights = {name: p for name, p in state.items() if name.startswith("weight")}
    expected = params["0"] | {"b_ih": np.zeros(16)}
    same(from_torch(weights), {"0": expected})


def test_other_parameters_are_refused_by_name():
    with pytest.raises(InputError, match="decoder.weight: no parameter of a recurrent layer .* expected weight_ih_l0"):
        from_torch({"decoder.weight": np.zeros((2, 2))})
    with pytest.raises(InputError, match="layer 0: w_c: no parameter of a recurrent layer of PyTorch"):
        to_torch({"0": random_params(0, peephole_lstm(INPUT, H))})
    with pytest.raises(InputError, match="layer 0: w: no parameter"):
        to_torch({"0": {"w": np.zeros(3)}})
    with pytest.raises(InputError, match="to_torch: expected layers by number, .*found 'core', 'readout'"):
        to_torch({"core": random_params(0, lstm(INPUT, H)), "readout": {}})


def test_parameters_are_copies():
    theirs = {"weight_ih_l0": np.ones((16, 3)), "weight_hh_l0": np.ones((16, 4))}
    ours = from_torch(theirs)
    theirs["weight_ih_l0"][:] = 0
    assert np.all(ours["0"]["w_ih"] == 1)


@pytest.mark.parametrize("missing", ["weight_ih_l0", "weight_hh_l0"])
def test_what_is_missing_is_named(missing):
    state = to_torch({"0": random_params(0, lstm(INPUT, H))})
    del state[missing]
    with pytest.raises(InputError, match=f"{missing}: missing"):
        from_torch(state)
    backward = {f"{name}_reverse": value for name, value in state.items()}
    with pytest.raises(InputError, match="weight_ih_l0: missing"):
        from_torch(backward)


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({}, "from_torch: state is empty"),
        ({"weight_ih_l0": 3.0, "weight_hh_l0": np.zeros((4, 4))}, "from_torch: layer 0: has "),
        ({"weight_ih_l0": np.zeros(4), "weight_hh_l0": np.zeros((4, 4))}, "from_torch: layer 0: has "),
        ({"weight_ih_l0": np.zeros((16, 3)), "weight_hh_l0": np.zeros((12, 4))}, r"expected weights \[I, G\*H\] and"),
    ],
    ids=["empty", "scalar", "flat", "gates"],
)
def test_what_does_not_fit_together_is_named(state, named):
    with pytest.raises(InputError, match=named):
        from_torch(state)


def test_a_layer_that_is_missing_between_others_is_named():
    params = {str(number): random_params(number, lstm(INPUT if number == 0 else H, H)) for number in range(3)}
    state = {name: value for name, value in to_torch(params).items() if "_l1" not in name}
    with pytest.raises(InputError, match="weight_ih_l1: missing"):
        from_torch(state)


def test_parameters_of_half_a_layer_or_of_another_number_of_gates_are_refused():
    with pytest.raises(InputError, match="layer 0: b_ih: missing"):
        to_torch({"0": {name: np.zeros((3, 4)) for name in ("w_ih", "w_hh")}})
    with pytest.raises(InputError, match="layer 0: has 2 gates; expected 1, 3 or 4"):
        to_torch({"0": random_params(0, mgu(INPUT, H))})


LIKE = {
    "one": lstm(INPUT, H),
    "one_bias": gru(INPUT, H, b_hh=None),
    "stack": stack(lstm(INPUT, H), lstm(H, H)),
    "dropout_between": stack(dropout(0.5), lstm(INPUT, H), dropout(0.5), lstm(H, H)),
    "both_ways": BOTH,
}


@pytest.mark.parametrize("name", LIKE)
def test_parameters_take_the_form_of_the_cell_that_is_to_have_them(name):
    params = jax.tree.map(np.asarray, LIKE[name].init(jax.random.key(0)))
    state = to_torch(params)
    if name == "one_bias":
        assert not state.pop("bias_hh_l0").any()
    same(from_torch(state, like=params), params)


def test_biases_that_pytorch_has_not_are_zero_in_the_cell_that_has_them():
    params = lstm(INPUT, H).init(jax.random.key(0))
    state = {name: value for name, value in to_torch(params).items() if "weight" in name}
    found = from_torch(state, like=params)
    assert found.keys() == params.keys() and not found["b_ih"].any() and not found["b_hh"].any()


@pytest.mark.parametrize("like", [lstm(INPUT, H + 1), gru(INPUT, H), stack(lstm(INPUT, H), lstm(H, H)), BOTH])
def test_a_cell_of_another_form_is_refused(like):
    state = to_torch(lstm(INPUT, H).init(jax.random.key(0)))
    with pytest.raises(InputError, match="from_torch: the state has .*; like has"):
        from_torch(state, like=like.init(jax.random.key(0)))


def test_what_few_networks_have_is_called_as_pytorch_calls_it():
    assert to_torch({"0": random_params(0, projection_lstm(INPUT, H, 2))})["weight_hr_l0"].shape == (2, H)
    state = to_torch({"0": jax.tree.map(np.asarray, BOTH.init(jax.random.key(3)))})
    assert {"weight_ih_l0", "weight_ih_l0_reverse", "bias_hh_l0_reverse"} <= state.keys()
