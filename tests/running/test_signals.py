"""The first signal asks for a stop, and the second one ends the process."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxrnn.running.signals import stop_on_signals

WAITS = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where the tests themselves run under nohup
from jaxrnn.running.signals import stop_on_signals
with stop_on_signals() as stop:
    print("ready", flush=True)
    while not stop():
        time.sleep(0.01)
    print(stop.received.name, flush=True)
    time.sleep(60 if sys.argv[1] == "busy" else 0)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("then", ["done", "busy"])
def test_a_first_signal_asks_and_a_second_one_ends(number, then):
    words = [sys.executable, "-c", WAITS, then]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"{number.name}\n"
        if then == "busy":
            process.send_signal(number)
        assert process.wait(timeout=30) == (128 + number if then == "busy" else 0)
        assert "Traceback" not in process.stderr.read()


def test_a_terminal_that_goes_away_asks_and_may_say_so_twice():
    """Its shell and the system each do; a signal of another kind then ends."""
    with subprocess.Popen([sys.executable, "-c", WAITS, "busy"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "SIGHUP\n"
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143


def test_a_terminal_that_goes_away_ends_nothing_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone():
    def wait():
        with stop_on_signals() as stop:
            return stop()

    with ThreadPoolExecutor(1) as other:
        assert other.submit(wait).result() is False
