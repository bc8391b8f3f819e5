"""When the loop validates and stops: over the positions alone, without a device."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from jaxrnn.averaging import Averaged
from jaxrnn.config import Config, Optimizer, Training
from jaxrnn.evaluation import Score
from jaxrnn.running import trainer
from jaxrnn.running.experiment import Experiment
from jaxrnn.running.position import Position
from jaxrnn.running.trainer import averaging_due, finished, validation_due
from jaxrnn.training import TrainState


def experiment(updates=20, **training):
    config = Config(training=Training(**training))
    return Experiment(config, None, None, None, None, updates, None)  # what the loop's decisions need


def test_validation_comes_at_each_multiple_and_at_the_end_once():
    made = experiment(updates=10, validate_every=4)

    def due(updates, validated):
        return validation_due(made, Position(updates=updates, validated=validated))

    assert [updates for updates in range(11) if due(updates, updates // 4 * 4)] == [10]
    assert [updates for updates in range(11) if due(updates, max(updates // 4 * 4 - 4, 0))] == [4, 5, 6, 7, 8, 9, 10]
    assert not due(10, 10)


def test_a_run_is_finished_after_its_last_validation_or_its_patience():
    made = experiment(updates=10, patience=2)
    assert not finished(made, Position(updates=10, validated=8))
    assert finished(made, Position(updates=10, validated=10))
    assert finished(made, Position(updates=8, validated=8, stale=2))
    assert not finished(made, Position(updates=8, validated=8, stale=1))
    assert not finished(experiment(updates=10, patience=0), Position(updates=8, validated=8, stale=9))


@pytest.mark.parametrize(("after", "first"), [(0, 1), (1, 2), (2, None)])
def test_a_worse_score_begins_the_average_and_validation_sees_it(after, first, monkeypatch):
    """Worse than the best of all but the last ones; what is scored is the average, not the last parameters."""
    monkeypatch.setattr(trainer, "_save", lambda *arguments, **named: None)
    config = Config(optimizer=Optimizer(name="asgd", average_after=after))
    scored, scores = [], iter([2.0, 3.0, 2.5, 1.0])

    def validate(params):
        scored.append(float(params["w"]))
        return Score(next(scores), 1.0)

    kept = Averaged((), jnp.array(False), jnp.ones((), int), {"w": jnp.array(5.0)})
    state = TrainState(*[None] * len(TrainState._fields))._replace(params={"w": jnp.array(7.0)}, optimizer=kept)
    job = trainer.Job(experiment()._replace(config=config), None, None, validate, None, lambda *said: None, None)
    position, begun = Position(), []
    for _ in range(4):
        state, position = trainer._validate(job, state, position)
        begun.append(bool(state.optimizer.begun))
    assert begun == [first is not None and number >= first for number in range(4)] and scored == [5.0] * 4


@pytest.mark.parametrize(
    ("share", "first"), [(0.0, []), (0.02, []), (0.04, [19]), (0.25, [15]), (0.29, [14]), (0.5, [10]), (0.99, [1])]
)
def test_the_last_share_of_training_is_averaged(share, first):
    """From one update on; a share of less than half an update is none."""
    made = experiment(updates=20)._replace(config=Config(optimizer=Optimizer(average_last=share)))
    assert [n for n in range(1, 21) if averaging_due(made, n)] == first


def test_the_time_before_a_stop_counts(monkeypatch):
    saved, reads = [], iter([100.0, 103.0])
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(reads)))
    monkeypatch.setattr(trainer, "_save", lambda job, kind, state, position, keep: saved.append(position.seconds))
    made = Experiment(Config(), None, None, None, None, 20, None)
    quiet, none = SimpleNamespace(pause=lambda: None), SimpleNamespace(train_step=None)
    trainer.train(trainer.Job(made, none, None, None, quiet, None, lambda: True), None, Position(seconds=50.0))
    assert saved == [53.0]


def test_the_disk_has_the_metrics_before_the_snapshot(monkeypatch):
    order = []
    for module, name in ((trainer, "flush_metrics"), (trainer, "save"), (trainer.snapshots, "prune")):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: order.append(name))
    monkeypatch.setattr(trainer, "gathered", lambda state: state)
    job = SimpleNamespace(run=SimpleNamespace(snapshots=None), experiment=experiment())
    trainer._save(job, "step", None, Position(), keep=2)
    assert order == ["flush_metrics", "save", "prune"]
