"""How much memory a process has taken, and the most that it may take."""

import re
import resource
import sys
from pathlib import Path
from typing import Any


def peak_rss() -> int:
    """The most memory that this process has had in use so far, in bytes, with all its libraries.

    On Linux from the process's own account: `getrusage` would begin with what the parent process had when it started
    this one.

    Returns:
        Bytes.
    """
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    match = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert match, "/proc/self/status has no line VmHWM"
    return int(match[1]) * 1024


def forbid_more_than(limit: int) -> None:
    """Let every allocation beyond a limit fail in this process, so that a wrong forecast does not stop the machine.

    Args:
        limit: bytes of private memory.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def temp_bytes(program: Any) -> int | None:
    """Ask a compiled program for the temporary memory that it takes.

    Args:
        program: what `jax.jit(...).lower(...).compile()` gives.

    Returns:
        Bytes; None where the compiler for this device does not say.
    """
    analysis = program.memory_analysis()
    return analysis.temp_size_in_bytes if analysis else None
