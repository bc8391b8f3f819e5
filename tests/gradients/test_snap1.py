"""SnAp-1: exact where units remember by themselves, its definition by hand where they do not, and what it refuses."""

import jax
import numpy as np
import pytest

from agreement import assert_close, random_like, random_params
from jaxrnn.cells import elman, elstm, gru, layer_norm_gru, lstm, lstm_step
from jaxrnn.compose import dropout, language_model, stack, weight_drop, with_readout
from jaxrnn.errors import InputError
from jaxrnn.gradients import Chunk, accumulate, bptt, rtrl, snap1, truncated_bptt
from jaxrnn.losses import softmax_cross_entropy, squared_error
from jaxrnn.stepwise import from_step
from jaxrnn.types import Marked
from reference import elman as reference_elman
from reference import lstm as reference_lstm

STEPS, ROWS, INPUT, HIDDEN = 7, 2, 2, 3
DENSE = {
    "elman": elman(INPUT, HIDDEN),
    "lstm": lstm(INPUT, HIDDEN),
    "gru_reset_after": gru(INPUT, HIDDEN),
    "gru_reset_before": gru(INPUT, HIDDEN, reset_after=False),
}


def prepared(cell, marks=False):
    weight = np.abs(random_like(0, np.zeros((STEPS, ROWS)))) * (np.arange(STEPS) != 2)[:, None]
    inputs, targets = random_like(1, (np.zeros((STEPS, ROWS, INPUT)), np.zeros((STEPS, ROWS, cell.output_size))))
    if marks:
        reset, keep = (np.random.default_rng(seed).random((STEPS, ROWS)) for seed in (4, 5))
        inputs = Marked(inputs, reset < 0.3, keep < 0.6)
    return random_params(2, cell), random_like(3, cell.initial_carry(ROWS)), Chunk(inputs, targets, weight)


def estimate(estimator, params, carry, chunk):
    state = estimator.init(jax.random.key(0), params, carry, chunk)
    return jax.jit(estimator.estimate)(params, state, chunk)


def of_single_units(params):
    """The same with recurrent weights on the diagonal of each gate only."""
    w = params["w_hh"]
    return params | {"w_hh": w * np.tile(np.eye(HIDDEN), w.shape[1] // HIDDEN)}


@pytest.mark.parametrize("marks", [False, True], ids=["plain", "marked"])
def test_on_an_element_wise_cell_it_is_bptt_of_the_whole_past(marks):
    cell = with_readout(elstm(INPUT, HIDDEN), 2)
    params, carry, chunk = prepared(cell, marks)
    exact, last = estimate(bptt(cell, squared_error), params, carry, chunk)
    online, state = estimate(accumulate(snap1(cell, squared_error), 3), params, carry, chunk)
    assert_close(online, exact)
    assert_close(state.carry, last.carry)


@pytest.mark.parametrize("name", DENSE)
def test_with_diagonal_recurrent_weights_it_is_bptt_and_with_dense_ones_not(name):
    """One compiled estimator for both. Loss, carry and the form of the state are right in either case, with marks."""
    cell = DENSE[name]
    params, carry, chunk = prepared(cell, marks=True)
    online, exactly = (jax.jit(make(cell, squared_error).estimate) for make in (snap1, bptt))
    start = snap1(cell, squared_error).init(None, params, carry, chunk)
    for diagonal in (True, False):
        weights = of_single_units(params) if diagonal else params
        actual, state = online(weights, start, chunk)
        exact, last = exactly(weights, bptt(cell, squared_error).init(None, weights, carry, chunk), chunk)
        assert_close((actual.loss, actual.weight, state.carry), (exact.loss, exact.weight, last.carry))
        assert jax.tree.map(jax.typeof, state) == jax.tree.map(jax.typeof, start)
        if diagonal:
            assert_close(actual.grads, exact.grads)
        else:
            assert np.abs(actual.grads["w_hh"] - exact.grads["w_hh"]).max() > 1e-3


def single_units_of_elman(params, values):
    """By hand: `da_h/dgate` for each state a, `da'/db` for each pair of states, of each unit by itself."""
    by_gate = (1 - values["h"] ** 2)[None, None]  # [states, gates, B, H]
    own = np.diagonal(params["w_hh"])
    return by_gate, by_gate[:, 0][:, None] * own


def single_units_of_lstm(params, values):
    """The same for the states h and c, and the gates i, f, g, o."""
    i, f, g, o, c, c_before = (values[name] for name in ("i", "f", "g", "o", "c", "c_before"))
    slope = o * (1 - np.tanh(c) ** 2)
    c_by_gate = np.stack([g * i * (1 - i), c_before * f * (1 - f), i * (1 - g**2), np.zeros_like(o)])
    h_by_gate = slope * c_by_gate + np.stack([*np.zeros((3, *o.shape)), np.tanh(c) * o * (1 - o)])
    own = np.stack([np.diagonal(w) for w in np.split(params["w_hh"], 4, axis=1)])[:, None]
    by_h = [(by_gate * own).sum(0) for by_gate in (h_by_gate, c_by_gate)]
    return np.stack([h_by_gate, c_by_gate]), np.array([[by_h[0], slope * f], [by_h[1], f]])


@pytest.mark.parametrize(
    ("name", "by_hand", "single_units"),
    [("elman", reference_elman(), single_units_of_elman), ("lstm", reference_lstm(), single_units_of_lstm)],
    ids=["elman", "lstm"],
)
def test_with_dense_weights_it_is_its_definition_by_hand(name, by_hand, single_units):
    """Traces in NumPy loops; the step from the traces to the loss by the whole derivative of one step."""
    params, carry, chunk = prepared(DENSE[name])
    actual, state = estimate(snap1(DENSE[name], squared_error), params, carry, chunk)

    now = carry if isinstance(carry, tuple) else (carry,)
    traces = {key: np.zeros((ROWS, len(now), *p.shape)) for key, p in params.items()}
    grads = {key: np.zeros_like(p) for key, p in params.items()}
    for x, target, weight in zip(*chunk, strict=True):
        before, (now, values) = now, by_hand.forward(params, now, x)
        d_h = 2 * weight[:, None] * (now[0] - target)
        d_before, _, direct = by_hand.backward(params, values, (d_h, *np.zeros((len(now) - 1, ROWS, HIDDEN))))
        by_gate, by_state = single_units(params, values)
        left = {"w_ih": x, "w_hh": before[0], "b_ih": np.ones((ROWS, 1)), "b_hh": np.ones((ROWS, 1))}
        for key in params:
            s = traces[key].reshape(ROWS, len(now), -1, by_hand.gates, HIDDEN)
            through = np.einsum("abh,abkgh->kgh", np.stack(d_before, axis=1), s)
            grads[key] += direct[key] + through.reshape(grads[key].shape)
            new = np.einsum("sgbh,bk->bskgh", by_gate, left[key]) + np.einsum("stbh,btkgh->bskgh", by_state, s)
            traces[key] = new.reshape(traces[key].shape)
    assert_close(actual.grads, grads)
    assert_close(state.influence, traces)


def test_it_keeps_one_trace_a_state_and_parameter():
    params, carry, chunk = prepared(DENSE["lstm"])
    state = snap1(DENSE["lstm"], squared_error).init(None, params, carry, chunk)
    assert {key: s.shape for key, s in state.influence.items()} == {
        key: (ROWS, 2, *p.shape) for key, p in params.items()
    }


def test_an_embedding_below_gets_the_credit_of_the_same_step():
    """All else in a language model on an element-wise core is exact."""
    model = language_model(elstm(INPUT, HIDDEN), 5)
    rng = np.random.default_rng(6)
    ids, targets = rng.integers(0, 5, (2, STEPS, ROWS))
    chunk = Chunk(ids, targets, rng.random((STEPS, ROWS)))
    params, carry = random_params(7, model), random_like(8, model.initial_carry(ROWS))
    one_step = accumulate(truncated_bptt(model, softmax_cross_entropy, horizon=1), 1)
    online, exact, short = (
        estimate(estimator, params, carry, chunk)[0].grads
        for estimator in (snap1(model, softmax_cross_entropy), bptt(model, softmax_cross_entropy), one_step)
    )
    assert_close(online, exact | {"embedding": short["embedding"]})
    assert np.abs(online["embedding"]["w"] - exact["embedding"]["w"]).max() > 1e-3


def test_it_can_start_inside_a_compiled_function():
    cell = DENSE["gru_reset_after"]
    params, carry, chunk = prepared(cell)
    init = snap1(cell, squared_error).init
    assert_close(jax.jit(init)(None, params, carry, chunk), init(None, params, carry, chunk))


REFUSED = {
    "no state": (lambda: dropout(0.5), "sizes \\[\\]"),
    "two sizes": (lambda: stack(elman(INPUT, 3), elman(3, 4)), "sizes \\[\\(3,\\), \\(4,\\)\\]"),
    "two layers of one size": (lambda: stack(elman(INPUT, 3), elman(3, 3)), "more layers"),
    "a norm": (lambda: layer_norm_gru(INPUT, 3), "a norm over units"),
    "dropped weights": (lambda: weight_drop(elman(INPUT, 3), 0.5), "dropped weights"),
    "a step that shows no dot": (
        lambda: from_step(lstm(INPUT, 3).init, lstm(INPUT, 3).initial_carry, lstm_step, output_size=3),
        "a hand-written step",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses_what_it_cannot_follow_and_rtrl_does_not(case):
    make, message = REFUSED[case]
    cell = make()
    params, carry = random_params(2, cell), cell.initial_carry(ROWS, jax.random.key(0))
    inputs = np.ones((STEPS, ROWS, INPUT))
    chunk = Chunk(inputs, inputs, np.ones((STEPS, ROWS)))
    with pytest.raises(InputError, match=f"snap1: .*{message}.*rtrl"):
        snap1(cell, squared_error).init(None, params, carry, chunk)
    rtrl(cell, squared_error).init(None, params, carry, chunk)


@pytest.mark.parametrize("name", DENSE)
def test_a_reset_stops_even_an_infinite_influence(name):
    params, carry, chunk = prepared(DENSE[name])
    reset = np.zeros((STEPS, ROWS), bool)
    reset[0, 0] = True
    chunk = chunk._replace(inputs=Marked(chunk.inputs, reset))
    estimator = snap1(DENSE[name], squared_error)
    clean = estimator.init(None, params, carry, chunk)
    exploded = jax.tree.map(lambda s: s.at[0].set(np.inf), clean.influence)
    finite, broken = (
        jax.jit(estimator.estimate)(params, clean._replace(influence=s), chunk) for s in (clean.influence, exploded)
    )
    assert_close(broken, finite)
