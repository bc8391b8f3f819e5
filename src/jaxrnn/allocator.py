"""How the C library handles large buffers: kept from step to step, instead of given back and asked for again.

A train step allocates the same large buffers each time. Under glibc a buffer above its threshold is mapped anew at
every step, and the system clears each of its pages at the first touch: some microseconds for 4 KiB, which can be a
third of the time of a small language model's step. Buffers that are kept are cleared once.
"""

import ctypes
import sys

# From malloc.h; these numbers are part of glibc's interface.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_buffers() -> bool:
    """Let glibc keep the memory that is freed, for the allocations to come.

    Three settings of `mallopt` (see its manual page): nothing is mapped apart, the top of the heap is never trimmed,
    and all threads share one arena. The last because XLA allocates from threads of its own, whose arenas cannot grow
    beyond 64 MiB and would map every larger buffer apart.

    Call it before the first array is made: arenas that exist stay.

    Returns:
        Whether it was done; False where the C library is not glibc.

    Cost:
        The process keeps the most memory that it has needed. Parts of it may lie fallow between buffers.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    done = [mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, 2**31 - 1)]
    return all(done)
