"""A run may begin with what another one has learned."""

import json
import re
import shutil

import pytest

from jaxrnn.running import runs
from jaxrnn.running.run_text import kept_vocabulary
from jaxrnn.running.trained import load_trained

SLOWLY = ("--optimizer.rate", "1e-9", "--training.length", "4 updates", "--json")


def test_it_begins_with_the_best_parameters_and_the_settings_of_the_other(finished_run, jaxrnn, tmp_path):
    folder, before = finished_run
    said = jaxrnn("train", "--from", folder, "--run", tmp_path / "run", *SLOWLY)
    assert said.code == 0 and f"begins with the parameters of {folder}" in said.err
    assert said.answer["loss"] == pytest.approx(before.answer["loss"], rel=1e-6) and said.answer["updates"] == 4
    ours, theirs = (runs.find(one)[1] for one in (tmp_path / "run", folder))
    assert (ours.model, ours.data) == (theirs.model, theirs.data)
    about = json.loads((tmp_path / "run" / "corpus.json").read_text())
    best = folder / "snapshots" / before.answer["snapshot"]
    assert about["begun_from"].pop("seconds") > 0
    assert about["begun_from"] == {"snapshot": str(best), "updates": int(best.name.removeprefix("best_"))}
    again = jaxrnn("train", "--run", tmp_path / "run", "--resume", "--training.length", "6 updates", "--json")
    assert again.code == 0 and again.answer["updates"] == 6


def test_another_text_is_read_with_the_symbols_of_the_other_run(finished_run, jaxrnn, corpus, tmp_path):
    folder, _ = finished_run
    (tmp_path / "other.txt").write_text(corpus.read_text().replace("dogs", "döts"))
    text = ("--data.corpus", tmp_path / "other.txt")
    said = jaxrnn("train", "--from", folder, "--run", tmp_path / "run", *text, *SLOWLY)
    assert said.code == 0 and "left out" in said.err
    assert kept_vocabulary(runs.at(tmp_path / "run")) == kept_vocabulary(runs.at(folder))


def test_another_text_brings_its_own_splits(jaxrnn, settings, corpus, tmp_path):
    """Those of the other run's text are not what it is scored on; said by name, they are what is evaluated."""
    for name in ("valid", "test"):
        (tmp_path / f"{name}.txt").write_text(corpus.read_text()[:600])
    given = {f"data__{name}": tmp_path / f"{name}.txt" for name in ("valid", "test")}
    parent, child, same = (tmp_path / name for name in ("parent", "child", "same"))
    words = settings(**given, training__length="2 updates", sampling__length=1)
    assert jaxrnn("train", *words, "--run", parent).code == 0
    assert f"{tmp_path / 'test.txt'}" in jaxrnn("evaluate", parent).out
    assert jaxrnn("train", "--from", parent, "--run", same, *SLOWLY).code == 0
    assert jaxrnn("train", "--from", parent, "--run", child, "--data.corpus", corpus, *SLOWLY).code == 0
    kept, left = (runs.find(folder)[1].data for folder in (same, child))
    assert kept.test == str(tmp_path / "test.txt") and (left.valid, left.test) == (None, None)


@pytest.fixture(scope="module")
def undropped(beforehand, settings, tmp_path_factory):
    """A run of two layers without dropout or penalties, and what was said."""
    folder = tmp_path_factory.mktemp("runs") / "undropped"
    words = settings(model__num_layers=2, model__dropout=0.0, training__length="2 updates", sampling__length=1)
    return folder, beforehand("train", *words, "--run", folder, "--json")


@pytest.mark.parametrize("more", ["--model.dropout", "--regularizer.dropout_hidden", "--regularizer.temporal_penalty"])
def test_dropout_and_penalties_may_be_others(undropped, jaxrnn, tmp_path, more):
    """They change the names of the layers that have parameters."""
    (parent, before), child, grandchild = undropped, tmp_path / "child", tmp_path / "grandchild"
    assert jaxrnn("train", "--from", parent, "--run", child, more, "0.3", *SLOWLY).code == 0
    after = jaxrnn("train", "--from", child, "--run", grandchild, more, "0", *SLOWLY).answer
    assert after["loss"] == pytest.approx(before.answer["loss"], rel=1e-6)


def test_killed_before_its_first_snapshot_it_begins_again_with_the_same_parameters(finished_run, jaxrnn, tmp_path):
    folder, before = finished_run
    run = runs.at(tmp_path / "run")
    assert jaxrnn("train", "--from", folder, "--run", run.folder, *SLOWLY).code == 0
    for later in (path for path in run.snapshots.iterdir() if path.name != "step_0"):
        shutil.rmtree(later)
    again = jaxrnn("train", "--run", run.folder, "--resume", "--json").answer
    assert again["loss"] == pytest.approx(before.answer["loss"], rel=1e-6)


def test_the_other_run_may_go_on_meanwhile(finished_run, jaxrnn, tmp_path, monkeypatch):
    """A better snapshot takes the place of the one that was read."""
    folder, before = finished_run
    parent = shutil.copytree(folder, tmp_path / "parent")

    def load_and_prune(run):
        best = load_trained(run)
        if run == parent:
            shutil.rmtree(best.snapshot)
        return best

    monkeypatch.setattr("jaxrnn.train.load_trained", load_and_prune)
    said = jaxrnn("train", "--from", parent, "--run", tmp_path / "run", *SLOWLY)
    assert said.code == 0, said.err
    begun = json.loads((tmp_path / "run" / "corpus.json").read_text())["begun_from"]
    assert begun["updates"] == int(before.answer["snapshot"].removeprefix("best_"))


def test_interrupted_while_its_folder_is_made_there_is_none(finished_run, jaxrnn, tmp_path, monkeypatch):
    """Else it would go on, with parameters that are drawn."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxrnn.train.save", interrupted)
    assert jaxrnn("train", "--from", finished_run[0], "--run", tmp_path / "run", *SLOWLY).code == 130
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_says_and_nothing_reads_is_refused(finished_run, jaxrnn, tmp_path):
    text = (finished_run[0] / "config.toml").read_text()
    other, changes = re.subn(r'\ninitializer = ".*"', '\ninitializer = "fan_in_normal"', text)
    assert changes == 1
    for name, words, code in (("same", text, 0), ("other", other, 2)):
        (tmp_path / f"{name}.toml").write_text(words)
        said = jaxrnn("train", tmp_path / f"{name}.toml", "--from", finished_run[0], "--run", tmp_path / name, *SLOWLY)
        assert said.code == code and ("model.initializer: nothing reads it" in said.err) == (code == 2), said


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--model.initializer", "orthogonal"], "model.initializer: nothing reads it where a run begins with the"),
        (["--model.hidden_size", "7"], "is another: model.hidden_size was 6, is 7; leave that out, or begin without"),
        (["--model.recurrent_bias", "false"], "model.recurrent_bias was True, is False"),
        (["--resume"], "--from"),
    ],
)
def test_another_model_is_refused(finished_run, jaxrnn, tmp_path, words, named):
    said = jaxrnn("train", "--from", finished_run[0], "--run", tmp_path / "run", *words)
    assert said.code == 2 and named in said.err and not (tmp_path / "run").exists()


def test_a_run_that_is_not_there_is_named(jaxrnn, tmp_path):
    said = jaxrnn("train", "--from", tmp_path / "nowhere", "--run", tmp_path / "run")
    assert said.code == 2 and "nowhere: no such run" in said.err
