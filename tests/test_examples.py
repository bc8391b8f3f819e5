"""Every example in a docstring and in the README does what it says, under JAX's default settings."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import jax
import pytest

import jaxrnn

README = Path(__file__).parents[1] / "README.md"
MODULES = ["jaxrnn", *(module.name for module in pkgutil.walk_packages(jaxrnn.__path__, "jaxrnn."))]
DEFAULTS = {"jax_enable_x64": False, "jax_numpy_dtype_promotion": "standard", "jax_numpy_rank_promotion": "allow"}


@pytest.fixture(autouse=True)
def default_settings():
    """What JAX does where nobody has asked for anything else."""
    strict = {name: getattr(jax.config, name) for name in DEFAULTS}
    for name, value in DEFAULTS.items():
        jax.config.update(name, value)
    yield
    for name, value in strict.items():
        jax.config.update(name, value)


def run(example):
    """Run one doctest; what differs is the message of the failure."""
    report = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert result.failed == 0, "".join(report)
    return result.attempted


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "jaxrnn":
            raise
        pytest.skip(f"{name} is a bridge to {error.name}, which is not installed")
    for example in doctest.DocTestFinder().find(module):
        run(example)


def test_readme():
    """All examples of the README in a row, as a reader would type them."""
    text = re.sub(r"^```.*$", "", README.read_text("utf-8"), flags=re.MULTILINE)
    assert run(doctest.DocTestParser().get_doctest(text, {}, "README", str(README), 0)) > 0
