"""The memory of the rules that go forward in time: counted exactly, and refused by key before anything is written."""

from types import SimpleNamespace

import jax
import pytest

from jaxrnn.cells import lstm
from jaxrnn.config import Config, Data, Gradient, Model
from jaxrnn.data.text import BYTE
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.running.experiment import Experiment, build_learner
from jaxrnn.running.memory import check_memory, check_program, influence_bytes
from jaxrnn.running.programs import Compiled
from jaxrnn.running.summary import parameters


def experiment(rule, **model):
    config = Config(
        data=Data(batch_size=3, chunk_length=4),
        model=Model(hidden_size=8, embedding_size=5, **model),
        gradient=Gradient(rule=rule),
    )
    dataset = SimpleNamespace(vocabulary=Vocabulary("character", tuple("abcdefg")))
    return Experiment(config, None, dataset, None, build_learner(config, dataset.vocabulary), 1, None)


def test_the_influence_is_the_carry_times_the_parameters_that_reach_it():
    one = experiment("rtrl")
    rows, carry, number = 3, 2 * 8, 8
    reaching = 7 * 5 + parameters(jax.eval_shape(lstm(5, 8).init, jax.random.key(0)))
    assert influence_bytes(one.config, one.learner) == rows * carry * (reaching + 1) * number


def test_what_does_not_fit_is_refused_with_what_would():
    one = experiment("rtrl")
    enough = 4 * influence_bytes(one.config, one.learner)
    check_memory(one, enough)
    with pytest.raises(InputError, match=r"gradient.rule = 'rtrl': .* model.hidden_size = 4 would fit, or .*'snap1'"):
        check_memory(one, enough - 4)
    with pytest.raises(InputError, match=r"of memory: a rule that keeps less: 'snap1' or 'uoro'"):
        check_memory(one, 4)
    with pytest.raises(InputError, match=r"a rule that keeps less: 'uoro' or 'truncated'"):
        check_memory(experiment("snap1"), 4)
    check_memory(experiment("bptt"), 0)


def test_rows_are_spread_over_the_memories_of_accelerators(monkeypatch):
    one = experiment("rtrl")._replace(mesh=SimpleNamespace(size=2))
    enough = 4 * influence_bytes(one.config, one.learner)
    with pytest.raises(InputError, match="gradient.rule = 'rtrl'"):
        check_memory(one, enough // 2)  # the cores of a CPU have one together
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    check_memory(one, enough // 2)
    with pytest.raises(InputError, match="gradient.rule = 'rtrl'"):
        check_memory(one, enough // 2 - 4)


def test_the_influence_of_the_default_model_fits_into_no_memory():
    config = Config(gradient=Gradient(rule="rtrl"))
    assert influence_bytes(config, build_learner(config, Vocabulary("byte", BYTE.alphabet))) > 2**40 / 8


def test_a_train_step_that_does_not_fit_is_refused():
    check_program(Compiled(1.0, 6, 4), memory=10)
    check_program(Compiled(1.0, None, None), memory=0)  # a backend that does not tell
    with pytest.raises(
        InputError, match="model.hidden_size, .*: an update takes 3.0 GiB of memory, and there is 2.0 GiB"
    ):
        check_program(Compiled(1.0, 2**31, 2**30), memory=2**31)
    with pytest.raises(InputError, match="an update takes 6.0 GiB"):
        check_program(Compiled(1.0, 2**31, 2**30), devices=2, memory=2**32)
