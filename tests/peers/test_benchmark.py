"""The implementations that the benchmark of peers times compute the same, in a tiny size of every row."""

import jax
import numpy as np
import pytest

pytest.importorskip("tyro", reason="the benchmarks are commands: pip install -e '.[bench]'")

from benchmarks.peers import contest, worker  # noqa: E402
from benchmarks.peers.implementations import jaxrnn  # noqa: E402
from benchmarks.peers.prepared import Prepared  # noqa: E402
from benchmarks.peers.rows import compared, sized, start  # noqa: E402

pytestmark = [pytest.mark.usefixtures("default_settings"), pytest.mark.filterwarnings("ignore")]

PEERS = ("torch", "linen", "nnx", "equinox", "haiku", "keras")


@pytest.fixture(scope="module")
def in_haste():
    """Programs are compiled without care: what counts is what they compute."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def prepare(in_haste, monkeypatch):
    """Prepare an implementation in this process, which stays as it is."""
    monkeypatch.setattr(jaxrnn.devices, "prepare", lambda config: None)

    def prepare(name, row) -> Prepared:
        prepared = worker.prepare(name, row)
        if isinstance(prepared, dict):
            pytest.skip(prepared["missing"])
        return prepared

    return prepare


@pytest.fixture(scope="module")
def own():
    """What jaxrnn computes, by row: once for all peers."""
    return {}


# Every cell, one and two layers, tied or not, symbols or numbers; what is left differs in size alone.
@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("row", ["better_rnnlm", "seqmnist", "gru", "elman"])
def test_two_updates_are_the_same(row, name, prepare, own):
    tiny = compared(sized(row, "small"))
    peer = worker.two_updates(prepare(name, tiny))
    if row not in own:
        own[row] = worker.two_updates(prepare("jaxrnn", tiny))
    said = contest.difference(tiny, peer, own[row])
    assert said["loss"] < 1e-5 and said["update"] < contest.TOLERANCE


@pytest.mark.parametrize("name", ["jaxrnn", *PEERS])
def test_dropout_is_there(name, prepare):
    """The losses of a model that drops half of its units are others, and differ between updates of rate 0."""
    row = sized("better_rnnlm", "small")._replace(rate=1e-30)
    noisy = prepare(name, row)
    assert len({noisy.run(1) for _ in range(3)}) == 3
    assert set(noisy.weights()) == set(start(row))


def test_a_difference_is_found():
    row = sized("elman", "small")
    same = {"losses": np.array([2.0, 1.0]), **{name: value + 1 for name, value in start(row).items()}}
    assert contest.difference(row, same, same) == {"loss": 0.0, "update": 0.0}
    other = same | {"losses": np.array([2.0, 1.5]), "b_0": same["b_0"] + 0.25}
    said = contest.difference(row, other, same)
    for array in start(row):  # wherever it is
        broken = contest.difference(row, same | {array: same[array] * np.nan}, same)
        assert np.isnan(broken["update"])
    assert said["loss"] == 0.5 and said["update"] == pytest.approx(0.25, rel=1e-5)
