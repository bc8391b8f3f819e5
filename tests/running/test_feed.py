"""What each dispatch reads: over the positions alone, without a device."""

from collections import Counter

import numpy as np
import pytest
from msgspec.structs import replace

from jaxrnn.config import Config, Data, Optimizer, Training
from jaxrnn.data.chunks import make_streams, number_of_chunks, read
from jaxrnn.errors import InputError
from jaxrnn.running.experiment import Experiment, _check_lap, epoch_streams, updates_per_epoch
from jaxrnn.running.feed import next_chunks
from jaxrnn.running.position import Position


def experiment(ids=61, updates=20, batch_size=2, chunk_length=4, **training):
    config = Config(data=Data(batch_size=batch_size, chunk_length=chunk_length), training=Training(**training))
    streams = make_streams(np.arange(ids), batch_size, chunk_length, drop_tail=True)
    return Experiment(config, None, None, streams, None, updates, None)  # what reading needs


def dispatches(made):
    """Run through all dispatches; the positions after each, and the chunks."""
    position, seen = Position(), []
    while position.updates < made.updates:
        chunks, position = next_chunks(made, position)
        seen.append((chunks, position))
    return seen


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("updates_per_dispatch", [1, 2, 5])
def test_every_target_of_an_epoch_is_learned_once_in_order(accumulate, updates_per_dispatch):
    made = experiment(accumulate=accumulate, updates_per_dispatch=updates_per_dispatch)
    per_epoch = updates_per_epoch(made.config, made.streams)
    made = made._replace(updates=2 * per_epoch)
    seen = dispatches(made)
    assert {chunks.weight.shape for chunks, _ in seen} == {(updates_per_dispatch, accumulate, 4, 2)}
    learned = Counter(int(t) for chunks, _ in seen for t in chunks.targets[chunks.weight > 0])
    assert learned == dict.fromkeys(range(1, 61), 2)
    places = [(chunks.inputs.reshape(-1, 4, 2), chunks.weight.reshape(-1, 8)) for chunks, _ in seen]
    kept = [chunk for inputs, weights in places for chunk, w in zip(inputs, weights, strict=True) if w.any()]
    expected = [read(made.streams, index).inputs for _ in range(2) for index in range(number_of_chunks(made.streams))]
    assert np.array_equal(kept, expected)
    assert [position.epoch for _, position in seen][-1] == 2 and seen[-1][1].chunk == 0
    assert seen[-1][1].updates == made.updates


@pytest.mark.parametrize("updates", [1, 4, 7, 8, 9, 20])
def test_a_run_makes_exactly_its_updates(updates):
    made = experiment(updates=updates, accumulate=2, updates_per_dispatch=3)
    seen = dispatches(made)
    real = sum(int(update.any()) for chunks, _ in seen for update in chunks.weight)
    assert real == updates == seen[-1][1].updates


def test_with_random_lengths_every_epoch_has_its_own_cuts_and_all_targets():
    made = experiment(ids=401)
    config = Config(data=Data(batch_size=2, chunk_length=20, chunk_spread=3.0))
    streams = make_streams(np.arange(401), 2, 26, drop_tail=True)
    made = made._replace(config=config, streams=epoch_streams(config, streams, 0))
    made = made._replace(updates=2 * updates_per_epoch(config, made.streams))
    seen = dispatches(made)
    learned = Counter(int(t) for chunks, _ in seen for t in chunks.targets[chunks.weight > 0])
    assert learned == dict.fromkeys(range(1, 401), 2)
    steps = [int(chunks.weight[0, 0, :, 0].sum()) for chunks, _ in seen]
    assert seen[-1][1].epoch == 2 and steps[: len(steps) // 2] != steps[len(steps) // 2 :]
    assert sorted(steps[: len(steps) // 2]) == sorted(steps[len(steps) // 2 :])


def test_on_a_circle_every_row_goes_on_over_the_end_of_an_epoch():
    made = experiment(ids=60, updates=40)
    config = Config(data=Data(batch_size=2, chunk_length=4, circular=True))
    made = made._replace(config=config, streams=epoch_streams(config, made.streams, 0))
    assert updates_per_epoch(config, made.streams) == 7  # the last step of each row is left to the next lap
    inputs = np.concatenate([chunks.inputs[0, 0] for chunks, _ in dispatches(made)])
    assert np.array_equal(inputs, (np.arange(160)[:, None] + [0, 29]) % 59)


def test_on_a_circle_no_update_is_filled_up():
    config = Config(data=Data(circular=True), training=Training(accumulate=3))
    with pytest.raises(InputError, match="training.accumulate = 3: expected a divisor of 7, the chunks of a lap"):
        _check_lap(config, epoch_streams(config, experiment(ids=60).streams, 0))
    _check_lap(config, epoch_streams(config, experiment(ids=52).streams, 0))
    _check_lap(Config(training=Training(accumulate=3)), experiment(ids=60).streams)


def test_a_dispatch_never_crosses_the_end_of_an_epoch():
    made = experiment(updates=10, updates_per_dispatch=5)  # 8 chunks an epoch
    assert [(p.updates, p.epoch, p.chunk) for _, p in dispatches(made)] == [(5, 0, 5), (8, 1, 0), (10, 1, 2)]


@pytest.mark.parametrize(("share", "ends"), [(0.0, [4, 8, 12, 16, 20]), (0.5, [4, 8, 10, 14, 16, 20])])
def test_a_dispatch_ends_where_an_average_begins(share, ends):
    made = experiment(updates_per_dispatch=4)
    made = made._replace(config=replace(made.config, optimizer=Optimizer(average_last=share)))
    assert [position.updates for _, position in dispatches(made)] == ends
