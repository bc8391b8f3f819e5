"""Filters against a plain NumPy enumeration, draws against their probabilities, the generator against its loop."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrnn import sampling
from jaxrnn.cells.lstm import lstm
from jaxrnn.compose import documents, language_model
from jaxrnn.errors import InputError
from jaxrnn.sampling import draw, filter_logits, make_generate, make_prime, never
from jaxrnn.stepwise import from_step

V = 7
LOGITS = np.random.default_rng(0).normal(size=(3, V)) * 2
TIES = np.array([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 2.0, 0.0, 2.0, 1.0, -3.0]])


jitted = jax.jit(filter_logits)  # temperature, top_k and top_p are traced


def softmax(logits):
    p = np.exp(logits - logits.max())
    return p / p.sum()


def expected_probabilities(logits, temperature, top_k, top_p):
    """One row, by its definition: count the likeliest symbols one by one."""
    order = sorted(range(V), key=lambda v: (-logits[v], v))
    order = order[:top_k]
    p = softmax(logits / temperature)
    kept, among = [], sum(p[v] for v in order)
    for v in order:
        kept.append(v)
        if top_p is not None and sum(p[u] for u in kept) / among >= top_p:
            break
    return np.array([p[v] if v in kept else 0.0 for v in range(V)]) / sum(p[v] for v in kept)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 1, 3, V, V + 5])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.5, 0.9, 1.0])
def test_filters_equal_their_definition(temperature, top_k, top_p):
    logits = np.concatenate([LOGITS, TIES])
    got = np.asarray(jitted(logits, temperature=temperature, top_k=top_k, top_p=top_p))
    expected = [expected_probabilities(row, temperature, top_k, top_p) for row in logits]
    np.testing.assert_array_equal(np.isfinite(got), np.array(expected) > 0)
    np.testing.assert_allclose([softmax(row) for row in got], expected, rtol=1e-12, atol=1e-15)


def test_the_edges_of_top_p():
    even = filter_logits(jnp.zeros(4), top_p=0.5)  # a quarter each: two make exactly a half
    assert np.isfinite(even).tolist() == [True, True, False, False]
    steep = jnp.array([0.0, -100.0, -200.0])  # the sum is 1 after the first, but for rounding
    assert np.isfinite(filter_logits(steep, top_p=1.0)).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_probabilities_of_narrow_logits_are_summed_wide(dtype):
    assert np.isfinite(filter_logits(jnp.zeros(4000, dtype), top_p=0.5)).sum() == 2000


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_draws_of_narrow_logits_favour_no_symbol(dtype):
    """Noise of 16 bits would tie, and ties go to the first: 0.98 of these draws would be of the first half."""
    ids = draw(jax.random.key(0), jnp.zeros((2000, 1000), dtype))
    assert abs(np.mean(ids < 500) - 0.5) < 0.045  # four standard errors of 2,000 draws; ties shift it by more
    small = filter_logits(jnp.array([1, 2, 2.5], dtype), temperature=1e-5)
    np.testing.assert_allclose(small, [-150_000, -50_000, 0], rtol=1e-6)


def test_filters_are_mapped_with_a_choice_for_each_row():
    choices = [(0.0, 2, 0.5), (0.7, 3, 0.9), (1.5, 1, 1.0)]
    batched = jax.jit(jax.vmap(lambda row, t, k, p: filter_logits(row, temperature=t, top_k=k, top_p=p)))
    rows = batched(LOGITS, *(jnp.asarray(values) for values in zip(*choices, strict=True)))
    for row, logits, (t, k, p) in zip(rows, LOGITS, choices, strict=True):
        np.testing.assert_allclose(row, jitted(logits, temperature=t, top_k=k, top_p=p), rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.5}])
def test_temperature_zero_is_the_likeliest_and_the_limit_of_small_temperatures(options):
    for temperature in (0.0, 1e-305, 1e-3):  # 1e5 / 1e-305 overflows
        ids = draw(jax.random.key(1), jnp.asarray(1e5 * LOGITS), temperature=temperature, **options)
        np.testing.assert_array_equal(ids, LOGITS.argmax(-1))
    # Equal logits: the first of them.
    np.testing.assert_array_equal(draw(jax.random.key(1), jnp.asarray(TIES), temperature=0.0, **options), [0, 1])


def test_no_heat_gives_what_may_not_be_drawn():
    """In float32 a temperature of 1e39 is infinite."""
    logits = jnp.array([0.0, -jnp.inf, 5.0], jnp.float32)
    np.testing.assert_allclose(filter_logits(logits, temperature=math.inf), [0, -math.inf, 0], rtol=0, atol=1e-30)
    cell = from_step(
        lambda key: {}, lambda shape, key=None: jnp.zeros(shape), lambda params, carry, x: (carry, logits[None])
    )
    made = make_generate(never(cell, 0))({}, [0], 30, jax.random.key(0), temperature=1e39)
    assert {ids.item() for ids in made} == {2}


def test_draws_follow_their_probabilities():
    n, logits = 20_000, jnp.asarray(LOGITS[0])
    for options in ({}, {"temperature": 2.0}, {"temperature": 1.3, "top_k": 4, "top_p": 0.95}):
        ids = draw(jax.random.key(2), jnp.tile(logits, (n, 1)), **options)
        p = expected_probabilities(
            LOGITS[0], options.get("temperature", 1.0), options.get("top_k"), options.get("top_p")
        )
        counts = np.bincount(ids, minlength=V)
        assert counts[p == 0].sum() == 0
        # The key is fixed, so that this either always holds or never; by chance it would fail once in a thousand keys.
        assert stats.chisquare(counts[p > 0], n * p[p > 0]).pvalue > 1e-3


@pytest.fixture(scope="module")
def model():
    cell = language_model(lstm(3, 8), V)
    params = jax.tree.map(lambda w: 3.0 * w, cell.init(jax.random.key(3)))  # sharp enough to have opinions
    return cell, params, make_generate(cell)


def loop(cell, params, prompt, length, key, sample=0, **options):
    """The loop in the docstring of `make_generate`, for one sample."""
    carry = cell.initial_carry((1,))
    for t in range(len(prompt) - 1):
        carry, _ = cell.step(params, carry, jnp.array([prompt[t]], jnp.int32))
    ids, made = jnp.array([prompt[-1]], jnp.int32), []
    for t in range(length):
        carry, logits = cell.step(params, carry, ids)
        ids = draw(jax.random.fold_in(jax.random.fold_in(key, sample), t), logits[0], **options)[None]
        made.append(int(ids[0]))
    return made


@pytest.mark.parametrize("prompt", [[2], [1, 4, 0, 6, 5]])
@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"temperature": 1.2, "top_k": 5, "top_p": 0.9}, {"top_k": 4, "top_p": 1.0}]
)
def test_generator_equals_its_loop(model, prompt, options):
    cell, params, generate = model
    key = jax.random.key(4)
    made = np.array(list(generate(params, prompt, 12, key, samples=2, **options)))
    assert made.shape == (12, 2) and made.dtype == np.int32
    for sample in range(2):
        assert made[:, sample].tolist() == loop(cell, params, prompt, 12, key, sample, **options)


def test_more_of_the_likeliest_than_there_are_is_all(model):
    _, params, generate = model
    drawn = [list(generate(params, [2], 12, jax.random.key(4), top_k=top_k)) for top_k in (None, 2**40)]
    np.testing.assert_array_equal(*drawn)


def test_a_prompt_in_blocks_is_the_prompt(model, monkeypatch):
    _, params, generate = model
    prompt = np.random.default_rng(5).integers(V, size=24)
    whole = np.array(list(generate(params, prompt, 8, jax.random.key(6))))
    for blocks in ((1,), (5, 1), (23,)):
        monkeypatch.setattr(sampling, "PROMPT_BLOCKS", blocks)
        np.testing.assert_array_equal(list(generate(params, prompt, 8, jax.random.key(6))), whole)
    assert np.any(whole != list(generate(params, prompt[-1:], 8, jax.random.key(6))))  # the prompt is heeded


@pytest.fixture(scope="module")
def readers(model):
    """The model, and one whose texts begin anew at symbol 0, each with what reads its prompts."""
    plain, _, _ = model
    return [(cell, make_prime(cell)) for cell in (plain, documents(plain, lambda ids: ids == 0))]


@pytest.mark.parametrize("length", [1, 2, 9, 74, 600])
def test_the_carry_after_a_prompt_is_that_of_the_whole(model, readers, length):
    _, params, _ = model
    prompt = np.random.default_rng(length).integers(V, size=length).astype(np.int32)
    for cell, prime in readers:
        carry, last = prime(params, prompt, 2)
        rows = np.broadcast_to(prompt[:-1, None], (length - 1, 2))
        expected = cell.unroll(params, cell.initial_carry(2), rows)[0] if length > 1 else cell.initial_carry(2)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-12), carry, expected)
        assert last.tolist() == [prompt[-1]] * 2


def test_a_few_programs_read_prompts_of_every_length():
    cell, traced = language_model(lstm(3, 4), V), []

    def unroll(params, carry, xs):
        traced.append(len(xs))
        return cell.unroll(params, carry, xs)

    prime, params = make_prime(cell._replace(unroll=unroll)), cell.init(jax.random.key(9))
    for length in (1, 2, 3, 8, 9, 10, 40, 70, 600, 1100):
        prime(params, np.zeros(length, np.int32), 1)
    assert sorted(traced) == [1, 8, 64, 512]


def test_nothing_is_sorted_where_every_symbol_may_be_drawn(model, monkeypatch):
    cell, params, _ = model
    monkeypatch.setattr(sampling, "_kept", None)  # what sorts
    expected = loop(cell, params, [2], 12, jax.random.key(4))
    for all_of_it in (1, 1.0, np.float32(1)):
        made = make_generate(cell)(params, [2], 12, jax.random.key(4), top_p=all_of_it)
        assert [ids.item() for ids in made] == expected


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 1.2, "top_k": 2}])
def test_a_symbol_that_is_never_given_leaves_its_probability_to_the_others(model, options):
    cell, params, generate = model
    likeliest = next(generate(params, [2], 1, jax.random.key(4), temperature=0)).item()
    made = [ids.item() for ids in make_generate(never(cell, likeliest))(params, [2], 50, jax.random.key(4), **options)]
    assert likeliest not in made and (len(set(made)) > 1 or not options["temperature"])


def test_a_cell_that_never_gives_a_symbol_keeps_its_other_logits(model):
    cell, params, _ = model
    start, ids = cell.initial_carry(1), jnp.array([2])
    masked = np.where(np.arange(V) == 3, -np.inf, cell.step(params, start, ids)[1])
    np.testing.assert_array_equal(never(cell, 3).step(params, start, ids)[1], masked)
    np.testing.assert_allclose(never(cell, 3).unroll(params, start, ids[None])[1][0], masked, rtol=1e-12)


@pytest.mark.parametrize("symbol", [-1, V, 1.5])
def test_a_symbol_that_does_not_exist_is_refused(model, symbol):
    with pytest.raises(InputError, match=f"never: symbol is {symbol}; it must be an id from 0 to {V - 1}"):
        never(model[0], symbol)


def test_samples_depend_on_the_seed_and_not_on_their_company(model):
    _, params, generate = model
    run = partial(generate, params, [0, 1], 30)
    four = np.array(list(run(jax.random.key(7), samples=4)))
    np.testing.assert_array_equal(four, list(run(jax.random.key(7), samples=4)))
    np.testing.assert_array_equal(four[:, :1], list(run(jax.random.key(7), samples=1)))
    assert len({tuple(sample) for sample in four.T}) == 4
    assert np.any(four != list(run(jax.random.key(8), samples=4)))


def test_one_program_makes_every_symbol():
    cell = language_model(lstm(3, 4), V)
    traces = []

    def step(params, carry, x):
        traces.append(x)
        return cell.step(params, carry, x)

    generate = make_generate(cell._replace(step=step))
    params = cell.init(jax.random.key(9))
    for temperature, top_k in [(1.0, 3), (0.0, 2), (0.5, 1)]:
        assert len(list(generate(params, [0, 1], 5, jax.random.key(10), temperature=temperature, top_k=top_k))) == 5
    assert len(traces) == 1


def test_no_symbols_asked_for_are_no_symbols(model):
    _, params, generate = model
    assert list(generate(params, [0], 0, jax.random.key(0))) == []


@pytest.mark.parametrize(
    "key, value",
    [("length", -1), ("length", 2**31), ("samples", 0)]
    + [("temperature", -0.1), ("temperature", math.nan), ("temperature", math.inf)]
    + [("top_k", 0), ("top_p", 0.0), ("top_p", 1.1), ("top_p", math.nan)],
)
def test_a_value_that_makes_no_sense_is_named_before_anything_is_made(model, key, value):
    _, params, generate = model
    with pytest.raises(InputError, match=f"sampling: {key} is"):
        generate(params, [0], **{"length": 5, "key": jax.random.key(0), key: value})


@pytest.mark.parametrize("prompt", [[], [[1, 2]], [0.5]])
def test_a_prompt_that_is_none_is_refused(model, prompt):
    _, params, generate = model
    with pytest.raises(InputError, match="sampling: prompt"):
        generate(params, prompt, 5, jax.random.key(0))
