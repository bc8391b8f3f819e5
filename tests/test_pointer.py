"""The continuous cache against a plain NumPy loop, stream by stream and step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from agreement import assert_close, random_params
from jaxrnn.build import build_model, build_trunk
from jaxrnn.cells.elman import elman
from jaxrnn.compose import language_model, language_trunk, readout_of
from jaxrnn.config import Model, Regularizer
from jaxrnn.data.chunks import make_streams, number_of_chunks, read
from jaxrnn.errors import InputError
from jaxrnn.evaluation import make_evaluate
from jaxrnn.gradients import Chunk
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.pointer import Pointer, make_pointer_evaluate
from jaxrnn.types import Marked

V, B = 5, 2
IDS = np.random.default_rng(0).integers(V, size=40)
CELL, TRUNK = language_model(elman(3, 4), V), language_trunk(elman(3, 4), V)
PARAMS, CARRY = random_params(1, CELL), TRUNK.initial_carry((B,))
POINTERS = [Pointer(0.0, 0.3, 7), Pointer(2.0, 0.5, 3), Pointer(50.0, 0.9, 100), Pointer(1.0, 0.0, 5), Pointer(1, 1, 9)]
evaluate = make_pointer_evaluate(TRUNK)


def chunks_of(chunk_length):
    text = make_streams(IDS, B, chunk_length, drop_tail=False)
    return [read(text, index) for index in range(number_of_chunks(text))]


def plain_losses(pointer, anew_at=0):
    """The summed loss by its definition, a dictionary of probabilities for each step; the state is anew at a step."""
    total = 0.0
    for part in np.array_split(np.arange(len(IDS) - 1), B):
        ids, targets = IDS[part], IDS[part + 1]
        table, core, readout = (PARAMS[name] for name in ("embedding", "core", "readout"))
        parts = [part for part in np.split(table["w"][ids][:, None], [anew_at]) if len(part)]
        hs = [reference.unroll(reference.elman(), core, (np.zeros((1, 4)),), part)[1] for part in parts]
        hs = np.concatenate(hs)[:, 0]
        for t, target in enumerate(targets):
            logits = hs[t] @ readout["w"] + readout["b"]
            p = (np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())[target]
            past = range(max(0, t - pointer.window), t)
            if len(past):
                scores = np.array([pointer.theta * hs[t] @ hs[i] for i in past])
                weights = np.exp(scores - scores.max())
                hits = sum(weight for weight, i in zip(weights, past, strict=True) if targets[i] == target)
                p = (1 - pointer.share) * p + pointer.share * hits / weights.sum()
            with np.errstate(divide="ignore"):
                total -= np.log(p)
    return total


def test_a_reset_makes_the_state_anew_and_forgets_nothing_of_the_cache():
    (chunk,) = chunks_of(50)
    reset = np.zeros(chunk.weight.shape, bool)
    reset[10] = True
    chunk = chunk._replace(inputs=Marked(chunk.inputs, reset=reset))
    results = evaluate(PARAMS, CARRY, [chunk], POINTERS[:-1])
    for pointer, result in zip(POINTERS, results, strict=False):
        np.testing.assert_allclose(result.score.loss_sum, plain_losses(pointer, anew_at=10), rtol=1e-12)


@pytest.mark.parametrize("chunk_length", [1, 4, 50])
def test_every_way_scores_as_the_plain_loop(chunk_length):
    results = evaluate(PARAMS, CARRY, chunks_of(chunk_length), POINTERS)
    expected = [plain_losses(pointer) for pointer in POINTERS]
    np.testing.assert_allclose([result.score.loss_sum for result in results], expected, rtol=1e-12)
    assert expected[-1] == np.inf and np.all(np.isfinite(expected[:-1]))  # the cache alone does not know every symbol
    for result, pointer in zip(results, POINTERS, strict=True):
        assert result.score.weight == result.protocol.targets == len(IDS) - 1
        assert f"the last {pointer.window} steps" in result.protocol.carry


def test_one_look_into_the_cache_does_for_all_shares(monkeypatch):
    looks, real = [], jax.lax.map
    monkeypatch.setattr(jax.lax, "map", lambda f, rows: looks.append(len(jax.tree.leaves(rows)[0])) or real(f, rows))
    pointers = [Pointer(theta, share, 5) for share in (0.1, 0.2, 0.9) for theta in (1.0, 3.0)]
    results = make_pointer_evaluate(TRUNK)(PARAMS, CARRY, chunks_of(50), pointers)
    assert set(looks) == {2}
    expected = [plain_losses(pointer) for pointer in pointers]
    np.testing.assert_allclose([result.score.loss_sum for result in results], expected, rtol=1e-12)


def test_probabilities_sum_to_one():
    """Over all targets that could have come at the last step."""
    total = 0.0
    for target in range(V):
        ids = np.array([*IDS[:20], target])[:, None]
        chunk = chunks_of(50)[0]._replace(inputs=ids[:-1], targets=ids[1:], weight=np.eye(20)[:, -1:])
        total += np.exp(-evaluate(PARAMS, TRUNK.initial_carry((1,)), [chunk], POINTERS[1:2])[0].score.loss_sum)
    assert abs(total - 1) < 1e-12


def test_without_a_share_it_is_the_plain_score():
    plain = make_evaluate(CELL, softmax_cross_entropy)(PARAMS, CELL.initial_carry((B,)), chunks_of(4)).score
    (result,) = evaluate(PARAMS, CARRY, chunks_of(4), [Pointer(1.0, 0.0, 5)])
    np.testing.assert_allclose(result.score.loss_sum, plain.loss_sum, rtol=1e-13)


@pytest.mark.parametrize("tie", [False, True])
def test_a_trunk_runs_on_the_parameters_of_any_configured_model(tie):
    """Dropout shifts the names of layers, zoneout is there in evaluation too, a tied readout is the embedding's."""
    section = Model(cell="gru", hidden_size=4, embedding_size=4, num_layers=2, dropout=0.2, tie=tie)
    noisy = Regularizer(
        dropout_embedding=0.1, dropout_hidden=0.1, dropout_output=0.1, zoneout=0.3, weight_drop=0.2, temporal_penalty=1
    )
    model, trunk = build_model(section, V, noisy), build_trunk(section, V, noisy)
    params, ids = random_params(2, model), IDS[:12].reshape(6, 2)

    @jax.jit
    def both(params):
        _, hs = trunk.unroll(params, trunk.initial_carry((2,)), ids)
        w, b = readout_of(params)
        return hs @ w + b[None, None], model.unroll(params, model.initial_carry((2,)), ids)[1]

    assert_close(*both(params))
    jax.tree.map(np.testing.assert_array_equal, model.initial_carry((2,))[:-1], trunk.initial_carry((2,)))


@pytest.mark.parametrize(
    ("pointer", "named"), [((-1.0, 0.1, 5), "theta"), ((1.0, 1.1, 5), "share"), ((1.0, 0.1, 0), "window")]
)
def test_numbers_that_make_no_sense_are_refused(pointer, named):
    with pytest.raises(InputError, match=f"pointer: {named} is"):
        evaluate(PARAMS, CARRY, chunks_of(4), [Pointer(*pointer)])


def test_padding_is_not_remembered():
    """Chunks of three steps, each row with a different number of steps of padding before and after them."""
    plain = evaluate(PARAMS, CARRY, chunks_of(3), POINTERS[:-1])
    marked = evaluate(PARAMS, CARRY, map(spread_out, chunks_of(3)), POINTERS[:-1])
    for one, other in zip(plain, marked, strict=True):
        np.testing.assert_allclose(one.score.loss_sum, other.score.loss_sum, rtol=1e-12)


def spread_out(chunk):
    """The same steps among six, in row 0 the first, third and fourth of them, in row 1 the last three."""
    places, rows = np.array([[0, 3], [2, 4], [3, 5]]), np.arange(B)[None]
    parts = [np.zeros((6, B), part.dtype) for part in chunk]
    keep = np.zeros((6, B), bool)
    for wide, part in zip((*parts, keep), (*chunk, np.ones((3, B), bool)), strict=True):
        wide[places, rows] = part
    return Chunk(Marked(parts[0], keep=keep), *parts[1:])


def test_sums_of_a_narrow_model_are_wide():
    """19,200 losses of some 4 nats are more than float16 can say."""
    with jax.enable_x64(False):
        core = elman(3, 4, dtype=jnp.float16)
        cell, trunk = language_model(core, 50, dtype=jnp.float16), language_trunk(core, 50)
        params, carry = cell.init(jax.random.key(0)), cell.initial_carry(64)
        ids = np.random.default_rng(0).integers(50, size=(301, 64))
        chunk = Chunk(ids[:-1], ids[1:], np.ones((300, 64), np.float32))
        (found,) = make_pointer_evaluate(trunk)(params, trunk.initial_carry(64), [chunk], [Pointer(0.0, 0.0, 1)])
        plain = make_evaluate(cell, softmax_cross_entropy)(params, carry, [chunk])
    assert found.score.nats == pytest.approx(plain.score.nats, rel=1e-3)


def test_a_weight_weighs():
    halves = [chunk._replace(weight=chunk.weight / 2) for chunk in chunks_of(4)]
    whole, half = (evaluate(PARAMS, CARRY, chunks, POINTERS[:1])[0].score for chunks in (chunks_of(4), halves))
    np.testing.assert_allclose([half.loss_sum, half.nats], [whole.loss_sum / 2, whole.nats], rtol=1e-12)
