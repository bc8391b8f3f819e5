"""The training command from outside: what a user types, what comes back, what the run's folder holds, and resuming."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxrnn import folders, snapshots, train
from jaxrnn.data.vocabulary import from_json, to_json
from jaxrnn.ngrams import bits_per_symbol, count_ngrams
from jaxrnn.running import position, programs, runs, trainer
from jaxrnn.running.experiment import build_learner
from jaxrnn.running.run_text import kept_vocabulary, open_text
from jaxrnn.running.trained import load_params, load_trained
from jaxrnn.schedules import Plateau
from jaxrnn.settings import resolve

UPDATES = 42  # of SETTINGS: 2 epochs of 41 chunks, 2 an update


def arrays(folder, name=f"step_{UPDATES}"):
    """The bytes of a snapshot's arrays."""
    return (folder / "snapshots" / name / snapshots.ARRAYS).read_bytes()


def untimed(folder):
    """The lines of metrics, but for what is measured by the clock, and the folder's name."""
    rows = runs.metrics(runs.at(folder))
    timed = {"tokens_per_second", "seconds", "run"}
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


# A whole run ---------------------------------------------------------------------------------------------------------


def test_a_run_answers_with_one_line_of_json(finished_run):
    folder, said = finished_run
    assert said.code == 0
    assert said.out.count("\n") == 1
    answer = said.answer
    assert answer["run"] == str(folder)
    assert answer["updates"] == UPDATES
    assert answer["seconds"] > 0 and answer["tokens_per_second"] > 0
    assert set(answer["baselines"]) == {"unigram", "bigram", "trigram", "best_ngram", "best_order"}
    assert answer["targets"] == answer["characters"] and answer["streams"] == 4
    assert answer["bits_per_character"] == pytest.approx(answer["loss"] / np.log(2), rel=1e-12)
    assert answer["perplexity"] == pytest.approx(np.exp(answer["loss"]), rel=1e-12)


def test_n_grams_of_words_are_told_per_character(jaxrnn, settings, tmp_path):
    words = settings(data__tokenizer="word", training__length="1 updates", sampling__length=1)
    answer = jaxrnn("train", *words, "--run", tmp_path / "run", "--json").answer
    best = load_trained(tmp_path / "run")
    ids, size = open_text(best.config, best.run)[1].ids, len(best.vocabulary.symbols)
    unigram = bits_per_symbol(count_ngrams(ids["train"], size), ids["test"], size)[0]
    assert answer["characters"] > answer["targets"]
    in_characters = unigram * answer["targets"] / answer["characters"]
    assert answer["baselines"]["unigram"] == pytest.approx(in_characters, rel=1e-9)


def test_the_best_n_gram_beside_a_validation_is_of_the_same_targets(finished_run):
    folder, said = finished_run
    best = load_trained(folder)
    ids = open_text(best.config, best.run)[1].ids
    size = len(best.vocabulary.symbols)
    bits = bits_per_symbol(count_ngrams(ids["train"], size), ids["valid"][:41], size)
    assert len(ids["valid"]) > 41 and f"best n-gram {min(bits):.3f}), new best" in said.err


def test_all_words_go_to_standard_error_beside_json(finished_run):
    _, said = finished_run
    for word in ("corpus", "SHA-256", "n-grams", "validation", "bits per character", "new best", "what it writes"):
        assert word in said.err
    assert "\x1b" not in said.err and "\r" not in said.err


def test_a_run_keeps_everything_in_its_folder(finished_run, corpus, settings):
    folder, said = finished_run
    run, config = runs.find(folder)
    given = dict(zip(settings()[::2], settings()[1::2], strict=True))
    assert config == resolve(None, {key.removeprefix("--"): value for key, value in given.items()})
    assert json.loads(run.corpus.read_text())["vocabulary"] == said.answer["vocabulary"]
    assert snapshots.verify(run.snapshots / f"step_{UPDATES}")
    assert len(list(run.snapshots.glob("best_*"))) == 1
    assert len(list(run.snapshots.glob("step_*"))) == config.training.keep
    sample = (run.samples / f"{said.answer['snapshot']}.txt").read_text()
    assert len(sample) == config.sampling.length and sample in said.err
    assert len(list(folder.parent.iterdir())) == 1


def test_metrics_have_each_update_once(finished_run):
    folder, said = finished_run
    rows = runs.metrics(runs.at(folder))
    updates = [row for row in rows if row["kind"] == "update"]
    assert [row["step"] for row in updates] == list(range(1, UPDATES + 1))
    assert sum(row["targets"] for row in updates) == 2 * 1312  # 2 epochs of 1314 - 1 targets, 1 in the tail
    assert all(row["loss"] > 0 and row["gradient_norm"] > 0 and not row["skipped"] for row in updates)
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [8, 14, 21, 29, 35, 42]
    assert [row["kind"] for row in rows[-2:]] == ["validation", "test"]
    assert rows[-1]["loss"] == said.answer["loss"]


def test_the_rate_falls_on_a_plateau(finished_run):
    folder, _ = finished_run
    rates = [row["rate"] for row in runs.metrics(runs.at(folder)) if row["kind"] == "update"]
    stale = [row["step"] for row in runs.metrics(runs.at(folder)) if row["kind"] == "validation" and not row["best"]]
    halvings = [step for step, (before, after) in enumerate(itertools.pairwise(rates), 1) if after == before / 2]
    assert stale and halvings == [step for step in stale if step < UPDATES]


def test_the_test_text_is_scored_with_the_best_parameters(finished_run):
    folder, said = finished_run
    rows = [row for row in runs.metrics(runs.at(folder)) if row["kind"] == "validation"]
    best = min(rows, key=lambda row: row["loss"])
    assert said.answer["snapshot"] == f"best_{best['step']}" == load_trained(folder).snapshot.name


def test_parameters_are_averaged_from_the_first_worse_score_on(finished_run):
    folder, _ = finished_run
    run, config = runs.find(folder)
    rows = [row for row in runs.metrics(run) if row["kind"] == "validation"]
    first = next(row["step"] for row in rows if not row["best"])
    learner = build_learner(config, kept_vocabulary(run))
    state, _ = position.load(run.snapshots / f"step_{UPDATES}", config, learner)
    assert first < UPDATES and int(state.optimizer.number) == UPDATES - first + 1
    best = load_trained(folder)
    state, _ = position.load(best.snapshot, config, learner)
    assert jax.tree.all(jax.tree.map(np.array_equal, best.params, state.optimizer.average))
    state, _ = position.load(run.snapshots / f"step_{UPDATES}", config, learner)
    last = load_params(best, run.snapshots / f"step_{UPDATES}")
    assert jax.tree.all(jax.tree.map(np.array_equal, last, state.optimizer.average))


def test_validation_does_not_disturb_training(jaxrnn, settings, tmp_path):
    def trained(validate_every):
        folder = tmp_path / f"every-{validate_every}"
        # Else scores do what they are for.
        fixed = {"optimizer__schedule": "constant", "optimizer__plateau": 2, "optimizer__average_after": 99}
        fixed |= {"training__length": "24 updates", "sampling__length": 1}
        said = jaxrnn("train", *settings(**fixed, training__validate_every=validate_every), "--run", folder)
        assert said.code == 0
        updates = [row for row in untimed(folder) if row["kind"] == "update"]
        return len(runs.metrics(runs.at(folder))), updates, arrays(folder, "step_24")

    often, seldom = trained(3), trained(1000)
    assert often[0] > seldom[0]
    assert often[1:] == seldom[1:]


def test_a_run_compiles_one_training_program(jaxrnn, settings, tmp_path, compiled):
    """For what it says and for all of its updates; so does one that goes on, which needs no beginning."""
    words = settings(training__length="24 updates", sampling__length=1)  # beyond the end of an epoch
    jaxrnn("train", *words, "--run", tmp_path / "run", "--verbose")
    assert compiled["jit(train_step)"] == compiled["jit(first_state)"] == compiled["jit(next_epoch)"] == 1
    shutil.rmtree(tmp_path / "run" / "snapshots" / "step_24")
    assert "going on after update 21" in jaxrnn("train", "--run", tmp_path / "run", "--resume").out
    assert compiled["jit(train_step)"] == 2 and compiled["jit(first_state)"] == 1


def test_verbose_says_what_runs_and_changes_no_bit(finished_run, jaxrnn, settings, tmp_path):
    said = jaxrnn("train", *settings(), "--run", tmp_path / "run", "--verbose", "--json")
    lines = dict(line.split(maxsplit=1) for line in said.err.splitlines() if len(line.split(maxsplit=1)) == 2)
    assert said.code == 0 and arrays(tmp_path / "run") == arrays(finished_run[0])
    assert lines["backend"].startswith(jax.default_backend()) and lines["rows"].startswith("4; of ")
    assert lines["unroll"].startswith("fused: 1 loop") and lines["block"].startswith("8 steps")
    assert "computed again" in lines["kept"] and "float32" in lines["precision"]
    assert lines["allocator"] and str(jax.config.jax_compilation_cache_dir) in lines["programs"]
    assert "MiB of temporaries" in said.err and "unroll" not in finished_run[1].err


# Stopping and going on -----------------------------------------------------------------------------------------------


def test_a_run_that_is_stopped_again_and_again_ends_with_the_same_bits(
    finished_run, jaxrnn, settings, tmp_path, monkeypatch
):
    whole, said = finished_run
    folder, asked = tmp_path / "stopped", iter([1, 3, 7, 2])

    @contextlib.contextmanager
    def stop_after_some_dispatches():
        looks = next(asked, 10**9)

        class Stop:
            received = signal.SIGINT

            def __call__(self):
                nonlocal looks
                looks -= 1
                return looks < 0

        yield Stop()

    monkeypatch.setattr(train, "stop_on_signals", stop_after_some_dispatches)
    first = jaxrnn("train", *settings(), "--run", folder, "--json")
    assert first.code == 130
    how = f"jaxrnn train --run {folder} --resume"
    assert first.answer == {"run": str(folder), "interrupted": "SIGINT", "updates": 2, "resume": how}
    assert f"stopped after update 2 of {UPDATES}" in first.err and how in first.err
    resumed = [jaxrnn("train", "--run", folder, "--resume", "--json") for _ in range(3)]
    # At 8 and 21 before the validation that is due, at 21 also at an epoch's end.
    assert [one.answer["updates"] for one in resumed] == [8, 18, 21]
    assert "(best n-gram" in resumed[1].err and "training nan" not in resumed[1].err  # it begins with the validation
    last = jaxrnn("train", "--run", folder, "--resume", "--json")
    assert last.code == 0
    assert arrays(folder) == arrays(whole)
    assert untimed(folder) == untimed(whole)
    assert {**said.answer, **last.answer}.keys() == said.answer.keys()
    assert last.answer["loss"] == said.answer["loss"]


def test_chunks_of_random_lengths_are_the_same_when_a_run_goes_on(jaxrnn, settings, tmp_path):
    folder = tmp_path / "run"
    words = settings(
        data__chunk_spread=2.0, optimizer__plateau=2, optimizer__schedule="constant", training__length="2 epochs"
    )
    assert jaxrnn("train", *words, "--run", folder).code == 0
    *_, before, last = sorted((folder / "snapshots").glob("step_*"), key=lambda path: int(path.name[5:]))
    whole, rows = arrays(folder, last.name), untimed(folder)
    shutil.rmtree(last)
    assert (
        f"going on after update {before.name[5:]} of {last.name[5:]}"
        in jaxrnn("train", "--run", folder, "--resume").out
    )
    assert arrays(folder, last.name) == whole
    assert untimed(folder) == rows
    updates = [row for row in rows if row["kind"] == "update" and row["step"] > 3]  # after the warm-up
    assert len({row["targets"] for row in updates}) > 5
    for row in updates:
        np.testing.assert_allclose(row["rate"], 0.35 * row["targets"] / (4 * 8 * 2), rtol=2e-7)  # of float32


def test_on_a_circle_the_carry_goes_on_from_epoch_to_epoch_and_from_run_to_run(jaxrnn, settings, tmp_path, monkeypatch):
    """An epoch's last carry is the next one's first; and a run of one epoch, lengthened, comes to the same bits.

    With a sampled vocabulary, whose draws go on too.
    """
    begun = []
    monkeypatch.setattr(programs, "next_epoch", lambda *arguments: begun.append(arguments))
    sampled = {"data__tokenizer": "byte", "model__vocabulary_sample": 40}
    plain = {"training__accumulate": 1, "optimizer__schedule": "constant", "optimizer__plateau": 2}
    words = settings(data__circular="true", **plain, **sampled)
    whole = jaxrnn("train", *words, "--training.length", "2 epochs", "--run", tmp_path / "whole", "--json")
    half = jaxrnn("train", *words, "--training.length", "1 epochs", "--run", tmp_path / "parts", "--json")
    assert whole.code == half.code == 0 and "left to the next epoch" in half.err
    assert "logits of 40 symbols" in half.err
    jaxrnn("train", "--run", tmp_path / "parts", "--resume", "--training.length", "2 epochs")
    assert not begun and whole.answer["updates"] == 2 * half.answer["updates"]
    name = f"step_{whole.answer['updates']}"
    assert arrays(tmp_path / "parts", name) == arrays(tmp_path / "whole", name)


DIES = """
import os, signal, sys
from jaxrnn.__main__ import main
from jaxrnn.running import runs, trainer

def then_die(module, name, when):
    function = getattr(module, name)
    def dying(*arguments):
        found = function(*arguments)
        if when(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(module, name, dying)

if sys.argv.pop(1) == "saved":
    then_die(trainer, "save", lambda run, kind, *rest: kind == "step")
else:
    then_die(runs, "append", lambda run, row: row["step"] == 13)
sys.exit(main(sys.argv[1:]))
"""


def start(words, folder, program=("-m", "jaxrnn")):
    """Start a training of its own, with the numerics of the tests."""
    numerics = {"JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}
    process = subprocess.Popen(
        [sys.executable, *program, "train", *map(str, words), "--run", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **numerics},
    )
    return process


def wait_for_a_snapshot(folder, process):
    """Whichever comes: of those that are saved only the last two stay."""
    deadline = time.monotonic() + 120
    while not list((folder / "snapshots").glob("step_*")):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("moment", ["saved", "between"])
def test_a_killed_run_goes_on_from_its_last_snapshot(finished_run, jaxrnn, settings, tmp_path, moment):
    whole, _ = finished_run
    folder = tmp_path / "killed"
    with start(settings(), folder, ("-c", DIES, moment)) as process:
        said = process.communicate(timeout=120)[0]
    assert process.returncode == -signal.SIGKILL, said
    kept = sorted(path.name for path in (folder / "snapshots").glob("step_*") if snapshots.verify(path))
    assert kept == ["step_8"]
    said = jaxrnn("train", "--run", folder, "--resume")
    assert said.code == 0
    assert "going on after update" in said.out
    assert arrays(folder) == arrays(whole)
    assert untimed(folder) == untimed(whole)


def test_a_signal_saves_and_says_how_to_go_on(settings, tmp_path):
    folder = tmp_path / "signalled"
    with start([*settings(training__length="1000000 updates"), "--parallel.devices", "1"], folder) as process:
        wait_for_a_snapshot(folder, process)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 143
    assert f"to go on: jaxrnn train --run {folder} --resume --parallel.devices 1" in said
    assert "Traceback" not in said
    stopped = snapshots.newest(folder / "snapshots")
    assert runs.metrics(runs.at(folder))[-1]["step"] == int(stopped.name.removeprefix("step_"))


def test_scores_are_made_in_as_many_streams_as_the_run_is_told(jaxrnn, settings, tmp_path):
    words = settings(data__evaluation_streams=3, training__length="1 updates", sampling__length=1)
    assert jaxrnn("train", *words, "--run", tmp_path / "run", "--json").answer["streams"] == 3
    assert jaxrnn("evaluate", tmp_path / "run", "--json").answer["streams"] == 3


def test_a_finished_run_says_so_again(finished_run, jaxrnn):
    folder, said = finished_run
    before = untimed(folder)
    again = jaxrnn("train", "--run", folder, "--resume", "--json")
    assert again.code == 0
    assert again.answer["loss"] == said.answer["loss"] and again.answer["tokens_per_second"] is None
    assert untimed(folder) == before


@pytest.mark.filterwarnings("default")  # as for a user, who sees one line
def test_a_damaged_snapshot_is_passed_over(finished_run, jaxrnn, tmp_path):
    whole, said = finished_run
    folder = tmp_path / "damaged"
    shutil.copytree(whole, folder)
    victim = folder / "snapshots" / f"step_{UPDATES}" / snapshots.ARRAYS
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    again = jaxrnn("train", "--run", folder, "--resume", "--json")
    warning = next(line for line in again.err.splitlines() if line.startswith("warning: "))
    assert f"step_{UPDATES}" in warning and "renamed to" in warning
    assert again.answer["loss"] == said.answer["loss"]
    assert arrays(folder) == arrays(whole)


@pytest.mark.filterwarnings("default")
def test_a_half_copied_best_snapshot_is_not_in_the_way(finished_run, jaxrnn, tmp_path):
    whole, said = finished_run
    folder = shutil.copytree(whole, tmp_path / "copied")
    (best,) = folder.glob("snapshots/best_*")
    (best / folders.MANIFEST).unlink()
    shutil.rmtree(folder / "snapshots" / f"step_{UPDATES}")
    again = jaxrnn("train", "--run", folder, "--resume", "--json")
    assert again.code == 0 and again.answer["loss"] == said.answer["loss"], again


@pytest.mark.filterwarnings("default")
def test_where_every_snapshot_to_go_on_from_is_damaged_it_goes_on_from_the_best(finished_run, jaxrnn, tmp_path):
    whole, said = finished_run
    folder = shutil.copytree(whole, tmp_path / "damaged")
    for victim in folder.glob("snapshots/step_*"):
        (victim / snapshots.ARRAYS).write_bytes(b"?")
    again = jaxrnn("train", "--run", folder, "--resume", "--json")
    assert again.code == 0 and "an older snapshot is tried" in again.err
    assert again.answer["loss"] == said.answer["loss"] and untimed(folder) == untimed(whole)


@pytest.mark.filterwarnings("default")
def test_a_run_whose_snapshots_are_all_damaged_does_not_begin_again(finished_run, jaxrnn, tmp_path):
    folder = shutil.copytree(finished_run[0], tmp_path / "damaged")
    before = untimed(folder)
    for victim in folder.glob("snapshots/*_*"):
        (victim / snapshots.ARRAYS).write_bytes(b"?")
    for _ in range(2):  # the first time they are renamed
        said = jaxrnn("train", "--run", folder, "--resume")
        assert said.code == 2 and f"step_{UPDATES}.damaged" in said.err and "none can be read" in said.err
        assert untimed(folder) == before


@pytest.mark.parametrize("in_a_dispatch", [2, 4])
def test_a_finished_run_can_be_lengthened(in_a_dispatch, jaxrnn, settings, tmp_path):
    """At a constant rate it is the run that was as long from the start, to the bit; also where a dispatch is cut."""
    constant = {"optimizer__schedule": "constant", "optimizer__plateau": 2, "optimizer__average_after": 99}
    constant |= {"training__updates_per_dispatch": in_a_dispatch}
    whole, folder = tmp_path / "whole", tmp_path / "lengthened"
    assert jaxrnn("train", *settings(**constant, training__length="28 updates"), "--run", whole).code == 0
    assert jaxrnn("train", *settings(**constant, training__length="14 updates"), "--run", folder).code == 0
    longer = ("train", "--run", folder, "--resume", "--training.length")
    for words, named in (("7 updates", "'14 updates' long; expected more"), ("9 minutes", "by updates or epochs")):
        said = jaxrnn(*longer, words)
        assert said.code == 2 and named in said.err
    said = jaxrnn(*longer, "28 updates")
    assert said.code == 0 and "going on after update 14 of 28" in said.out
    assert arrays(folder, "step_28") == arrays(whole, "step_28")
    ours, theirs = ([row for row in untimed(run) if row["kind"] == "update"] for run in (folder, whole))
    assert ours == theirs
    if 14 % in_a_dispatch == 0:  # else the whole run has not stopped at 14 to validate
        assert untimed(folder) == untimed(whole)
    assert (folder / "config.toml").read_text() == (whole / "config.toml").read_text()
    assert jaxrnn("sample", folder).code == 0


def test_the_end_is_averaged_and_cannot_be_lengthened(jaxrnn, settings, tmp_path):
    folder = tmp_path / "run"
    words = settings(optimizer__average_after=99, optimizer__average_last=0.25, training__length="14 updates")
    assert jaxrnn("train", *words, "--run", folder).code == 0
    run, config = runs.find(folder)
    state, _ = position.load(run.snapshots / "step_14", config, build_learner(config, kept_vocabulary(run)))
    assert state.optimizer.begun and int(state.optimizer.number) == 1 + 14 - 10  # from the dispatch's end after 14 - 4
    said = jaxrnn("train", "--run", folder, "--resume", "--training.length", "28 updates")
    assert said.code == 2 and "optimizer.average_last = 0.25" in said.err and "since update 10" in said.err


def test_a_text_that_has_moved_is_found_by_its_new_place(copied_run, jaxrnn, corpus, tmp_path):
    (tmp_path / "moved.txt").write_bytes(corpus.read_bytes())
    resume = ("train", "--run", copied_run.folder, "--resume", "--data.corpus")
    said = jaxrnn(*resume, tmp_path / "moved.txt")
    assert said.code == 0, said
    assert runs.find(copied_run.folder)[1].data.corpus == str(tmp_path / "moved.txt")
    (tmp_path / "other.txt").write_text(corpus.read_text().replace("dogs", "cats"))
    said = jaxrnn(*resume, tmp_path / "other.txt")
    assert said.code == 2 and "not the text that" in said.err


def test_a_run_that_stops_early_says_so(jaxrnn, settings, tmp_path, monkeypatch):
    def observe(plateau, loss):  # the first score is the best
        return Plateau(min(plateau.best, loss), plateau.stale + (plateau.best < np.inf))

    monkeypatch.setattr(trainer, "observe", observe)
    folder = tmp_path / "run"
    said = jaxrnn("train", *settings(training__patience=2), "--run", folder, "--json")
    assert said.code == 0 and said.answer["updates"] == 21
    assert "stopped early: 2 validations without a new best (training.patience)" in said.err
    longer = ("train", "--run", folder, "--resume", "--training.length", "9 epochs")
    said = jaxrnn(*longer)
    assert said.code == 2 and "training.patience = 2" in said.err and "raise --training.patience too" in said.err


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def refusal(jaxrnn, tmp_path, monkeypatch):
    """Run a command that must be refused in one line, with nothing written."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        before = sorted(tmp_path.rglob("*"))
        said = jaxrnn(*words)
        assert (said.code, said.out) == (2, ""), said
        line = said.err.splitlines()[-1]
        assert line.startswith("error: ") and "Traceback" not in said.err
        assert sorted(tmp_path.rglob("*")) == before
        return line

    return run


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, ["data.corpus", "no file or folder", "text.txt"]),
        (b"", ["data.corpus", "text.txt", "empty"]),
        (b"x\n", ["data.corpus", "text.txt", "too few to be split"]),
        (b"a short text\n" * 2, ["data.corpus", "text.txt", "test text: 1 symbols", "shorter than a chunk"]),
        (
            b"a short text\n" * 20,
            ["data.corpus", "text.txt", "shorter than a chunk", "batch_size 64 x chunk_length 32"],
        ),
        (b"caf\xe9 " * 999, ["text.txt", "byte 3 (0xe9) is not UTF-8", "--data.tokenizer byte"]),
    ],
)
def test_a_bad_text_is_refused(refusal, tmp_path, content, named):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    message = refusal("train", "--data.corpus", path)
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--model.cell", "lsmt"], ["model.cell: no 'lsmt'; did you mean 'lstm'?"]),
        (["--gradient.rule", "btpt"], ["gradient.rule: no 'btpt'; did you mean 'bptt'?"]),
        (["--optimizer.name", "adan"], ["optimizer.name: no 'adan'; did you mean 'adam'?"]),
        (["--optimizer.options", "{b3 = 1}"], ["adam", "'b3'", "did you mean 'b"]),
        (["--optimizer.options", "{mu_dtype = 1.0}"], ["mu_dtype is 1.0", "a dtype, such as 'bfloat16'"]),
        (["--data.chunk_spread", "1e308"], ["data.chunk_spread = '1e308'", "expected float < 2147483648"]),
        (
            ["--data.chunk_length", "50", "--data.chunk_spread", "200"],
            ["data.chunk_length = 50 and data.chunk_spread = 200 want 450 steps", "shorter than a chunk"],
        ),
        (
            ["--gradient.rule", "checkpointed", "--gradient.memory", "100B"],
            ["memory (gradient.memory) is 100 bytes, too little for a chunk of 8 steps", "bytes works"],
        ),
        (["--model.hidden_size", "9" * 30], ["model.hidden_size", "expected a number below 2^32"]),
        (["--training.length", f"{'9' * 5000} updates"], ["training.length", "expected a number below 2^31"]),
        (["--gradient.rule", "checkpointed", "--gradient.memory", ""], ["gradient.memory = ''", "length >= 1"]),
        (["--sampling.prompt", "Ω"], ["sampling.prompt", "'Ω' not in the vocabulary"]),
        (["missing.toml"], ["missing.toml: no such file"]),
        (["--training.accumulate", "999"], ["training.accumulate = 999: expected at most", "the chunks of an epoch"]),
        (
            ["--data.tokenizer", "word", "--data.minimum_count", "99999"],
            ["data.minimum_count = 99999: no symbol is there so often; expected at most"],
        ),
        (
            ["--training.patience", "2", "--optimizer.plateau", "2"],
            ["training.patience = 2", "before the rate falls", "expected more than optimizer.plateau = 2, or 0"],
        ),
        (["--training.length", "2000000000 epochs"], ["training.length", "epochs", "updates; expected", "2^31"]),
    ],
)
def test_a_bad_setting_is_refused(refusal, settings, words, named):
    message = refusal("train", *settings(), *words)
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    "words", [["--training.length", "1 minute"], ["--data.tokenizer", "byte", "--model.vocabulary_sample", "40"]]
)
def test_a_validation_that_does_not_fit_is_refused_before_a_run_begins(refusal, settings, monkeypatch, words):
    """Where it is tried: to be timed, and where an update holds fewer logits."""
    too_large = jax.jit(lambda: jax.numpy.ones(1 << 46, "float32"))
    monkeypatch.setattr(train, "make_score", lambda *_, **__: lambda params, text: too_large())
    given = settings()
    at = given.index("--model.vocabulary_block")
    message = refusal("train", *given[:at], *given[at + 2 :], *words)
    assert "model.vocabulary_block, data.evaluation_streams: scoring 4 streams side by side takes more" in message


def test_a_file_with_an_unknown_key_is_refused(refusal, tmp_path):
    (tmp_path / "mine.toml").write_text("[model]\nhidden = 3\n")
    assert "model.hidden (mine.toml): no such key; did you mean 'model.hidden_size'?" in refusal("train", "mine.toml")


def test_a_bad_text_of_its_own_is_refused_by_its_key(refusal, settings, tmp_path):
    (tmp_path / "short.txt").write_text("x")
    (tmp_path / "long.txt").write_text("a text\n" * 99)
    for key, other in (("valid", "test"), ("test", "valid")):
        texts = [f"--data.{key}", "short.txt", f"--data.{other}", "long.txt"]
        assert f"data.{key} = 'short.txt'" in refusal("train", *settings(), *texts)


def test_an_existing_run_is_not_overwritten(refusal, finished_run, settings):
    folder, _ = finished_run
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert "exists already; go on with it by --resume" in refusal("train", *settings(), "--run", folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_run_goes_on_only_as_it_began(refusal, finished_run, tmp_path):
    folder, _ = finished_run
    resume = ("train", "--run", folder, "--resume")
    message = refusal(*resume, "--model.hidden_size", "7", "--seed", "1")
    assert "model.hidden_size was 6, is 7" in message and "seed" not in message
    (tmp_path / "other.toml").write_text("seed = 9\n")
    assert "seed was 1, is 9" in refusal(*resume[:1], "other.toml", *resume[1:])
    assert "nowhere: no such run" in refusal("train", "--run", "nowhere", "--resume")
    with runs.locked(runs.at(folder)):
        assert "another process is training this run" in refusal(*resume)


@pytest.fixture
def copied_run(finished_run, tmp_path_factory):
    """A copy of the finished run that may be spoilt."""
    return runs.at(shutil.copytree(finished_run[0], tmp_path_factory.mktemp("copies") / "run"))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_another_text_is_refused(refusal, copied_run, corpus, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "tiny.txt"
    other.write_text(corpus.read_text().replace("dogs", "cats"))
    edit(copied_run.config, str(corpus), str(other))
    assert "not the text that" in refusal("train", "--run", copied_run.folder, "--resume")
    assert "not the text that" in refusal("evaluate", copied_run.folder)


def every_command_refuses(refusal, run):
    """What going on with a run, sampling from it and scoring it say."""
    return [
        refusal(*words)
        for words in (("train", "--run", run.folder, "--resume"), ("sample", run.folder), ("evaluate", run.folder))
    ]


def test_an_edited_vocabulary_is_refused(refusal, copied_run):
    edit(copied_run.vocabulary, '"o"', '"X"')
    assert all("vocabulary.json" in said for said in every_command_refuses(refusal, copied_run))


def test_the_vocabulary_of_another_run_is_refused(refusal, copied_run):
    """Sound by itself and of the same size: only the fingerprint kept beside the text tells."""
    own = from_json(copied_run.vocabulary.read_text("utf-8"))
    copied_run.vocabulary.write_text(to_json(own._replace(symbols=own.symbols[::-1])), "utf-8")
    assert all("not the vocabulary that" in said for said in every_command_refuses(refusal, copied_run))


@pytest.mark.parametrize(("file", "content"), [("corpus", b"{"), ("corpus", b'{"origin": 1}'), ("vocabulary", b"\xff")])
def test_what_a_run_keeps_of_its_text_and_cannot_be_read_is_named(refusal, copied_run, file, content):
    getattr(copied_run, file).write_bytes(content)
    assert "cannot be read (" in refusal("train", "--run", copied_run.folder, "--resume")


def test_an_edited_configuration_is_refused(refusal, copied_run):
    edit(copied_run.config, "rate = 0.35", "rate = 0.4")
    assert "optimizer.rate was 0.35" in refusal("train", "--run", copied_run.folder, "--resume")
    edit(copied_run.config, "rate = 0.4", "rat = 0.3")
    assert "optimizer.rat" in refusal("train", "--run", copied_run.folder, "--resume")


def test_a_training_that_diverges_leaves_the_last_good_snapshot(finished_run, jaxrnn, settings, tmp_path, monkeypatch):
    """Targets that do not exist are NaN. Once its data are whole again it goes on to the same bits."""
    folder, next_chunks = tmp_path / "diverged", trainer.next_chunks

    def broken(experiment, position):
        chunks, after = next_chunks(experiment, position)
        return (chunks if position.updates < 8 else chunks._replace(targets=0 * chunks.targets - 1)), after

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "next_chunks", broken)
        said = jaxrnn("train", *settings(training__max_skipped=3), "--run", folder)
    newest = snapshots.newest(folder / "snapshots")
    assert (said.code, newest.name) == (2, "step_8") and f"the last good snapshot stays in {folder}" in said.err
    assert jaxrnn("train", "--run", folder, "--resume").code == 0
    assert arrays(folder) == arrays(finished_run[0])


@pytest.mark.parametrize(("warmup", "said"), [(0, "rate 0.35, plateau"), (1, "0.35, which a warm-up of 1 update does")])
def test_a_rate_that_the_warm_up_does_not_reach_is_named(warmup, said, jaxrnn, settings, tmp_path):
    words = settings(training__length="1 updates", sampling__length=1, optimizer__warmup=warmup)
    assert said in jaxrnn("train", *words, "--run", tmp_path / "run").out


def test_a_rate_that_is_too_high_is_named(jaxrnn, settings, tmp_path):
    folder = tmp_path / "apart"
    words = settings(
        optimizer__rate=1.7e308, optimizer__schedule="constant", optimizer__plateau=2, training__max_skipped=3
    )
    said = jaxrnn("train", *words, "--run", folder)
    assert said.code == 2
    # Two dispatches of two updates each: the metrics of both are read at once.
    assert "optimizer.rate" in said.err and "4 updates in a row" in said.err and "not finite" in said.err
    rows = runs.metrics(runs.at(folder))
    assert [row["skipped"] for row in rows][-3:] == [True] * 3
    assert snapshots.newest(folder / "snapshots") is None and "no snapshot was saved yet" in said.err


def test_default_folders_count_up_in_runs(jaxrnn, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = settings(training__length="1 updates", sampling__length=1)
    monkeypatch.setenv("HOME", str(tmp_path))
    said = jaxrnn("train", *words, "--run=~/runs/tiny-gru-1", "--json")  # a shell leaves this `~` alone
    assert said.answer["run"] == str(tmp_path / "runs/tiny-gru-1") and not Path("~").exists()
    monkeypatch.setattr(train, "check_memory", lambda _: Path("runs/tiny-gru-2").mkdir())  # as another training does
    assert jaxrnn("train", *words, "--json").answer["run"] == "runs/tiny-gru-3"
