"""Strict numerics for every test, and the folder of real data for those that want it.

Float64 is on, a silent promotion of dtype or rank is an error, and so is any warning (pyproject.toml). The examples in
the docstrings are run under JAX's default settings instead (test_examples.py).
"""

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import jax
import pytest

# Most of a test's time is compilation, for a program that runs once: half of it goes without optimisation, with the
# older emitter of fused loops, and with one piece of machine code a program. Whoever names a flag gets what it says:
# XLA_FLAGS=--xla_backend_optimization_level=3 comes nearer to how programs are compiled outside of tests.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)


def known(flags):
    """Tell whether this version of XLA knows flags: those that it does not know end the process."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True).returncode == 0


if "PYTEST_XDIST_WORKER" not in os.environ and known(QUICK):  # workers inherit them
    os.environ["XLA_FLAGS"] = f"{QUICK} {os.environ.get('XLA_FLAGS', '')}".strip()

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


@pytest.fixture(scope="session", autouse=True)
def buffers_as_they_come():
    """A command that runs in the tests' own process does not change how it allocates: programs would compile slowly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxrnn.running.devices.keep_buffers", lambda: False)
        yield


@pytest.fixture
def unflushed(monkeypatch):
    """Spares a test the waiting for the disk; that everything is flushed in time is for test_folders.py to show."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
