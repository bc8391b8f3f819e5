"""How the C library handles large buffers: kept from step to step, instead of given back and asked for again.

A train step allocates the same large buffers each time. Under glibc a buffer above its threshold is mapped anew at
every step, and the system clears each of its pages at the first touch: some microseconds for 4 KiB, which can be a
third of the time of a small language model's step. Buffers that are kept are cleared once.

The compiler is another matter: what it leaves behind is in small pieces, between which no large buffer fits. So that
steps do not stand beside it, it goes back to the system after every compilation.
"""

import ctypes
import sys
from functools import cache
from typing import Any

import jax.monitoring

# From malloc.h; these numbers are part of glibc's interface.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8

_COMPILED = "/jax/core/compile/backend_compile_duration"


def keep_buffers() -> bool:
    """Let glibc keep the memory that is freed, for the allocations to come.

    Three settings of `mallopt` (see its manual page): nothing is mapped apart, the top of the heap is never trimmed,
    and all threads share one arena. The last because XLA allocates from threads of its own, whose arenas cannot grow
    beyond 64 MiB and would map every larger buffer apart.

    From then on what is free is given back after each compilation, which is the one time that it is not for a step.

    Call it before the first array is made: arenas that exist stay.

    Returns:
        Whether it was done; False where the C library is not glibc.

    Cost:
        The process keeps the most memory that its steps have needed. Parts of it may lie fallow between buffers. The
        compiler's threads wait for one another in the one arena: a program takes longer to compile.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    done = [mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)]
    _give_back_after_compilations()
    return all(done)


@cache
def _give_back_after_compilations() -> None:
    """Have free memory given back to the system at the end of each compilation: once, however often it is called."""
    malloc_trim = ctypes.CDLL(None).malloc_trim

    def give_back(event: str, duration_secs: float, **about: Any) -> None:
        del duration_secs, about
        if event == _COMPILED:
            malloc_trim(0)

    jax.monitoring.register_event_duration_secs_listener(give_back)
