"""Signals: Ctrl-C and its like ask a training for an orderly stop."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Stop:
    """Whether somebody wants the program to stop. Call it to know.

    Attributes:
        received: the signal that said so, or None.
    """

    received: signal.Signals | None = None

    def __call__(self) -> bool:
        """Tell whether a signal has come."""
        return self.received is not None


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Let Ctrl-C, SIGTERM and a terminal that goes away ask for an orderly stop; a second one ends the process at once.

    A second SIGHUP does not, for a shell and the system each send one. One that is ignored, as under `nohup`, stays
    so. Python hears signals in its main thread only; in another one nothing changes.

    Yields:
        What says whether a signal has come.
    """
    stop = Stop()
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none

    def handle(number, frame):
        del frame
        if not stop():
            stop.received = signal.Signals(number)
            with suppress(OSError):  # what is under way may be a validation of a minute
                os.write(
                    2, b"\nstopping: the current update or validation is finished first, then everything is saved\n"
                )
        elif number != hangup:
            with suppress(OSError):  # there may be no terminal any more
                os.write(2, b"\x1b[?25h\n" if sys.stderr.isatty() else b"\n")  # give it its cursor back
            os._exit(128 + number)

    hangups = () if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN else (hangup,)
    signals: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, *hangups)
    heard = signals if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
