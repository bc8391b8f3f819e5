"""Strict numerics for every test, and the folder of real data for those that want it.

Float64 is on, a silent promotion of dtype or rank is an error, and so is any warning (pyproject.toml). The examples in
the docstrings are run under JAX's default settings instead (test_examples.py).
"""

import os
from pathlib import Path

import hypothesis
import jax
import pytest

# Most of a test's time is compilation, for a program that runs once: a fifth less without optimisation. Whoever names a
# level gets that one: XLA_FLAGS=--xla_backend_optimization_level=3 is how programs are compiled outside of tests.
os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}".strip()

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples in every run, and no deadline: the first of them waits for the compiler.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("steady")


def pytest_collection_modifyitems(items):
    """Begin with the longest test: begun late, it would go on while the other processes have nothing left to do."""
    items.sort(key=lambda item: item.name != "test_on_eight_devices")


def pytest_addoption(parser):
    parser.addoption("--data", metavar="FOLDER", help="folder of real data sets (default: JAXRNN_DATA)")


@pytest.fixture(scope="session")
def data(request) -> Path:
    """The folder of real data sets; a test that wants it is skipped where there is none."""
    named = request.config.getoption("--data") or os.environ.get("JAXRNN_DATA")
    if not named:
        pytest.skip("no real data: give --data FOLDER or set JAXRNN_DATA")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"the folder of real data, {folder}, does not exist: mend --data or JAXRNN_DATA")
    return folder


@pytest.fixture
def default_settings():
    """What JAX does where nobody has asked for anything else: the settings of a reader who types an example."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def unflushed(monkeypatch):
    """Spares a test the waiting for the disk; that everything is flushed in time is for test_folders.py to show."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
