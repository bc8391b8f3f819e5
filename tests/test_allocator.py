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


GIVEN_BACK = """
import re
from pathlib import Path
import jax
from jaxrnn.allocator import keep_buffers

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

assert keep_buffers()
jax.jit(lambda x: x + 1).lower(1.0).compile()                # the compiler itself takes memory, once
small = [bytearray(50_000) for _ in range(2_000)]
kept = small[::2]                                            # between them nothing large fits
del small
before = resident()
jax.jit(lambda x: x + 2).lower(1.0).compile()
print(before - resident())
"""

ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is the C library of Linux")


def said(program, *words):
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    return int(done.stdout)


def page_faults(*words):
    return said(FAULTS, *words)


@ON_LINUX
def test_kept_buffers_are_not_cleared_again():
    assert page_faults("keep") < page_faults() / 10


@ON_LINUX
def test_what_lies_fallow_is_given_back_after_a_compilation():
    assert said(GIVEN_BACK) > 20_000  # kB, of the 50,000 that are free


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_buffers()
