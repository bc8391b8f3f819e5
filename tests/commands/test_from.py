"""A run may begin with what another one has learned."""

import json

import pytest

from jaxrnn.running import runs
from jaxrnn.running.run_text import kept_vocabulary

SLOWLY = ("--optimizer.rate", "1e-9", "--training.length", "4 updates", "--json")


def test_it_begins_with_the_best_parameters_and_the_settings_of_the_other(finished_run, jaxrnn, tmp_path):
    folder, before = finished_run
    said = jaxrnn("train", "--from", folder, "--run", tmp_path / "run", *SLOWLY)
    assert said.code == 0 and f"begins with the parameters of {folder}" in said.err
    assert said.answer["loss"] == pytest.approx(before.answer["loss"], rel=1e-6) and said.answer["updates"] == 4
    ours, theirs = (runs.find(one)[1] for one in (tmp_path / "run", folder))
    assert (ours.model, ours.data) == (theirs.model, theirs.data)
    about = json.loads((tmp_path / "run" / "corpus.json").read_text())
    assert about["begun_from"] == str(folder / "snapshots" / before.answer["snapshot"])
    again = jaxrnn("train", "--run", tmp_path / "run", "--resume", "--training.length", "6 updates", "--json")
    assert again.code == 0 and again.answer["updates"] == 6


def test_another_text_is_read_with_the_symbols_of_the_other_run(finished_run, jaxrnn, corpus, tmp_path):
    folder, _ = finished_run
    (tmp_path / "other.txt").write_text(corpus.read_text().replace("dogs", "döts"))
    text = ("--data.corpus", tmp_path / "other.txt")
    said = jaxrnn("train", "--from", folder, "--run", tmp_path / "run", *text, *SLOWLY)
    assert said.code == 0 and "left out" in said.err
    assert kept_vocabulary(runs.at(tmp_path / "run")) == kept_vocabulary(runs.at(folder))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--model.hidden_size", "7"], "is another: model.hidden_size was 6, is 7; leave that out, or begin without"),
        (["--resume"], "--from"),
    ],
)
def test_another_model_is_refused(finished_run, jaxrnn, tmp_path, words, named):
    said = jaxrnn("train", "--from", finished_run[0], "--run", tmp_path / "run", *words)
    assert said.code == 2 and named in said.err and not (tmp_path / "run").exists()


def test_a_run_that_is_not_there_is_named(jaxrnn, tmp_path):
    said = jaxrnn("train", "--from", tmp_path / "nowhere", "--run", tmp_path / "run")
    assert said.code == 2 and "nowhere: no such run" in said.err
