"""What the C library is told about large buffers."""

import subprocess
import sys

import pytest

from jaxrnn import allocator

FAULTS = """
import resource, sys
import numpy as np
from jaxrnn.allocator import keep_buffers
if "keep" in sys.argv:
    assert keep_buffers()
np.ones(1 << 22).sum()                                       # the first 32 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    np.ones(1 << 22).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*words):
    said = subprocess.run([sys.executable, "-c", FAULTS, *words], capture_output=True, text=True, check=True)
    return int(said.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is the C library of Linux")
def test_kept_buffers_are_not_cleared_again():
    assert page_faults("keep") < page_faults() / 10


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_buffers()
