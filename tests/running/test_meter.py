"""From the metrics of a dispatch to lines and words; every update once, late or not."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.errors import InputError
from jaxrnn.running import runs
from jaxrnn.running.meter import Meter
from jaxrnn.running.progress import Progress
from jaxrnn.training import Metrics


@pytest.fixture
def made(tmp_path):
    """A meter, its run, and what the user was shown."""
    shown = []
    run = runs.create(tmp_path / "run", {})
    return Meter(run, Progress(lambda *what: shown.append(what), shown.append), "char", max_skipped=3), run, shown


def metrics(losses, weights=None, in_a_row=None):
    """Metrics of some updates; those not finite are skipped."""
    losses = np.array(losses)
    ones = np.ones(len(losses))
    skipped = ~np.isfinite(losses)
    row = np.array(in_a_row if in_a_row is not None else skipped.astype(int))
    weights = ones if weights is None else np.array(weights, float)
    return Metrics(ones, losses, weights, ones, ones > 0, ones, ones, ones, skipped, row)


def test_metrics_are_read_when_the_next_ones_come(made):
    meter, run, shown = made
    meter.put(metrics([1.0, 2.0]), 0, 2)
    assert runs.metrics(run) == [] and shown == []
    meter.put(metrics([3.0]), 2, 3)
    assert [row["step"] for row in runs.metrics(run)] == [1, 2]
    meter.pause()
    meter.flush()
    assert [row["step"] for row in runs.metrics(run)] == [1, 2, 3]
    assert [row["loss"] for row in runs.metrics(run)] == [1.0, 2.0, 3.0]
    assert [done for done, _ in shown] == [2, 3]


def test_metrics_that_are_there_are_read_at_once(made, monkeypatch):
    """As on a CPU, where a dispatch has ended before it is put: else its time would be that of the next one."""
    meter, run, _ = made
    there = jax.block_until_ready(jax.tree.map(jnp.asarray, metrics([1.0], weights=[50])))
    reads = iter([100.0, 101.0, 102.0, 103.0])
    monkeypatch.setattr("jaxrnn.running.meter.time.monotonic", lambda: next(reads))
    for step in range(4):
        meter.put(there, step, step + 1)
        assert len(runs.metrics(run)) == step + 1
    meter.pause()
    assert (meter.symbols, meter.seconds) == (150, 3.0)


def test_updates_that_only_fill_up_a_dispatch_are_not_reported(made):
    meter, run, _ = made
    meter.put(metrics([1.0, 0.0, 0.0], weights=[4, 0, 0]), 7, 8)
    meter.flush()
    assert [(row["step"], row["loss"]) for row in runs.metrics(run)] == [(8, 0.25)]


def test_the_loss_shown_is_smooth_and_in_bits(made):
    meter, _, shown = made
    meter.put(metrics([math.log(2)]), 0, 1)
    meter.put(metrics([3 * math.log(2)]), 1, 2)
    meter.flush()
    assert meter.bits == pytest.approx(0.95 * 1 + 0.05 * 3)
    assert shown[-1][1].startswith("loss 0.762  1.100 bits/char")


def test_pauses_do_not_count_as_training(made, monkeypatch):
    meter, run, _ = made
    reads = iter([101.0, 102.0, 103.0, 201.0, 202.0])  # the first after a pause, or a compilation, starts the clock
    monkeypatch.setattr("jaxrnn.running.meter.time.monotonic", lambda: next(reads))
    for step in range(3):
        meter.put(metrics([1.0], weights=[50]), step, step + 1)
    meter.pause()
    for step in range(3, 6):
        meter.put(metrics([1.0], weights=[50]), step, step + 1)
    assert (meter.symbols, meter.seconds) == (150, 3.0)
    assert runs.metrics(run)[-1]["tokens_per_second"] == 50.0


def test_skipped_updates_are_counted_shown_and_at_last_too_many(made):
    meter, run, shown = made
    meter.put(metrics([1.0, math.nan]), 0, 2)
    meter.put(metrics([1.0, math.inf, math.nan], in_a_row=[0, 1, 2]), 2, 5)
    meter.flush()
    assert meter.skipped == 3 and shown[-1][1].endswith("3 skipped, not finite")
    assert [row["skipped"] for row in runs.metrics(run)] == [False, True, False, True, True]
    assert runs.metrics(run)[1]["loss"] is None
    assert meter.bits == pytest.approx(1 / math.log(2))
    meter.put(metrics([math.nan] * 3 + [1.0], in_a_row=[1, 2, 3, 0]), 5, 9)  # too many, however it goes on
    with pytest.raises(InputError, match="3 updates in a row, up to update 8, "):
        meter.flush()
    for kept in ("no snapshot was saved yet", f"the last good snapshot stays in {run.snapshots}"):
        meter.put(metrics([math.nan], in_a_row=[3]), 5, 6)
        with pytest.raises(InputError, match=f"optimizer.rate: .* 3 updates in a row, up to update 6, .*{kept}"):
            meter.flush()
        run.snapshots.mkdir(exist_ok=True)
