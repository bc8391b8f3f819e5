"""A length in minutes becomes one in updates, once, before the run begins."""

import itertools
from types import SimpleNamespace

import pytest

from jaxrnn.config import length
from jaxrnn.running import pace, runs


@pytest.fixture
def clock(monkeypatch):
    """A clock that is looked at after each dispatch: one is slow at first, one is held up later."""
    looks = itertools.accumulate([100.0, 0.5, 0.25, 1.5, 0.75])
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: next(looks)))


def test_minutes_are_measured_once_and_kept_as_updates(jaxrnn, settings, tmp_path, clock):
    words = settings(training__length="1 minutes", training__validate_every=8, sampling__length=1)
    said = jaxrnn("train", *words, "--run", tmp_path / "run", "--json")
    update = 0.75 / 2  # the median of 0.25, 1.5 and 0.75 seconds, for two updates, when half a second has passed
    validation = update / 3 * 40 / (4 * 8 * 2)  # a third of an update for each 64 symbols, 40 symbols
    updates = round(60 / (update + validation / 8))
    assert said.answer["updates"] == updates
    _, config = runs.find(tmp_path / "run")
    assert config.training.length == f"{updates} updates"
    assert length(config.training) == (updates, "updates")
    again = jaxrnn("train", "--run", tmp_path / "run", "--resume", "--json")
    assert again.answer["loss"] == said.answer["loss"]
