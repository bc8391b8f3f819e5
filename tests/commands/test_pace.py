"""A length in minutes becomes one in updates, once, before the run begins."""

import itertools
from types import SimpleNamespace

import pytest

from jaxrnn.config import Config, Training, length
from jaxrnn.running import pace, runs
from jaxrnn.running.experiment import Experiment


@pytest.fixture
def clock(monkeypatch):
    """A clock that is looked at around a score, and after each dispatch: one is slow at first, one is held up later."""
    looks = itertools.accumulate([99.0, 0.5, 0.5, 0.25, 0.125, 0.75, 0.375])
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: next(looks)))


def test_minutes_are_measured_once_and_kept_as_updates(jaxrnn, settings, tmp_path, clock, compiled):
    words = settings(training__length="1 minutes", training__validate_every=8, sampling__length=1)
    said = jaxrnn("train", *words, "--run", tmp_path / "run", "--json")
    assert compiled["jit(train_step)"] == compiled["jit(first_state)"] == 1  # for the pace and for the run
    update = 0.375 / 2  # the median of 0.125, 0.75 and 0.375 seconds, for two updates, when a quarter second has passed
    validation = 0.5 * 2  # of a chunk, with 4 times 8 of the 40 targets, and of the next
    updates = round(60 / (update + validation / 8))
    assert said.answer["updates"] == updates
    _, config = runs.find(tmp_path / "run")
    assert config.training.length == f"{updates} updates"
    assert length(config.training) == (updates, "updates")
    again = jaxrnn("train", "--run", tmp_path / "run", "--resume", "--json")
    assert again.answer["loss"] == said.answer["loss"]
    (tmp_path / "minutes.toml").write_text('[training]\nlength = "1 minutes"\n')  # by the file that began it, too
    words = settings(training__validate_every=8, sampling__length=1)
    at = words.index("--training.length")
    words = [tmp_path / "minutes.toml", *words[:at], *words[at + 2 :], "--run", tmp_path / "run", "--resume"]
    assert jaxrnn("train", *words, "--json").answer["loss"] == said.answer["loss"]
    refused = jaxrnn("train", *words, "--training.length", "2 minutes")
    assert refused.code == 2 and "lengthen it by updates or epochs" in refused.err


@pytest.mark.parametrize(("targets", "chunks"), [(40, 1), (2048, 1), (2049, 2), (3 * 2048 + 1, 4), (300_000, 98)])
def test_a_validation_takes_as_long_as_its_chunks(monkeypatch, targets, chunks):
    """One of them is scored twice, the second time by the clock; of a long text only 200,000 targets count."""
    clock, scored = iter([7.0, 7.5]), []
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(pace, "_seconds_per_update", lambda *_: 0.25)
    config = Config(training=Training(length="10 minutes", validate_every=2))
    dataset = SimpleNamespace(ids={"valid": range(targets + 1)})
    experiment = Experiment(config, None, dataset, None, None, 0, None)
    programs = SimpleNamespace(beginning=lambda: SimpleNamespace(params="drawn"))

    def score(params, ids, name):
        scored.append((params, ids))

    assert pace.fix_length(experiment, programs, score).updates == round(600 / (0.25 + 0.5 * chunks / 2))
    assert scored == [("drawn", range(min(targets, 64 * 32) + 1))] * 2
