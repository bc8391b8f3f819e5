"""What the tests of the commands share: a small text and model, one finished run, and compiled code kept on disk."""

import contextlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest

from jaxrnn.__main__ import main

WORDS = "the cat sat on a mat and then it ran off to see what all the dogs do".split()
SETTINGS = {
    "data.batch_size": 4,
    "data.chunk_length": 8,
    "model.cell": "gru",
    "model.hidden_size": 6,
    "model.embedding_size": 5,
    "model.dropout": 0.2,
    "model.vocabulary_block": 10,
    "model.initializer": "uniform",
    "optimizer.rate": 0.35,  # one validation in the middle is worse, and the last is the best
    "optimizer.schedule": "plateau",
    "optimizer.plateau": 1,
    "optimizer.average_after": 0,
    "optimizer.warmup": 3,
    "training.length": "2 epochs",
    "training.accumulate": 2,
    "training.updates_per_dispatch": 2,
    "training.validate_every": 7,
    "training.validate_targets": 40,
    "sampling.length": 30,
}
"""Noise, plateaus, averages, chunks and updates in numbers that do not fit the epoch: all that can go wrong."""


class Said(NamedTuple):
    """What a command gave back.

    Attributes:
        code: its exit code.
        out: its standard output.
        err: its standard error.
    """

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """The line of JSON."""
        return json.loads(self.out)


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory):
    """Keep compiled code and encoded texts on disk: a command that is run again compiles nothing."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("caches")
    patch.setenv("JAXRNN_CACHE", str(folder / "jaxrnn"))
    patch.setenv("JAX_NUM_CPU_DEVICES", str(jax.device_count()))  # as many in other processes as here, for equal bits
    compiled = {
        "jax_compilation_cache_dir": str(folder / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    before = {name: getattr(jax.config, name) for name in compiled}
    for name, value in compiled.items():
        jax.config.update(name, value)
        patch.setenv(name.upper(), str(value))  # for the tests that start a process
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    patch.undo()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A small text with something to learn in it."""
    path = tmp_path_factory.mktemp("corpus") / "tiny.txt"
    lines = (" ".join(WORDS[(i * i + 3 * j) % len(WORDS)] for j in range(6)) for i in range(60))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def jaxrnn(capsys):
    """Run a command as a user types it."""

    def run(*words: Any) -> Said:
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def beforehand(caches):
    """Run a command for several tests at once: what it says goes to none of them."""

    def run(*words: Any) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
        return Said(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def compiled():
    """How often each function was compiled, or read from the folder of compiled ones; grows while the test runs."""
    seen = Counter()

    def hear(event: str, _: float, **about: Any) -> None:
        if event.endswith("backend_compile_duration"):
            seen[about["fun_name"]] += 1

    jax.monitoring.register_event_duration_secs_listener(hear)
    yield seen
    jax.monitoring.unregister_event_duration_listener(hear)


@pytest.fixture(scope="session")
def settings(corpus):
    """The words that set up the small model, with some of them changed."""

    def words(**changed: Any) -> list[str]:
        values = {"data.corpus": corpus} | SETTINGS | {key.replace("__", "."): value for key, value in changed.items()}
        return [word for key, value in values.items() for word in (f"--{key}", str(value))]

    return words


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, settings, beforehand) -> tuple[Path, Said]:
    """A run that went to its end undisturbed, and what was said."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, beforehand("train", *settings(), "--run", folder, "--json")
