"""The benchmarks run, in the smallest setting; that their figures are right is for the tests of what they measure."""

import contextlib
import importlib
import inspect
import io
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tyro", reason="the benchmarks are commands: pip install -e '.[bench]'")

import jax
import jax.numpy as jnp
from benchmarks import commands, kills, recipes, results, start, stdlib, tries, units, vocabulary, vowels
from benchmarks.full_vs_truncated import __main__ as full_vs_truncated
from benchmarks.full_vs_truncated import balancing, certificate, gradient, learning, problems, text
from benchmarks.full_vs_truncated.kept import Kept
from benchmarks.full_vs_truncated.pictures import picture_of_cost, picture_of_learning
from benchmarks.full_vs_truncated.setting import TINY
from benchmarks.full_vs_truncated.tables import tables
from matplotlib.figure import Figure

from jaxrnn.__main__ import main as jaxrnn
from jaxrnn.running.trained import load_trained
from jaxrnn.settings import flatten, resolve

pytestmark = pytest.mark.usefixtures("default_settings")


@pytest.fixture
def found(tmp_path, monkeypatch):
    """All parts of the smallest setting, on a text of random symbols, in programs that are compiled in haste."""
    ids = np.random.default_rng(0).integers(0, 5, 2000)
    monkeypatch.setattr(stdlib, "symbols", lambda: ({"train": ids}, 5))
    monkeypatch.setattr(text, "LEARNT", (2, 8))
    some = {name: balancing.ENTRIES[name] for name in ("chunks of 10", "checkpointed")}
    monkeypatch.setattr(balancing, "ENTRIES", some)
    kept = Kept(TINY, tmp_path)
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield full_vs_truncated.measure(TINY, kept), kept
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
        text.trained.cache_clear()


def test_full_vs_truncated(found):
    """Every part has its rows, which can be written, printed and drawn, and need not be measured a second time."""
    found, kept = found
    again = full_vs_truncated.measure(TINY, Kept(TINY, kept.folder.parent))
    assert again == found == json.loads(json.dumps(found))
    found["learning"] = learning.at_equal_compute(found["learning"], found["pace"])
    assert [row["rule"] for row in found["gradient"]] == ["bptt", "truncated", "geometric"]
    exact, cut, random = found["gradient"]
    assert exact["relative_bias"] == 0 < cut["relative_bias"] and random["deviation"] > 0
    assert [row["rule"] for row in found["learning"]] == ["checkpointed, budget", "truncated"]
    recomputed, truncated = found["learning"]
    assert recomputed["temp_bytes"] <= truncated["temp_bytes"]
    assert recomputed["loss_over_floor"] != truncated["loss_over_floor"]
    assert "geometric" in tables(found)
    picture_of_cost(found), picture_of_learning(found)
    kept.forget()
    assert not kept.folder.exists()


def test_a_certificate_is_weighed_by_hand():
    """Bounds 1, 2, none and 4 against the truths 2, 1, 9 and 8."""
    bounds, true = np.array([[1.0, 2.0], [np.inf, 4.0]]), np.array([[2.0, 1.0], [9.0, 8.0]])
    pairs = certificate.compare(bounds, true)
    assert pairs["number"] == 4 and pairs["certified"] == 0.75 and pairs["wrong"] == pytest.approx(2 / 3)
    assert pairs["median_ratio_where_wrong"] == pairs["largest_ratio"] == pairs["median_ratio"] == 2
    chosen = certificate.choose(bounds, true, np.array([10, 20]), target=1.5)
    assert chosen == {
        "target": 1.5,
        "mean_horizon": 15.0,
        "certified": 0.5,
        "missed": 1.0,
        "median_true": 2.0,
        "largest_true": 2.0,
    }


def test_draws_are_held_against_the_exact_gradient():
    exact, draws = np.array([3.0, 4.0]), np.array([[3.0, 5.0], [3.0, 3.0]])
    row = gradient.against(exact, draws)
    assert row["relative_bias"] == 0 and row["deviation"] == pytest.approx(np.sqrt(2) / 5)
    assert row["bias_noise"] == pytest.approx(1 / 5)
    assert gradient.against(exact, 2 * exact[None]) == {"relative_bias": 1.0, "cosine": 1.0}


def test_equal_compute_is_read_off_the_curve():
    """Of two rules the second takes twice the time: it is where the first one is after half the updates."""
    common = {"hidden": 8, "T": 5, "task": "copy", "delay": 3, "updates": [10, 20], "loss_over_floor": [[1.0, 0.5]]}
    pace = [
        {"hidden": 8, "T": 5, "rule": rule, "seconds": seconds} for rule, seconds in (("quick", 1.0), ("slow", 2.0))
    ]
    other_task = common | {"rule": "quick", "task": "adding", "updates": [1, 2]}
    rows = [common | {"rule": "quick"}, common | {"rule": "slow"}, other_task]
    first, second, _ = learning.at_equal_compute(rows, pace)
    assert first["at_equal_compute"] == {"seconds": 20.0, "updates": 20, "loss_over_floor": [0.5]}
    assert second["at_equal_compute"] == {"seconds": 20.0, "updates": 10, "loss_over_floor": [1.0]}
    assert first["final"] == second["final"] == [0.5] and second["seconds_per_update"] == 2


@pytest.mark.parametrize("task", ["copy", "adding", "order"])
def test_what_is_learnt_from(task):
    """Sequences in whole pieces, and a delay that is that of the oldest thing to be remembered."""
    course = TINY.courses[0]
    given = problems.problem(course, course.tasks[0]._replace(name=task, size=20))
    chunk = jax.eval_shape(given.draw, jax.random.key(0))
    assert chunk.weight.shape[0] % 2 == 0 and given.delay <= chunk.weight.shape[0]


COMMAND = """\
#!/bin/sh
trap 'sleep 0.6; touch saved; exit 130' INT
touch begun
while :; do sleep 0.05; done
"""
GIVEN = """
import signal, sys
from benchmarks import commands
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.executable = sys.argv[1]
commands.command("train")
"""


def test_an_interrupted_command_is_waited_for(tmp_path):
    """Ctrl-C comes to both processes, and the one that trains saves first."""
    path = tmp_path / "command"
    path.write_text(COMMAND)
    path.chmod(0o755)
    where = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(Path(commands.__file__).parents[1])}}
    given = [sys.executable, "-c", GIVEN, str(path)]
    with subprocess.Popen(given, start_new_session=True, stderr=subprocess.PIPE, **where) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert b"KeyboardInterrupt" in process.stderr.read()
    assert (tmp_path / "saved").exists()


@pytest.fixture
def in_process(monkeypatch):
    """Commands that the benchmarks give are run in this process."""

    def command(name, *options):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            assert jaxrnn([name, "--json", *options]) == 0
        return json.loads(said.getvalue().splitlines()[-1])

    for module in (commands, recipes, units):
        monkeypatch.setattr(module, "command", command)


def test_recipes(tmp_path, monkeypatch, in_process):
    """A recipe is trained once, scored by every protocol, and drawn; its texts are found in a folder."""
    monkeypatch.setattr(recipes, "PROTOCOLS", {"plain": [], "1 stream": ["--streams", "1"]})
    once, again = (recipes.run("hello", 1, tmp_path / "hello") for _ in range(2))
    assert {key: once["trained"][key] for key in ("updates", "loss")} == {
        key: again["trained"][key] for key in ("updates", "loss")
    }
    assert once["trained"]["tokens_per_second_in_all"] == again["trained"]["tokens_per_second_in_all"] > 0
    assert once["scores"] == again["scores"] and once["validation"] == again["validation"]
    assert recipes.averages([once])["perplexity, 1 stream"] == once["scores"]["1 stream"]["perplexity"]
    recipes.picture("hello", [once])
    lines = [json.loads(line) for line in recipes.curve({1: tmp_path / "hello"}).splitlines()]
    assert [[line["step"], line["bits"]] for line in lines] == once["validation"]
    assert all(line["seed"] == 1 and line["rate"] > 0 and line["training_loss"] > 0 for line in lines)
    settings = flatten(resolve(recipes.CONFIGS / "hello.toml"))
    tried = tries.tried(settings, tmp_path / "hello")
    assert tried["differs"] == {} and tried["test"] == once["scores"]["plain"]["perplexity"]
    assert [math.log2(perplexity) for _, perplexity in tried["perplexity"]] == pytest.approx(
        [bits for _, bits in once["validation"]]
    )
    tries.picture("hello", [tried])
    on_file = {"settings": settings, "tries": [tried | {"differs": {"seed": 7}}]}
    (tmp_path / "tries.json").write_text(json.dumps(on_file))
    (before,) = tries.read_before(tmp_path / "tries.json", settings | {"model.hidden_size": 9})
    assert before["differs"] == {"seed": 7, "model.hidden_size": settings["model.hidden_size"]}
    assert before["perplexity"] == tried["perplexity"]
    kept = tmp_path / "hello" / "metrics.jsonl"
    kept.write_text("".join(line for line in kept.read_text().splitlines(True) if '"test"' not in line))  # given up
    assert tries.tried(settings, tmp_path / "hello")["test"] is None
    assert tries.tried(settings, tmp_path / "hello", score=True)["test"] == pytest.approx(tried["test"], rel=1e-6)
    as_it_is = recipes.run("hello", 1, tmp_path / "hello", as_it_is=True)
    assert as_it_is["scores"] == once["scores"] and as_it_is["validation"] == once["validation"]
    assert as_it_is["trained"]["updates"] == once["trained"]["updates"] and not as_it_is["trained"]["finished"]


def test_a_start_is_timed_and_the_run_is_stopped(tmp_path):
    waited = start.seconds(tmp_path, "cold", ("configs/hello.toml", "--training.length", "1000000 updates"))
    assert 0 < waited < start.PATIENCE
    assert list(tmp_path.glob("cold/snapshots/step_*")) and (tmp_path / "cache").is_dir()
    start.picture({"cold, median": waited, "warm, median": waited})


def test_units(tmp_path, monkeypatch, in_process):
    """A row has what the report says of a label; the passage has the value of the unit after each character."""
    best, worse = {"unit": [2, "c", 1], "sign": -1, "held_out": 0.9}, {"unit": [1, "h", 0], "sign": 1, "held_out": 0.7}
    found = {"label": "inside a string literal", "measure": "AUC", "probe": 0.95, "moved": 0.6, "moved_probe": 0.5}
    untrained = {"units": [worse | {"held_out": 0.65}], "probe": 0.8}
    followed = {"label": found["label"], "unit": [2, "c", 1], "sign": -1, "updates": [0, 2], "scores": [0.5, 0.9]}
    analysis = {
        "units": [found | {"units": [best, worse], "untrained": untrained}],
        "followed": followed | {"probes": [0.8, 0.95]},
        "text": {"scored_on": 100},
    }
    trains = commands.command

    def command(name, *options):
        if name == "train":
            return trains(name, *options)
        expected = (str(tmp_path / "run"), "--follow", found["label"], "--length", units.SYMBOLS)
        assert (name, options) == ("analyze", expected)
        (tmp_path / "analysis.json").write_text(json.dumps(analysis), "utf-8")
        return {"report": str(tmp_path / "report.html"), "seconds": 3.0}

    for module in (commands, units):
        monkeypatch.setattr(module, "command", command)
    (tmp_path / "text.py").write_text(units.PASSAGE * 20, "utf-8")
    tiny = ["--training.length", "2 updates", "--model.hidden_size", "3", "--data.batch_size", "2"]
    result = units.run(tmp_path / "run", units.STUDIES["strings"], [*tiny, "--data.corpus", str(tmp_path / "text.py")])
    (row,) = result["labels"]
    assert row == {
        **{"label": found["label"], "measure": "AUC", "unit": [2, "c", 1], "score": 0.9, "whole_state": 0.95},
        **{"untrained": 0.65, "untrained_whole_state": 0.8, "chance": 0.6, "chance_whole_state": 0.5},
    }
    assert result["trained"]["updates"] == 2 and result == json.loads(json.dumps(result))
    model = load_trained(tmp_path / "run")
    carry, seen = model.cell.initial_carry(1), []
    for letter in units.PASSAGE[:20]:
        carry, _ = model.cell.step(model.params, carry, jnp.array([model.vocabulary.symbols.index(letter)]))
        seen.append(round(float(carry[1][1][1][0, 1]), 4))
    assert result["passage"]["values"][:20] == seen and len(result["passage"]["values"]) == len(units.PASSAGE)
    units.picture(result)


def test_a_killed_training_is_held_against_an_undisturbed_one(tmp_path, monkeypatch):
    """Killed as soon as it has a snapshot; and a comparison that has something to find."""

    class Late(random.Random):
        def uniform(self, first, last):
            deadline = time.monotonic() + 120
            while not list(tmp_path.glob("killed/snapshots/step_*5")) and time.monotonic() < deadline:
                time.sleep(0.01)
            return first  # with no snapshot by then it is killed all the same, and the assertions below fail

    found = kills.measure(tmp_path, kills=1, updates=200, seed=0, moments=Late)
    assert found["same_parameters_and_state"] and found["same_metrics"]
    assert (found["kills"], found["kills_during_updates"], found["snapshots_lost"]) == (1, 1, 0)
    assert 0 < found["newest"][0] < 200
    kills.picture(found)
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "killed" / "metrics.jsonl").write_text("\n".join(lines[1:]), "utf-8")
    assert kills.lines(tmp_path / "killed") != kills.lines(tmp_path / "undisturbed")


def test_recorded_vowels_are_read_and_learnt_from(tmp_path):
    lines = "# said of it\n@data\n" + ":".join(["1.5,2.5,0.5"] * 11 + ["1,2,4", "9"]) + "\n"
    (tmp_path / "JapaneseVowels_TRAIN.ts").write_text(lines, "utf-8")
    found = vowels.read(tmp_path, "TRAIN")
    assert found.xs.shape == (3, 1, 12) and found.xs[:, 0, 11].tolist() == [1, 2, 4]
    assert (found.lengths.tolist(), found.labels.tolist()) == ([3], [8])
    with pytest.raises(SystemExit, match="has no JapaneseVowels_TEST.ts; give its folder"):
        vowels.read(tmp_path, "TEST")
    train, test = vowels.standardized(vowels.noise(0), vowels.noise(1))
    told = (one._replace(xs=one.xs + 3 * np.eye(9, 12, dtype=np.float32)[one.labels]) for one in (train, test))
    guessed, learnt = (vowels.learn(vowels.CELLS["Elman"], *pair, seed=1, epochs=20) for pair in ((train, test), told))
    assert guessed < 0.3 < 0.9 < learnt
    vowels.picture({"Elman": [guessed, learnt]})


def test_every_benchmark_of_make_bench_can_be_tried_quickly():
    """`make bench ARGS=--quick`."""
    makefile = (Path(__file__).parents[1] / "Makefile").read_text("utf-8")
    names = re.search(r"^bench:.*\n\tfor name in (.*); do", makefile, re.MULTILINE)
    assert names
    for name in names[1].split():
        found = importlib.import_module(f"benchmarks.{name}")
        module = importlib.import_module(f"benchmarks.{name}.__main__") if hasattr(found, "__path__") else found
        assert "quick" in inspect.signature(module.main).parameters, name


def test_a_large_vocabulary_is_timed_in_every_way(monkeypatch):
    monkeypatch.setattr(vocabulary, "HIDDEN", 4)
    found = vocabulary.update(3000, rounds=1)
    assert set(found["seconds"]) == set(found["temp_bytes"]) == {"all", "block", "sample"}
    assert min(found["seconds"].values()) > 0 and found["temp_bytes"]["sample"] < found["temp_bytes"]["all"]
    axes = vocabulary.picture([found]).axes
    assert [len(axis.lines) for axis in axes] == [3, 3]


def test_what_was_measured_before_counts_on_the_same_machine(tmp_path, monkeypatch):
    assert results.before("some", tmp_path) == {}
    results.save("some", {"row": {"seconds": 1.0}}, Figure(), tmp_path)
    assert results.before("some", tmp_path) == {"row": {"seconds": 1.0}}
    monkeypatch.setattr(results.os, "cpu_count", lambda: 999)
    assert results.before("some", tmp_path) == {}
