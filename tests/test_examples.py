"""Every example in a docstring and in the README does what it says, under JAX's default settings."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import jaxrnn

pytestmark = pytest.mark.usefixtures("default_settings")

README = Path(__file__).parents[1] / "README.md"
MODULES = ["jaxrnn", *(module.name for module in pkgutil.walk_packages(jaxrnn.__path__, "jaxrnn."))]


def run(example):
    """Run one doctest; what differs is the message of the failure."""
    report = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert result.failed == 0, "".join(report)
    return result.attempted


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    for example in doctest.DocTestFinder().find(importlib.import_module(name)):
        run(example)


def test_readme():
    """All examples of the README in a row, as a reader would type them."""
    text = re.sub(r"^```.*$", "", README.read_text("utf-8"), flags=re.MULTILINE)
    assert run(doctest.DocTestParser().get_doctest(text, {}, "README", str(README), 0)) > 0
