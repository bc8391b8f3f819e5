"""What `--verbose` says is read off the programs that run."""

import jax
import pytest

from jaxrnn.build import ESTIMATORS, ONLINE_RULES, build_model
from jaxrnn.cells import gru, lstm
from jaxrnn.cells.lstm import lstm_step
from jaxrnn.compose import dropout, embedding, mixed_precision, stack
from jaxrnn.config import Config, Data, Gradient, Model, Training
from jaxrnn.running.particulars import Loops, block, kept, loops, precision
from jaxrnn.stepwise import from_step


def test_loops_are_told_apart():
    by_hand = from_step(lstm(3, 4).init, lstm(3, 4).initial_carry, lstm_step, input_size=3, output_size=4)
    assert loops(stack(embedding(5, 3), by_hand, dropout(0.5), gru(4, 4), lstm(4, 4))) == Loops(fused=2, plain=1)


def test_a_loop_within_another_is_part_of_it():
    fused = stack(embedding(5, 3), lstm(3, 4))
    within = fused._replace(unroll=jax.jit(fused.unroll))
    assert loops(within) == loops(mixed_precision(fused)) == Loops(fused=1, plain=0)
    assert loops(stack(embedding(5, 3))) == Loops(fused=0, plain=0)


def test_models_of_the_command_are_fused():
    model = build_model(Model(cell="projection_lstm", hidden_size=4, num_layers=3, dropout=0.1), 5)
    assert loops(model) == Loops(fused=3, plain=0)


@pytest.mark.parametrize("rule", ESTIMATORS)
def test_every_rule_says_what_it_keeps_and_its_block(rule):
    config = Config(data=Data(chunk_length=32), gradient=Gradient(rule=rule, horizon=64, segment_length=8))
    assert (rule in ONLINE_RULES) == kept(config.gradient).startswith("nothing")
    assert ("segment" in kept(config.gradient)) == (rule in ("checkpointed", "randomized"))
    expected = {"checkpointed": "8 steps", "randomized": "8 steps"} | dict.fromkeys(ONLINE_RULES, "1 step")
    assert block(config) == expected.get(rule, "32 steps")


def test_a_budget_decides_on_segments():
    config = Config(gradient=Gradient(rule="checkpointed", memory="64MiB"))
    assert "64MiB" in block(config) and "64MiB allow: of each step everything, or" in kept(config.gradient)


def test_an_accelerator_may_round_operands_of_float32(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert precision(Config()) != "float32" and "JAX_DEFAULT_MATMUL_PRECISION" in precision(Config())
    with jax.default_matmul_precision("highest"):
        assert precision(Config()) == "float32"


def test_products_that_stay_in_float32_are_named():
    narrow = Training(precision="bfloat16")
    assert precision(Config(training=narrow)).startswith("products of bfloat16 operands; ")
    in_blocks = Config(training=narrow, model=Model(vocabulary_block=64))
    sampled = Config(training=narrow, model=Model(vocabulary_block=64, vocabulary_sample=64))
    assert precision(sampled) == precision(Config(training=narrow))
    assert precision(in_blocks).startswith("products of bfloat16 operands, the readout's of float32 ones; ")
