"""The contenders compute the same gradient, and what is measured of them is put together rightly."""

import numpy as np
import pytest

pytest.importorskip("tyro", reason="the benchmarks want their own extra: pip install -e '.[bench]'")

from benchmarks import contenders, long_sequence  # noqa: E402

STEPS, HIDDEN = 50, 3


@pytest.fixture(scope="module")
def exact():
    return contenders.CONTENDERS["scan"](STEPS, HIDDEN, "float64").call()


@pytest.mark.parametrize("name", ["bptt", "checkpointed", "spooled"])
def test_all_of_jaxrnn_give_the_gradient_of_the_plain_scan(name, exact, unflushed):
    found = contenders.CONTENDERS[name](STEPS, HIDDEN, "float64").call()
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 * np.abs(exact).max())


def test_forward_mode_is_its_product_with_the_direction(exact):
    along = contenders.flat(contenders.direction(contenders.model(HIDDEN, "float64")[1]))
    np.testing.assert_allclose(contenders.CONTENDERS["forward"](STEPS, HIDDEN, "float64").call(), exact @ along, 1e-12)


def test_a_contender_runs_in_a_process_of_its_own():
    row = long_sequence.run("bptt", STEPS, HIDDEN)
    assert row["seconds_per_step"] > 0 and row["temp_bytes"] > STEPS * HIDDEN * 4
    assert 50e6 < row["peak_rss_bytes"] < 2e9


@pytest.fixture
def straight(monkeypatch):
    """Contenders that take 100 bytes, and one more for each step; "flax" is missing, "torch" fails beyond 20 steps."""

    def run(name, steps, hidden, *options, rounds=1):
        if name == "flax":
            return {"missing": "flax"}
        if name == "torch" and steps > 20:
            raise long_sequence.subprocess.CalledProcessError(1, name)
        return {"peak_rss_bytes": 100 + steps, "temp_bytes": steps, "seconds_per_step": 1e-6}

    monkeypatch.setattr(long_sequence, "run", run)
    return long_sequence.Setting(peers=10, limit=200)


def test_peers_grow_to_the_limit_and_no_further(straight):
    *measured, forecast = long_sequence.grow("bptt", straight)
    assert [row["steps"] for row in measured] == [10, 20, 40, 80]
    assert all(row["measured"] for row in measured)
    assert forecast == {"name": "bptt", "steps": 160, "peak_rss_bytes": 260, "measured": False}


def test_a_peer_that_fails_has_reached_its_end(straight):
    assert [(row["steps"], row["measured"]) for row in long_sequence.grow("torch", straight)] == [
        (10, True),
        (20, True),
        (40, False),
    ]


def test_a_peer_that_is_not_installed_is_said_to_be_missing(straight):
    assert long_sequence.grow("flax", straight) == [{"name": "flax", "steps": 10, "missing": "flax"}]


def test_one_length_has_all_that_it_promises(straight):
    row = long_sequence.one_length("checkpointed", 70, 3, plain=30)
    assert row["steps"] == 70 and row["plain_steps"] == 30 and row["plain_seconds_per_step"] == 1e-6
    assert {"peak_rss_bytes", "temp_bytes", "seconds_per_step"} <= set(row)
