"""The configurations that come with the repository: each says why it exists, holds, and the smallest one learns."""

from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from agreement import assert_close
from jaxrnn import snapshots
from jaxrnn.build import check_names
from jaxrnn.config import Config, Data, portable
from jaxrnn.data.chunks import make_streams
from jaxrnn.data.lengths import longest
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.gradients import Chunk
from jaxrnn.mesh import data_mesh
from jaxrnn.running import position
from jaxrnn.running.experiment import Experiment, build_learner, epoch_streams, first_state, next_epoch
from jaxrnn.running.position import Position
from jaxrnn.running.programs import build_programs
from jaxrnn.running.run_text import open_text
from jaxrnn.settings import check_read, flatten, resolve
from jaxrnn.training import stack_chunks
from jaxrnn.types import Marked

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_says_why_it_exists_and_holds(path):
    assert path.read_text().startswith("# ")
    config = resolve(path)
    check_names(config)
    check_read(config)


def test_the_built_in_configuration_is_spelled_out():
    assert resolve(ROOT / "configs" / "stdlib.toml") == Config()


def test_hello_learns_to_spell(jaxrnn, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    said = jaxrnn("train", "configs/hello.toml", "--run", tmp_path / "run")
    assert said.code == 0
    assert "\n" + "hello\n" * 6 in said.out
    nothing_learned = 2.25  # bits: the frequencies of five symbols
    assert jaxrnn("evaluate", tmp_path / "run", "--json").answer["bits_per_character"] < nothing_learned / 5


def numbered(size):
    """A vocabulary of so many symbols, the first of which ends a line."""
    return Vocabulary("whitespace", ("<eos>", *map(str, range(1, size))))


def first_update(config):
    """The program of a configuration's train step, and the shapes that it is given; no text is read."""
    learner = build_learner(config, numbered(50))
    places = longest(config.data.chunk_length, config.data.chunk_spread)
    ids = np.zeros((places, config.data.batch_size), np.int32)
    inputs = Marked(ids, keep=ids == 0) if config.data.chunk_spread else ids
    chunks = stack_chunks([Chunk(inputs, ids, np.ones(ids.shape, np.float32))])
    experiment: Any = Experiment(config, None, None, None, learner, 1000, data_mesh(1))
    return build_programs(experiment).train_step, jax.eval_shape(lambda: first_state(config, learner)), chunks


SMALL = {"data.batch_size": 2, "data.chunk_length": 4, "model.hidden_size": 3, "model.embedding_size": 3}


@cache
def program(*given):
    """The text of the train step with such settings, `(key, value)` each; many are held against the same one."""
    config = resolve(overrides={key: str(value) for key, value in given})
    check_read(config)
    train_step, *arguments = first_update(config)
    return train_step.lower(*arguments, 1000).as_text()


@pytest.mark.parametrize(
    ("key", "value", "beside"),
    [
        ("gradient.target", 0.2, {"gradient.rule": "adaptive", "gradient.longest": 8}),
        ("gradient.longest", 12, {"gradient.rule": "adaptive", "gradient.longest": 8}),
        ("gradient.measure_every", 3, {"gradient.rule": "adaptive", "gradient.longest": 8}),
        ("gradient.cut_rate", 0.25, {"gradient.rule": "randomized", "gradient.segment_length": 2}),
        ("gradient.segment_length", 1, {"gradient.rule": "randomized", "gradient.segment_length": 2}),
        ("gradient.segment_length", 1, {"gradient.rule": "checkpointed", "gradient.segment_length": 2}),
        ("gradient.horizon", 2, {"gradient.rule": "truncated", "gradient.horizon": 1}),
        ("optimizer.rate", 0.02, {}),
        ("optimizer.warmup", 7, {}),
        ("optimizer.final", 0.5, {}),
        ("optimizer.every", 7, {"optimizer.schedule": "exponential"}),
        ("optimizer.decay", 0.25, {"optimizer.schedule": "step"}),
        ("optimizer.clip_norm", 2.0, {}),
        ("optimizer.clip_value", 2.0, {}),
        ("optimizer.weight_decay", 0.125, {}),
        ("optimizer.options", "{b1 = 0.5}", {}),
        ("training.precision", "bfloat16", {}),
        ("data.chunk_spread", 1.0, {}),
        ("model.vocabulary_block", 5, {}),
        ("model.vocabulary_sample", 40, {}),
        ("regularizer.weight_drop", 0.5, {}),
        ("regularizer.activation_penalty", 2.0, {}),
        ("regularizer.temporal_penalty", 2.0, {}),
    ],
)
def test_a_setting_is_in_the_program(key, value, beside):
    """What a setting changes in the train step is seen in its text, before the compiler."""
    before = SMALL | beside
    assert program(*before.items()) != program(*(before | {key: value}).items())


def test_the_settings_of_the_text_are_heeded(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab ab c\n" * 1000)
    given = {"data.corpus": str(path), "data.tokenizer": "word", "data.minimum_count": "1000"}
    config = resolve(overrides=given | {"data.valid_share": "0.1", "data.test_share": "0.3"})
    corpus, dataset = open_text(config)
    sizes = {split: sum(part.stop - part.start for part in parts) for split, parts in corpus.splits.items()}
    assert sizes == {"train": 4800, "valid": 800, "test": 2400}
    assert set(dataset.vocabulary.symbols) == {"<unk>", "ab", " "}  # of the training text 1,200 each; "c" has 600


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_starts_to_train(path):
    """Its first update is traced, in the shapes that it has, and nothing of it is computed."""
    train_step, before, chunks = first_update(resolve(path))
    after, _ = jax.eval_shape(train_step, before, chunks, 1000)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), before)


def test_the_textbooks_model_starts_as_it_does_there():
    """Normal numbers of the deviations that the book gives (4 standard errors), and one bias a gate, of zeros."""
    config = resolve(ROOT / "configs" / "ptb_rnnlm.toml")
    params = build_learner(config, numbered(10000)).cell.init(jax.random.key(0))
    deviations = {
        "embedding": (params["embedding"]["w"], 0.01),
        "w_ih": (params["core"]["w_ih"], 0.1),
        "w_hh": (params["core"]["w_hh"], 0.1),
        "readout": (params["readout"]["w"], 0.1),
    }
    for name, (w, deviation) in deviations.items():
        assert abs(np.std(w) / deviation - 1) < 4 / (2 * w.size) ** 0.5, name
    assert "b_hh" not in params["core"]
    for bias in (params["core"]["b_ih"], params["readout"]["b"]):
        assert not np.any(bias)


def asked_for(**more):
    return resolve(overrides={name: str(value) for name, value in (SMALL | more).items()})


def test_another_seed_is_another_start():
    one, other = (
        first_state(config, build_learner(config, numbered(10))).params
        for config in (asked_for(seed=1), asked_for(seed=2))
    )
    assert np.any(one["core"]["w_hh"] != other["core"]["w_hh"])


def test_a_seed_is_the_same_start_whatever_the_default_of_keys():
    config = asked_for(**{"model.dropout": 0.5})
    learner = build_learner(config, numbered(10))
    before = first_state(config, learner)
    with jax.default_prng_impl("rbg"):
        again = first_state(config, build_learner(config, numbered(10)))
    assert_close(again, before, tolerance=0)


def test_another_seed_is_another_cut_of_the_text():
    streams = make_streams(np.arange(401), 2, 26, drop_tail=True)
    data = Data(batch_size=2, chunk_length=20, chunk_spread=3.0)
    one, other = (epoch_streams(Config(seed=seed, data=data), streams, 0).cuts for seed in (1, 2))
    assert one.tolist() != other.tolist()


def test_every_epoch_draws_anew():
    config = asked_for(**{"gradient.rule": "randomized", "gradient.segment_length": 2})
    learner = build_learner(config, numbered(10))
    state = first_state(config, learner)
    keys = [jax.random.key_data(next_epoch(config, learner, state, epoch).estimator.key) for epoch in (1, 2)]
    assert np.all(keys[0] != keys[1])


def test_a_snapshot_from_before_a_key_was_there_is_read_and_so_is_one_whose_keys_may_change(tmp_path, unflushed):
    config = asked_for()
    learner = build_learner(config, numbered(10))
    kept = flatten(portable(config))
    del kept["training.keep"]
    meta = {"position": Position()._asdict(), "config": kept}
    folder = snapshots.save(tmp_path / "step_0", first_state(config, learner), meta)
    changed = asked_for(**{"training.patience": 9, "data.valid": "a", "data.test": "b"})
    for one in (config, changed):
        assert position.load(folder, one, learner)[1] == Position()
