"""The fused unroll against JAX's own differentiation of the same scan, for recurrences of every kind."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from agreement import all_gradients, assert_close, random_like, random_params, scanned
from jaxrnn import fused
from jaxrnn.cell import Recurrence, product, unnoted
from jaxrnn.cells import elman, gru, lstm
from jaxrnn.compose import language_model, stack
from jaxrnn.errors import InputError
from jaxrnn.fused import derive, fused_scan, trace
from jaxrnn.initializers import zeros
from table import CELLS as TABLE
from table import DISTINCT, make_chunk

STEPS, ROWS, INPUT, HIDDEN = 6, 2, 3, 5
CELLS = {
    "elman": elman(INPUT, HIDDEN),
    "lstm": lstm(INPUT, HIDDEN),
    "gru_reset_after": gru(INPUT, HIDDEN),
    "gru_reset_before": gru(INPUT, HIDDEN, reset_after=False),
}
RNG = np.random.default_rng(0)
PARAMS = {
    "w": 0.5 * RNG.normal(size=(HIDDEN, HIDDEN)),
    "u": 0.5 * RNG.normal(size=(HIDDEN, HIDDEN)),
    "gain": RNG.normal(size=(1, HIDDEN)),
    "unused": RNG.normal(size=3),
    "order": np.arange(HIDDEN)[::-1].copy(),
    "mask": RNG.random((HIDDEN, HIDDEN)) < 0.5,
}
STATE = RNG.normal(size=(ROWS, HIDDEN))
ZS = RNG.normal(size=(STEPS, ROWS, HIDDEN))


def test_a_recurrence_that_makes_nothing_of_its_input_is_refused():
    """How many steps there are, the arrays say that `project` gives."""
    clock = derive(
        lambda key: {},
        lambda batch_shape, key=None: jnp.zeros(batch_shape),
        Recurrence(lambda params, x: (), lambda params, h, z, dot, note: (h + 1, h)),
    )
    assert clock.step({}, clock.initial_carry((2,)), np.ones((2, 3)))[0].tolist() == [1, 1]
    with pytest.raises(InputError, match="unroll: the number of arrays that project makes of the input is 0; it must"):
        clock.unroll({}, clock.initial_carry((2,)), np.ones((5, 2, 3)))


def summed(a):
    """A number that depends on every float in a tree, and not linearly."""
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(a) if jnp.issubdtype(leaf.dtype, jnp.floating))


# Recurrences that use their parameters in every way: `name -> (recur, first carry)`.


def peephole(params, carry, z, dot, note):
    h, c = carry
    f = jax.nn.sigmoid(z + dot(h, params["w"]) + params["gain"] * c)
    c = f * c + (1 - f) * jnp.tanh(z)
    return (jnp.tanh(c), c), c


def two_slices(params, h, z, dot, note):
    parts = dot(h, params["w"][:, :2]), dot(z * h, params["w"][:, 2:])
    h = jnp.tanh(z + jnp.concatenate(parts, axis=-1))
    return h, h


def twice(params, h, z, dot, note):
    h = jnp.tanh(z + dot(jnp.tanh(dot(h, params["w"])), params["w"]))
    return h, h


def in_product_and_directly(params, h, z, dot, note):
    h = jnp.tanh(z + dot(h, params["w"]) + h * jnp.diagonal(params["w"])[None])
    return h, h


def derived_weight(params, h, z, dot, note):
    h = jnp.tanh(z + dot(h, params["w"] / jnp.linalg.norm(params["w"]) + jnp.where(params["mask"], params["u"].T, 0)))
    return h, h


def weight_from_a_product(params, h, z, dot, note):
    h = jnp.tanh(dot(h, dot(params["u"], params["w"]), z))
    return h, h


def gain_on_the_left(params, h, z, dot, note):
    h = jnp.tanh(z + dot(h * params["gain"], params["w"]))
    return h, h


def input_gated_by_state(params, h, z, dot, note):
    x = z * jax.nn.sigmoid(dot(h, params["u"]))
    h = jnp.tanh(dot(x, params["w"]) + dot(z, params["u"]))
    return h, h


def constant_weight(params, h, z, dot, note):
    h = jnp.tanh(z * params["gain"] + dot(h, 0.5 * jnp.eye(HIDDEN)))
    return h, h


def no_product(params, h, z, dot, note):
    h = jnp.tanh(z + params["gain"] * h)
    return h, {"h": h, "z": z}


def integer_parameter(params, h, z, dot, note):
    h = jnp.tanh(z + dot(h, params["w"]))[:, params["order"]]
    return h, h


def counted(params, carry, z, dot, note):
    h, count = carry
    h = jnp.tanh(z + dot(h, params["w"]) / (1 + count[:, None]).astype(h.dtype))
    return (h, count + 1), (count, h)


def drawn(params, carry, z, dot, note):
    h, key, count = carry
    keep = jax.vmap(lambda k, t: jax.random.bernoulli(jax.random.fold_in(k, t), 0.5, (HIDDEN,)))(key, count)
    h = jnp.where(keep, jnp.tanh(z + dot(h, params["w"])), h)
    return (h, key, count + 1), h


def passed_on(params, carry, z, dot, note):
    old, context = carry
    return (jnp.tanh(z + dot(old, params["w"]) + context), context), (old, old)


def added(params, h, z, dot, note):
    h = jnp.tanh(dot(h, params["w"], z))
    return h, h


def added_in_other_ways(params, h, z, dot, note):
    gate = jax.nn.sigmoid(dot(h, params["u"], params["gain"]))  # one row for all
    h = jnp.tanh(dot(gate * h, params["w"], z * gate)) + 0.1 * z
    return h, (h, dot(h, params["w"], h))


def carry_is_the_input(params, h, z, dot, note):
    return z, dot(h, params["w"])


def added_nothing(params, h, z, dot, note):
    h = jnp.tanh(z + dot(h, params["w"], None))
    return h, h


RECURRENCES = {
    "peephole": (peephole, (STATE, STATE[::-1])),
    "counted": (counted, (STATE, np.arange(ROWS))),
    "drawn": (drawn, (STATE, jax.random.split(jax.random.key(0), ROWS), np.zeros(ROWS, np.int32))),
    "passed_on": (passed_on, (STATE, 2 * STATE)),
}
RECURRENCES |= {
    recur.__name__: (recur, STATE)
    for recur in (
        two_slices,
        twice,
        in_product_and_directly,
        derived_weight,
        weight_from_a_product,
        gain_on_the_left,
        input_gated_by_state,
        constant_weight,
        no_product,
        added,
        added_in_other_ways,
        integer_parameter,
        carry_is_the_input,
        added_nothing,
    )
}


def plain_scan(recur):
    """What `fused_scan(recur)` equals."""
    return lambda params, carry, zs: jax.lax.scan(lambda c, z: recur(params, c, z, product, unnoted), carry, zs)


@pytest.mark.parametrize("name", RECURRENCES)
def test_every_use_of_a_parameter(name):
    recur, carry = RECURRENCES[name]

    @jax.jit
    def both(params, carry, zs):
        return tuple(all_gradients(scan(recur), 1, params, carry, zs) for scan in (fused_scan, plain_scan))

    assert_close(*both(PARAMS, carry, ZS))


@pytest.mark.parametrize("name", ["peephole", "two_slices", "derived_weight", "added_in_other_ways"])
def test_weights_laid_out_by_rows(name, monkeypatch):
    """As those of bfloat16 are on a CPU; here all are."""
    monkeypatch.setattr(fused, "quick_by_rows", lambda dtype: True)
    test_every_use_of_a_parameter(name)


@pytest.mark.parametrize("recur", [twice, in_product_and_directly, derived_weight], ids=lambda recur: recur.__name__)
def test_second_derivatives(recur):
    """Reverse over reverse, with respect to the parameters, the first carry and the inputs."""
    floats = {name: p for name, p in PARAMS.items() if p.dtype == float}
    rest = {name: p for name, p in PARAMS.items() if p.dtype != float}

    def gradient(scan):
        def objective(params, carry, zs):
            return summed(scan(recur)(params | rest, carry, zs))

        return all_gradients(jax.grad(objective, argnums=(0, 1, 2)), 2, floats, STATE, ZS)

    fused, plain = jax.jit(lambda: (gradient(fused_scan), gradient(plain_scan)))()
    assert_close(fused, plain)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_second_derivatives_of_the_lstm(mode):
    """A Hessian times a vector, both ways: the first derivative is by reverse mode, the second by either."""
    cell = CELLS["lstm"]
    params, carry, xs = random_params(0, cell), random_like(1, cell.initial_carry(ROWS)), ZS[..., :INPUT]
    direction = random_like(3, params)

    def times_vector(unroll):
        gradient = jax.grad(lambda params: summed(unroll(params, carry, xs)))
        if mode == "forward":
            return jax.jvp(gradient, (params,), (direction,))[1]
        return jax.vjp(gradient, params)[1](direction)

    fused, plain = jax.jit(lambda: (times_vector(cell.unroll), times_vector(scanned(cell))))()
    assert_close(fused, plain)


def test_finite_differences():
    """To check_grads' own tolerance for float64, for a difference quotient is good to about half of the digits.

    Of one cell: all are held against gradients by hand, and those against differences.
    """
    cell = CELLS["lstm"]
    params, carry = random_params(0, cell), random_like(1, cell.initial_carry(ROWS))
    check_grads(jax.jit(cell.unroll), (params, carry, ZS[..., :INPUT]), order=1, modes=["rev"])


def test_vmap_over_models():
    """An ensemble: parameters, carry and inputs each with an axis of their own."""
    cell = CELLS["gru_reset_after"]
    models = [
        (random_params(i, cell), random_like(i + 3, cell.initial_carry(ROWS)), (i + 1) * ZS[..., :INPUT])
        for i in range(3)
    ]
    run = partial(all_gradients, cell.unroll, 1)
    together = jax.jit(jax.vmap(run))(*jax.tree.map(lambda *leaves: np.stack(leaves), *models))
    alone = jax.jit(run)
    for i, model in enumerate(models):
        assert_close(jax.tree.map(lambda a, i=i: a[i], together), alone(*model))


@pytest.mark.parametrize("start", [0, 0.5])
def test_a_carry_of_weak_type_is_differentiated(start):
    """`jax.lax.scan` gives such a carry the dtype of what a step makes of it."""
    cell = elman(3, 4, dtype=jnp.float32)
    params, xs = cell.init(jax.random.key(0)), np.ones((5, 2, 3), np.float32)
    carry = jnp.full((2, 4), start)
    assert carry.weak_type
    one, other = (
        jax.value_and_grad(lambda params, run=run: run(params, carry, xs)[1].sum())(params)
        for run in (cell.unroll, scanned(cell))
    )
    assert_close(one, other, tolerance=1e-6)


@pytest.mark.parametrize("name", DISTINCT)
def test_batch_axes(name):
    """No batch axis, and two, give what one gives; a key of all rows has none in any case."""
    row = TABLE[name]
    cell, key = row.build(INPUT, 4), jax.random.key(3) if row.noisy else None
    params, xs = random_params(0, cell), make_chunk(row, cell, 1, 3, 1, INPUT).inputs
    carry, one_row = random_like(2, cell.initial_carry(1, key)), jax.eval_shape(partial(cell.initial_carry, (), key))

    def reshaped(change):
        return jax.tree.map(lambda leaf, one: change(leaf) if leaf.ndim > one.ndim else leaf, carry, one_row)

    run = jax.jit(lambda carry, xs: cell.unroll(params, carry, xs)[1])
    rows = run(carry, xs)
    assert_close(run(reshaped(lambda leaf: leaf[0]), xs[:, 0]), jax.tree.map(lambda y: y[:, 0], rows))
    assert_close(run(reshaped(lambda leaf: leaf[None]), xs[:, None]), jax.tree.map(lambda y: y[:, None], rows))


@pytest.mark.parametrize("name", ["peephole", "drawn", "no_product"])
def test_the_loop_of_other_backends(name, monkeypatch):
    """On a CPU each step's input is loaded one step ahead; elsewhere it is not, and the results are the same."""
    recur, carry = RECURRENCES[name]

    def run():
        return jax.jit(lambda *arguments: all_gradients(fused_scan(recur), 1, *arguments))(PARAMS, carry, ZS)

    here = run()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert_close(run(), here)


@pytest.mark.parametrize(
    "make, kept",
    [(elman, 4), (lstm, 11), (gru, 9), (partial(gru, reset_after=False), 13)],
    ids=["elman", "lstm", "gru", "gru_reset_before"],
)
def test_what_a_gradient_keeps(make, kept):
    """In arrays `[T, B, H]`: of the gates' width two, of the states' a few; nothing is run.

    The results of a step's products take the place of the input's, and their cotangents that of these. A GRU, whose
    input is not just added to its product, keeps both; where the reset comes before, it keeps `r * h` too. The input is
    transposed for the gradient of its weight.
    """
    steps, rows, hidden = 256, 8, 64
    cell = make(INPUT, hidden)
    params, carry = jax.eval_shape(cell.init, jax.random.key(0)), cell.initial_carry(rows)

    def objective(params, xs):
        return jnp.sum(cell.unroll(params, carry, xs)[1] ** 2)

    xs = np.zeros((steps, rows, INPUT))
    gradient = jax.jit(jax.grad(objective)).lower(params, xs).compile()
    of_all_steps = steps * rows * hidden * xs.itemsize
    assert gradient.memory_analysis().temp_size_in_bytes < (kept + 0.1) * of_all_steps + xs.nbytes


def depends_on_carry(params, h, z, dot, note):
    h = jnp.tanh(z + dot(h, params["w"] * jnp.sum(h)))
    return h, h


def depends_on_input(params, h, z, dot, note):
    h = jnp.tanh(z + dot(h, params["w"] * jnp.sum(z)))
    return h, h


@pytest.mark.parametrize("recur", [depends_on_carry, depends_on_input], ids=lambda recur: recur.__name__)
def test_a_weight_that_is_none_is_refused(recur):
    """Only where it matters: without a derivative such a recurrence runs as it is."""
    assert_close(fused_scan(recur)(PARAMS, STATE, ZS), plain_scan(recur)(PARAMS, STATE, ZS))
    with pytest.raises(TypeError, match=r"the right side w of dot\(a, w\) must be computed from params alone"):
        jax.vjp(fused_scan(recur), PARAMS, STATE, ZS)


def test_inputs_of_unequal_length_are_refused():
    with pytest.raises(AssertionError, match=r"inputs xs \[T, \.\.\.\] of one length T"):
        fused_scan(lambda p, h, z, dot, note: (h + z["a"] * z["b"], h))({}, STATE, {"a": ZS, "b": ZS[:-1]})


def test_forward_mode_says_that_there_is_none():
    cell = CELLS["lstm"]
    arguments = random_params(0, cell), cell.initial_carry(ROWS), ZS[..., :INPUT]
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(cell.unroll, arguments, arguments)


# What is in the compiled loops.


def loops(jaxpr):
    """Every scan in a jaxpr, those inside others included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from loops(inner)


def carried_shapes(equation):
    """The shapes that a scan carries: results of one shape inside and outside the loop (all others are stacked)."""
    body = getattr(equation.params["jaxpr"], "jaxpr", equation.params["jaxpr"])
    pairs = zip(equation.outvars, body.outvars, strict=True)
    return {outside.aval.shape for outside, inside in pairs if outside.aval.shape == inside.aval.shape}


def weight_shapes_carried(unroll, cell):
    """The shapes of weight matrices (whole, or a gate's columns of them) that any loop of the gradient carries."""
    params, carry = random_params(0, cell), cell.initial_carry(ROWS)
    jaxpr = jax.make_jaxpr(partial(all_gradients, unroll, 1))(params, carry, ZS[..., :INPUT]).jaxpr
    found = list(loops(jaxpr))
    assert len(found) >= 2, "a forward and a backward loop"
    carried = set().union(*(carried_shapes(loop) for loop in found))
    return {shape for shape in carried if len(shape) == 2 and shape[0] in (INPUT, HIDDEN) and shape[1] % HIDDEN == 0}


@pytest.mark.parametrize("name", CELLS)
def test_no_loop_accumulates_a_weight_gradient(name):
    cell = CELLS[name]
    gates = jax.eval_shape(cell.init, jax.random.key(0))["w_hh"].shape[1]
    assert not weight_shapes_carried(cell.unroll, cell)
    assert (HIDDEN, gates) in weight_shapes_carried(scanned(cell), cell), "the walker finds what JAX's own has"


def test_no_loop_of_a_deep_stack_accumulates_a_weight_gradient():
    cell = stack(lstm(INPUT, HIDDEN), gru(HIDDEN, HIDDEN), elman(HIDDEN, HIDDEN))
    assert not weight_shapes_carried(cell.unroll, cell)
    assert weight_shapes_carried(scanned(cell), cell)


# Precision, and the record of all that happened.


@pytest.mark.parametrize("name", CELLS)
def test_single_precision(name):
    """A cell built in float32 stays in it, even where float64 is on, and is as good as float32 is.

    Rounding is 6e-8 an operation; over 6 steps of products of 5 terms, 1e-5 of the largest number leaves room for it.
    """
    make = {"elman": elman, "lstm": lstm}.get(name, partial(gru, reset_after=name == "gru_reset_after"))
    single, double = make(INPUT, HIDDEN, dtype=jnp.float32), CELLS[name]
    arguments = random_params(0, double), random_like(1, double.initial_carry(ROWS)), ZS[..., :INPUT]
    narrow = jax.tree.map(lambda a: np.asarray(a, np.float32), arguments)
    start = single.init(jax.random.key(0)), single.initial_carry(ROWS)
    assert {a.dtype for a in jax.tree.leaves(start)} == {np.dtype(np.float32)}
    results = jax.jit(partial(all_gradients, single.unroll, 1))(*narrow)
    assert {a.dtype for a in jax.tree.leaves(results)} == {np.dtype(np.float32)}
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), results)
    assert_close(wide, jax.jit(partial(all_gradients, double.unroll, 1))(*arguments), tolerance=1e-5)


IN_OTHER_DTYPES = {
    "before the loop": lambda: (CELLS["elman"].unroll, scanned(CELLS["elman"]), random_params(0, CELLS["elman"])),
    "in the loop": lambda: (fused_scan(input_gated_by_state), plain_scan(input_gated_by_state), PARAMS),
}


@pytest.mark.parametrize("inputs", ["int32", "bool", "bfloat16", "float32"])
@pytest.mark.parametrize("where", IN_OTHER_DTYPES)
def test_inputs_and_parameters_of_other_dtypes(where, inputs, default_settings):
    """Integers do not cut off the weights that they meet; every cotangent has the dtype of what it is of.

    To rounding: in float32 sums in another order, 2e-6; gradients of bfloat16 parameters have 8 bits and are summed.
    """
    fused, plain, params = IN_OTHER_DTYPES[where]()
    narrow = jnp.bfloat16 if inputs == "float32" else jnp.float32
    params = jax.tree.map(lambda p: p if p.dtype.kind in "bi" else jnp.asarray(p, narrow), params)
    xs = jnp.asarray(3 * np.abs(ZS[..., : INPUT if where == "before the loop" else HIDDEN]), inputs)
    state = jnp.asarray(STATE, jnp.float32)
    run = jax.jit(lambda *its: tuple(all_gradients(unroll, 1, *its) for unroll in (fused, plain)))
    (results, cotangents), (expected, expected_cotangents) = run(params, state, xs)
    assert_close(results, expected, tolerance=2e-6)
    assert_close(cotangents, expected_cotangents, tolerance=2e-2 if inputs == "float32" else 2e-6)
    assert_close(jax.jit(fused)(params, state, xs), results, tolerance=2e-6)  # the loss that a gradient comes with


def test_narrow_parameters_are_added_up_in_wider_ones(default_settings):
    """A bias that the loop adds up over 2,000 steps, and one whose gradient is made after it, which equals it."""
    cell = elman(1, 1, activation=lambda a: a, w_hh=zeros)
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), cell.init(jax.random.key(0)))
    total = lambda p: cell.unroll(p, cell.initial_carry(1), jnp.zeros((2000, 1, 1)))[1].sum()  # noqa: E731
    grads = jax.grad(total)(params)
    assert grads["b_hh"].dtype == jnp.bfloat16 and grads["b_ih"] == grads["b_hh"] == 2000


def test_trace_is_the_unroll_with_its_notes():
    model = language_model(stack(lstm(4, 3), gru(3, 3), names=("low", "high")), 7)
    params, carry = random_params(0, model), random_like(1, model.initial_carry(ROWS))
    ids = np.random.default_rng(2).integers(0, 7, (STEPS, ROWS))
    seen, (last, outputs) = jax.jit(lambda: (trace(model, params, carry, ids), model.unroll(params, carry, ids)))()
    assert_close((seen.carry, seen.outputs), (last, outputs))
    assert_close(jax.tree.map(lambda a: a[-1], seen.carries), last)
    names = {f"core/low/{name}" for name in "ifgoch"} | {f"core/high/{name}" for name in "rznh"}
    assert set(seen.notes) == names
    assert all(values.shape == (STEPS, ROWS, 3) for values in seen.notes.values())
    _, ((h, c), high), _ = seen.carries  # of the embedding, the core and the readout
    assert_close((seen.notes["core/low/h"], seen.notes["core/low/c"], seen.notes["core/high/h"]), (h, c, high))
