"""A length in minutes becomes one in updates, once, before the run begins."""

import itertools
from types import SimpleNamespace

import pytest

from jaxrnn.config import Config, Training, length
from jaxrnn.running import pace, runs
from jaxrnn.running.experiment import Experiment


@pytest.fixture
def clock(monkeypatch):
    """A clock that is looked at after each dispatch: one is slow at first, one is held up later."""
    looks = itertools.accumulate([100.0, 0.25, 0.125, 0.75, 0.375])
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: next(looks)))


def test_minutes_are_measured_once_and_kept_as_updates(jaxrnn, settings, tmp_path, clock, compiled):
    words = settings(training__length="1 minutes", training__validate_every=8, sampling__length=1)
    said = jaxrnn("train", *words, "--run", tmp_path / "run", "--json")
    assert compiled["jit(train_step)"] == compiled["jit(first_state)"] == 1  # for the pace and for the run
    update = 0.375 / 2  # the median of 0.125, 0.75 and 0.375 seconds, for two updates, when a quarter second has passed
    validation = update / 3 * 40 / (4 * 8 * 2)  # a third of an update for each 64 symbols, 40 symbols
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


def test_a_validation_costs_no_more_than_its_text_is_long(monkeypatch):
    monkeypatch.setattr(pace, "_seconds_per_update", lambda *_: 0.1)
    config = Config(training=Training(length="1 minute", validate_every=1))  # of 200,000 targets
    experiment = Experiment(config, None, SimpleNamespace(ids={"valid": range(2049)}), None, None, 0, None)
    assert pace.fix_length(experiment, None).updates == round(60 / (0.1 + 0.1 / 3))  # an update has 64 * 32 targets
