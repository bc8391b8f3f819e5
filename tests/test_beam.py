"""Beam search against its definition, and against the enumeration of all texts."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agreement import random_params
from jaxrnn.beam import make_beam_search
from jaxrnn.cells import lstm
from jaxrnn.compose import dropout, language_model, stack, weight_drop
from jaxrnn.errors import InputError
from jaxrnn.sampling import make_generate
from jaxrnn.stepwise import from_step

V, LENGTH, PROMPT = 3, 4, [1, 0, 2]
MODEL = language_model(stack(weight_drop(lstm(4, 5), 0.5), dropout(0.5)), V)
PARAMS = jax.tree.map(lambda p: 3 * p, random_params(1, MODEL))
search = make_beam_search(MODEL)


def log_probability(text):
    """Of the text after the prompt, each symbol by itself."""
    ids = np.array([*PROMPT, *text])[:, None]
    logits = np.asarray(MODEL.unroll(PARAMS, MODEL.initial_carry(1), ids[:-1])[1])[:, 0]
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return sum(logs[len(PROMPT) - 1 + t, v] for t, v in enumerate(text))


def plain_search(width):
    """The definition: all texts that are one symbol longer, and the likeliest of them."""
    texts = [()]
    for _ in range(LENGTH):
        longer = [(*text, v) for text in texts for v in range(V)]
        texts = sorted(longer, key=lambda text: -log_probability(text))[:width]
    return texts


@pytest.mark.parametrize("width", [1, 2, 5])
def test_it_is_its_definition(width):
    found, texts = search(PARAMS, PROMPT, LENGTH, width), plain_search(width)
    assert found.ids.tolist() == [list(text) for text in texts]
    np.testing.assert_allclose(found.log_probabilities, [log_probability(text) for text in texts], rtol=1e-12)


def test_wide_enough_it_finds_every_text_once_in_order():
    found = search(PARAMS, PROMPT, LENGTH, V**LENGTH + 7)
    assert sorted(map(tuple, found.ids.tolist())) == sorted(product(range(V), repeat=LENGTH))
    assert np.all(np.diff(found.log_probabilities) <= 0)
    np.testing.assert_allclose(np.exp(found.log_probabilities).sum(), 1, rtol=1e-12)


def test_alone_it_is_the_likeliest_symbol_at_each_step():
    greedy = make_generate(MODEL)(PARAMS, PROMPT, 20, jax.random.key(0), temperature=0)
    assert search(PARAMS, PROMPT, 20, 1).ids[0].tolist() == [ids.item() for ids in greedy]


def test_a_likelier_text_may_begin_with_a_less_likely_symbol():
    """0.6 then an even choice among ten, or 0.4 then certainty: the second is found where two are kept."""
    split = jnp.log(jnp.array([[0.0, 0.6, 0.4] + [0.0] * 10, [0.0, 0.0, 0.0] + [0.1] * 10, [1.0] + [0.0] * 12]))
    fork = from_step(lambda key: {}, lambda shape, key=None: jnp.zeros(shape), lambda p, c, x: (c, split[x]))
    fork = fork._replace(output_size=13)
    narrow, wide = (make_beam_search(fork)({}, [0], 2, width) for width in (1, 2))
    assert narrow.ids[0, 0] == 1 and wide.ids[0].tolist() == [2, 0]
    np.testing.assert_allclose(wide.log_probabilities[0], np.log(0.4), rtol=1e-12)


def test_scores_of_a_narrow_model_are_wide():
    """In bfloat16 the sum of sixty logarithms is off by the whole of one."""
    table = jax.random.normal(jax.random.key(0), (8, 8), jnp.bfloat16)
    cell = from_step(
        lambda key: {}, lambda shape, key=None: jnp.zeros(shape), lambda params, carry, x: (carry, table[x])
    )
    found = make_beam_search(cell)({}, [0], 60, 4)
    logs = np.asarray(jax.nn.log_softmax(table.astype(float)))
    texts = np.concatenate([np.zeros((4, 1), int), found.ids], axis=1)
    np.testing.assert_allclose(found.log_probabilities, logs[texts[:, :-1], texts[:, 1:]].sum(1), rtol=1e-6)


def test_nothing_to_write_is_one_empty_text():
    found = search(PARAMS, PROMPT, 0, 3)
    assert found.ids.shape == (1, 0) and found.log_probabilities.tolist() == [0.0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"width": 0}, "beam: width is 0"),
        ({"length": -1}, "sampling: length"),
        ({"prompt": [V]}, "an id of the prompt"),
    ],
)
def test_what_makes_no_sense_is_refused(change, named):
    with pytest.raises(InputError, match=named):
        search(PARAMS, **({"prompt": PROMPT, "length": 2, "width": 2} | change))


def test_a_model_that_gives_nan_is_refused():
    with pytest.raises(InputError, match="beam: the model's logits"):
        search(jax.tree.map(lambda p: p * np.nan, PARAMS), PROMPT, 2, 2)
