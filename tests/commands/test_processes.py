"""Several processes that train together, over loopback."""

import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from agreement import assert_close
from jaxrnn import snapshots
from jaxrnn.running import position, runs
from jaxrnn.running.experiment import build_learner, kept_vocabulary

LENGTH = {"training__length": "50 updates", "training__validate_every": 25, "sampling__length": 1}
CALM = {"optimizer__name": "momentum", "optimizer__rate": 0.1}  # a rounding error must not grow while it learns


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def train_together(*words, number=2):
    """Train in processes that each have one device; what the first of them says."""
    meeting = ["--parallel.coordinator", f"127.0.0.1:{free_port()}", "--parallel.processes", str(number)]
    environment = os.environ | {"JAX_ENABLE_X64": "1", "JAX_NUM_CPU_DEVICES": "1", "JAX_LOG_COMPILES": "1"}
    command = [sys.executable, "-m", "jaxrnn.train", *map(str, words), *meeting, "--parallel.process"]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment}
    started = [subprocess.Popen([*command, str(own)], **piped) for own in range(number)]
    with ThreadPoolExecutor(number) as readers:  # all at once: who is not read from waits, and the others for it
        said = list(readers.map(lambda process: process.communicate(timeout=300)[0], started))
    assert [process.returncode for process in started] == [0] * number, said
    return said


def last_state(folder):
    """The state at the end of a run."""
    run, config = runs.find(folder)
    learner = build_learner(config, len(kept_vocabulary(run).symbols))
    newest = snapshots.newest(run.snapshots)
    assert newest is not None and newest.name == "step_50"
    return position.load(newest, config, learner)[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return tmp_path_factory.mktemp("alone") / "run"


def test_two_processes_train_as_one(jaxrnn, settings, alone, tmp_path):
    """Dropout, chunks added up, an epoch's end, averages: and the second process leaves nothing and says nothing."""
    words = settings(**LENGTH, **CALM)
    assert jaxrnn("train", *words, "--run", alone).code == 0
    said = train_together(*words, "--run", tmp_path / "run")
    assert_close(last_state(tmp_path / "run"), last_state(alone))
    assert "validation" in said[0] and "validation" not in said[1]
    assert [words.count("Finished XLA compilation of jit(train_step)") for words in said] == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    rows = [[row["loss"] for row in runs.metrics(runs.at(run))] for run in (tmp_path / "run", alone)]
    assert_close(*rows)


def test_two_processes_go_on_where_one_stopped(jaxrnn, settings, alone, tmp_path):
    if not alone.exists():
        jaxrnn("train", *settings(**LENGTH, **CALM), "--run", alone)
    shutil.copytree(alone, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "snapshots" / "step_50")
    said = train_together("--run", tmp_path / "run", "--resume")
    assert "going on after update 25" in said[0]
    assert_close(last_state(tmp_path / "run"), last_state(alone))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--parallel.devices", "3"], "data.batch_size is 4; it must be a multiple of the 3 devices"),
        (["--parallel.devices", "128", "--data.batch_size", "128"], "parallel.devices is 128; it must be at most"),
        (["--parallel.process", "0"], "expected parallel.coordinator"),
        (["--parallel.coordinator", "here:1"], "expected parallel.processes and parallel.process"),
        (
            ["--parallel.coordinator", "here:1", "--parallel.processes", "2", "--parallel.process", "2"],
            "expected 0 to 1",
        ),
        (["--parallel.coordinator", "auto", "--training.length", "1 minute"], "expected updates or epochs"),
        (["--parallel.coordinator", "auto"], "the processes do not meet"),
    ],
)
def test_wrong_settings_are_refused_by_name(jaxrnn, settings, tmp_path, words, named):
    said = jaxrnn("train", *settings(), "--run", tmp_path / "run", *words)
    assert said.code == 2 and named in said.err and not (tmp_path / "run").exists()
