"""A length in minutes becomes one in updates, once, before the run begins."""

import itertools
from types import SimpleNamespace

import pytest

from jaxrnn.config import length
from jaxrnn.running import pace, runs


@pytest.fixture
def clock(monkeypatch):
    """A clock on which each look takes a second."""
    ticks = itertools.count(1)
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


def test_minutes_are_measured_once_and_kept_as_updates(jaxrnn, settings, tmp_path, clock):
    words = settings(training__length="1 minutes", training__validate_every=8, sampling__length=1)
    said = jaxrnn("train", *words, "--run", tmp_path / "run", "--json")
    # Looks at the clock: at the start, before two more dispatches of two updates each, when they are over, at the end.
    update = (5 - 1) / (2 * 2)
    validation = update / 3 * 40 / (4 * 8 * 2)  # a third of an update for each 64 symbols, 40 symbols
    updates = round(60 / (update + validation / 8))
    assert said.answer["updates"] == updates
    _, config = runs.find(tmp_path / "run")
    assert config.training.length == f"{updates} updates"
    assert length(config.training) == (updates, "updates")
    again = jaxrnn("train", "--run", tmp_path / "run", "--resume", "--json")
    assert again.answer["loss"] == said.answer["loss"]
