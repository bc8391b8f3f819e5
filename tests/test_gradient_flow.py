"""The benchmark of gradient flow runs in a small setting; its measures are tested in tests/analysis."""

import json

import numpy as np
import pytest

pytest.importorskip("tyro", reason="the benchmarks are commands: pip install -e '.[bench]'")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from benchmarks import gradient_flow, stdlib  # noqa: E402

pytestmark = pytest.mark.usefixtures("default_settings")
SETTING = gradient_flow.Setting(hidden=4, rows=2, steps=5, updates=2, lags=6, losses=2, seeds=(0, 1))


def test_the_rows_and_the_picture(monkeypatch):
    """On a text of random symbols; a row for each network before and after, and a ratio for each seed."""
    texts = {split: np.random.default_rng(0).integers(0, 5, 100) for split in ("train", "valid")}
    monkeypatch.setattr(stdlib, "symbols", lambda: (texts, 5))
    monkeypatch.setattr(gradient_flow, "CELLS", {name: gradient_flow.CELLS[name] for name in ("RNN", "LSTM")})
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        found = gradient_flow.measure(SETTING)
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
    assert found == json.loads(json.dumps(found)) | {"setting": found["setting"]}
    keys = [(row["cell"], row["seed"], row["updates"]) for row in found["rows"]]
    assert keys == [(cell, seed, updates) for cell in ("RNN", "LSTM") for seed in (0, 1) for updates in (0, 2)]
    for row in found["rows"]:
        assert len(row["curve"]) == 6 and row["curve"][0] == 0 and 1 <= row["lag"]["mean"] <= 6
    after = {(row["cell"], row["seed"]): row["lag"]["mean"] for row in found["rows"] if row["updates"]}
    assert found["ratios_to_rnn"] == {"LSTM": [after["LSTM", seed] / after["RNN", seed] for seed in (0, 1)]}
    assert found["rows"][0]["curve"] != found["rows"][1]["curve"]
    gradient_flow.picture(found)


def test_what_is_said_of_lags():
    """Of two rows, one halves at each step and is below 1 % at lag 8; the other stays, and is counted as the last."""
    lags = jnp.arange(10.0)
    norms = jnp.stack([-jnp.log(2.0) * lags, 0 * lags], axis=-1)[None]
    row = gradient_flow._describe(norms, jnp.log(8.0))
    assert row["bits"] == pytest.approx(3)
    assert row["lag"] == {"mean": 9, "spread": 1, "median": 9, "not_reached": 0.5}
    assert row["curve"][2] == pytest.approx(-np.log10(2), abs=1e-4)  # the mean of two halvings and none
