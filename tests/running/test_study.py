"""The study of a model goes on where one of its parts has nothing to measure."""

import jax
import numpy as np
import pytest

from jaxrnn.analysis import figures
from jaxrnn.cells import gru
from jaxrnn.compose import language_model
from jaxrnn.running import study

SYMBOLS = 5


@pytest.fixture
def compiled_in_haste():
    """What is compiled here runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize("value", [0.0, np.inf])
def test_where_the_gradient_is_nothing_or_not_finite_all_but_horizons_is_there(value, monkeypatch):
    """A readout of zeros gives no credit to what is below it, one of infinities none that is a number."""
    monkeypatch.setattr(study, "HORIZONS", (4,))
    cell = language_model(gru(3, 4), SYMBOLS)
    params = cell.init(jax.random.key(0))
    broken = params | {"readout": jax.tree.map(lambda a: a * 0 + value, params["readout"])}
    ids = np.random.default_rng(0).integers(0, SYMBOLS, 400)
    studied = study.Subject(cell, broken, params, ("one", "other"), None, None, ids)
    credit = study.follow_credit(studied, begin=lambda stage: None)
    assert credit.bias is None and credit.answer.startswith("Horizons could not be measured: ")
    assert "the norm of the exact gradient is" in credit.answer and credit.layers == ("core",)
    assert np.isfinite(np.asarray(credit.untrained.mean_log)).all()
    drawn = figures.gradient_flow({"trained": credit.trained, "untrained": credit.untrained})
    assert "0, or not finite, from the first lag on (trained)" in drawn.caption
