"""Several processes that train together, over loopback."""

import itertools
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import pytest
from jax._src import distributed

from agreement import assert_close
from jaxrnn import snapshots
from jaxrnn.config import Config, Parallel
from jaxrnn.errors import InputError
from jaxrnn.running import position, processes, runs
from jaxrnn.running.experiment import build_learner
from jaxrnn.running.processes import connect, of_first, together
from jaxrnn.running.run_text import kept_vocabulary

LENGTH = {"training__length": "50 updates", "training__validate_every": 25, "sampling__length": 1}
CALM = {"optimizer__name": "momentum", "optimizer__rate": 0.1}  # a rounding error must not grow while it learns


def free_port() -> int:
    """A port that nobody else takes before the processes meet: no system hands it out, and each worker has its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + 1000 * (worker % 12)
    return next(filter(is_free, random.sample(range(first, first + 1000), 1000)))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def start_together(*words, devices=(1, 1)):
    """Start a training in processes that have so many devices each."""
    meeting = ["--parallel.coordinator", f"127.0.0.1:{free_port()}", "--parallel.processes", str(len(devices))]
    environment = os.environ | {"JAX_ENABLE_X64": "1", "JAX_LOG_COMPILES": "1"}
    command = [sys.executable, "-m", "jaxrnn.train", *map(str, words), *meeting, "--parallel.process"]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return [
        subprocess.Popen([*command, str(own)], **piped, env=environment | {"JAX_NUM_CPU_DEVICES": str(number)})
        for own, number in enumerate(devices)
    ]


def read_all(started):
    """What processes say until they end. All at once: who is not read from waits, and the others for it."""
    with ThreadPoolExecutor(len(started)) as readers:
        try:
            return list(readers.map(lambda process: process.communicate(timeout=300)[0], started))
        finally:
            for process in started:
                process.kill()


def train_together(*words, devices=(1, 1)):
    """Train in two processes; what each of them says."""
    started = start_together(*words, devices=devices)
    said = read_all(started)
    assert [process.returncode for process in started] == [0, 0], said
    return said


def last_state(folder):
    """The state at the end of a run."""
    run, config = runs.find(folder)
    learner = build_learner(config, kept_vocabulary(run))
    newest = snapshots.newest(run.snapshots)
    assert newest is not None and newest.name == "step_50"
    return position.load(newest, config, learner)[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, settings, beforehand):
    """The run that one process with one device makes."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    said = beforehand("train", *settings(**LENGTH, **CALM), "--run", folder)
    assert said.code == 0, said
    return folder


def test_two_processes_train_as_one(settings, alone, tmp_path):
    """Dropout, chunks added up, an epoch's end, averages: and the second process leaves nothing and says nothing."""
    said = train_together(*settings(**LENGTH, **CALM), "--run", tmp_path / "run")
    assert_close(last_state(tmp_path / "run"), last_state(alone))
    assert "validation" in said[0] and "validation" not in said[1]
    assert [words.count("Finished XLA compilation of jit(train_step)") for words in said] == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    rows = [[row["loss"] for row in runs.metrics(runs.at(run))] for run in (tmp_path / "run", alone)]
    assert_close(*rows)


def test_two_processes_go_on_where_one_stopped(alone, tmp_path):
    shutil.copytree(alone, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "snapshots" / "step_50")
    said = train_together("--run", tmp_path / "run", "--resume", devices=(1, 2))  # each uses one
    assert "going on after update 25" in said[0]
    assert_close(last_state(tmp_path / "run"), last_state(alone))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--parallel.devices", "3"], "data.batch_size is 4; it must be a multiple of the 3 devices"),
        (["--parallel.devices", "128", "--data.batch_size", "128"], "parallel.devices is 128; it must be at most"),
        (["--parallel.process", "0"], "expected parallel.coordinator"),
        (["--parallel.coordinator", "10.0.0.1"], "parallel.coordinator = '10.0.0.1': expected \"auto\" or HOST:PORT"),
        (["--parallel.coordinator", "here:1"], "expected parallel.processes and parallel.process"),
        (
            ["--parallel.coordinator", "here:1", "--parallel.processes", "2", "--parallel.process", "2"],
            "expected 0 to 1",
        ),
        (["--parallel.coordinator", "auto", "--training.length", "1 minute"], "expected updates or epochs"),
    ],
)
def test_wrong_settings_are_refused_by_name(jaxrnn, settings, tmp_path, words, named):
    said = jaxrnn("train", *settings(), "--run", tmp_path / "run", *words)
    assert said.code == 2 and named in said.err and not (tmp_path / "run").exists()


def test_without_a_cluster_there_is_no_auto(settings, tmp_path):
    """In a process of its own: in this one JAX is in use already, which would be refused before."""
    words = [*settings(), "--run", str(tmp_path / "run"), "--parallel.coordinator", "auto"]
    command = [sys.executable, "-m", "jaxrnn", "train", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and not (tmp_path / "run").exists()
    assert "parallel.coordinator = 'auto': the processes could not reach each other" in done.stderr


def test_who_has_reached_nobody_asks_nobody(monkeypatch):
    """JAX keeps the client and the service of a connection that has failed."""
    shared = distributed.global_state
    for kept in ("client", "service"):
        monkeypatch.setattr(shared, kept, None)

    def initialize(*arguments):
        shared.client = shared.service = object()
        raise RuntimeError("nobody\nis there")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    config = Config(parallel=Parallel(coordinator="10.0.0.1:1234", processes=2, process=0))
    with pytest.raises(InputError, match="could not reach each other: nobody is there"), together("beginning"):
        connect(config)
    assert shared.client is None and shared.service is None


class Service:
    """What brings processes together, for those that come one after the other."""

    def __init__(self):
        self.kept, self.seen = {}, []

    def key_value_set(self, name, words):
        assert name not in self.kept
        self.kept[name] = words

    def key_value_dir_get(self, folder):
        return [(name, words) for name, words in self.kept.items() if name.startswith(folder)]

    def blocking_key_value_get(self, name, patience):
        self.seen.append("read")
        return self.kept[name]

    def wait_at_barrier(self, name, patience):
        self.seen.append(name)


def test_all_go_by_the_numbers_of_the_first_when_all_have_theirs(monkeypatch):
    """To the last bit, and as often as they like: no name is used again."""
    service, numbers = Service(), [0.1 + 0.2, 1 / 3, -0.0, 5e-324, 1e300, math.inf, math.nan]
    monkeypatch.setattr(distributed.global_state, "client", service)
    for own in range(2):
        monkeypatch.setattr(jax, "process_index", lambda own=own: own)
        monkeypatch.setattr(processes, "_NUMBERS", itertools.count())  # each process counts by itself
        for first in (numbers, numbers[::-1]):
            said = first if own == 0 else [0.0] * len(first)

            def work(said=said):
                service.seen.append("worked")
                return said

            found = of_first("validation", work)
            assert [number.hex() for number in found] == [number.hex() for number in first]
    once = ["worked", "jaxrnn/validation/0", "read", "worked", "jaxrnn/validation/2", "read"]
    assert service.seen == once + once


def test_two_devices_of_one_process_train_as_one(settings, alone, tmp_path):
    """From the first update, and from where one device stopped; scores on the way and at the end among it."""
    environment = os.environ | {"JAX_ENABLE_X64": "1", "JAX_NUM_CPU_DEVICES": "2"}
    shutil.copytree(alone, tmp_path / "halfway")
    shutil.rmtree(tmp_path / "halfway" / "snapshots" / "step_50")
    for run, words in (("run", settings(**LENGTH, **CALM)), ("halfway", ["--resume"])):
        command = [
            "-m",
            "jaxrnn",
            "train",
            *words,
            "--parallel.devices",
            "2",
            "--verbose",
            "--run",
            str(tmp_path / run),
        ]
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0 and "of 2 devices there, 2 in use" in done.stdout, done.stdout + done.stderr
        assert_close(last_state(tmp_path / run), last_state(alone))
        rows = [[row["loss"] for row in runs.metrics(runs.at(folder))] for folder in (tmp_path / run, alone)]
        assert_close(*rows)


def test_what_cannot_be_split_runs_on_one_device(settings, tmp_path):
    """Unless somebody asks for more."""
    words = settings(gradient__rule="adaptive", gradient__longest=16, training__length="2 updates", sampling__length=1)
    command = [sys.executable, "-m", "jaxrnn", "train", *words, "--verbose", "--run", str(tmp_path / "run")]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0 and "of 2 devices there, 1 in use" in done.stdout, done.stdout + done.stderr


def test_what_one_process_refuses_ends_both(settings, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("here already")  # the first process alone looks
    started = start_together(*settings(**LENGTH), "--run", tmp_path / "run")
    said = read_all(started)
    assert [process.returncode for process in started] == [2, 2], said
    refusal = "exists already; choose another"
    assert f"error: --run {tmp_path / 'run'}: {refusal}" in said[0]
    assert f"error: process 0 has failed: --run {tmp_path / 'run'}: {refusal}" in said[1]


@pytest.mark.parametrize(("number", "heard_by"), [(signal.SIGTERM, 1), (signal.SIGINT, 0), (signal.SIGINT, 1)])
def test_a_signal_to_one_process_stops_both(settings, tmp_path, number, heard_by):
    folder = tmp_path / "run"
    words = settings(**LENGTH | {"training__length": "1000000 updates"}, **CALM)
    started, deadline = start_together(*words, "--run", folder), time.monotonic() + 120
    with ThreadPoolExecutor(2) as readers:
        saying = [readers.submit(process.communicate) for process in started]
        try:
            while not list(folder.glob("snapshots/step_*")):
                assert all(process.poll() is None for process in started) and time.monotonic() < deadline
                time.sleep(0.05)
            started[heard_by].send_signal(number)
            said = [one.result(timeout=120)[0] for one in saying]
        finally:
            for process in started:
                process.kill()
    codes = [128 + number if own == heard_by else 143 for own in range(2)]
    assert [process.returncode for process in started] == codes and "to go on: " in said[0], said
    newest = snapshots.newest(folder / "snapshots")
    assert newest is not None and newest.name == f"step_{runs.metrics(runs.at(folder))[-1]['step']}"
