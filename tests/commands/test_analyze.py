"""`jaxrnn analyze`: one page for a run, and refusals in one line."""

import json

import pytest

from jaxrnn.running import study


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few horizons: each of them is compiled."""
    monkeypatch.setattr(study, "HORIZONS", (4, 16))


def test_it_writes_a_report(jaxrnn, finished_run, corpus, tmp_path):
    folder = tmp_path / "report"
    said = jaxrnn("analyze", finished_run[0], "--text", corpus, "--out", folder, "--json")
    assert said.code == 0, said.err
    assert said.answer["report"] == str(folder / "report.html") and said.answer["seconds"] > 0
    numbers = json.loads((folder / "analysis.json").read_text("utf-8"))
    names = {finding["label"] for finding in numbers["units"]}
    assert {"end of a word", "position in the line"} <= names and "inside a string literal" not in names
    assert numbers["notes"] == ["Labels that do not vary in both parts of the text: inside quotes, indentation."]
    assert set(numbers["gates"]) == {"1/r", "1/z"} and [row["horizon"] for row in numbers["horizon"]["rows"]][:2] == [
        4,
        16,
    ]
    page = (folder / "report.html").read_text("utf-8")
    assert "gru, 1 layer of 6 units" in page and "the cat" not in said.out


def test_a_text_too_short_is_refused_before_anything_is_written(jaxrnn, finished_run):
    said = jaxrnn("analyze", finished_run[0])
    assert said.code == 2 and said.err.count("\n") == 1
    assert "at least 500 symbols; give a longer text" in said.err
    assert not (finished_run[0] / "analysis").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--length", "0"], "--length 0: expected 1 or more"), (["--text", "nowhere.txt"], "no file or folder")],
)
def test_what_is_wrong_is_said_in_one_line(jaxrnn, finished_run, words, message):
    said = jaxrnn("analyze", finished_run[0], *words)
    assert said.code == 2 and message in said.err and said.err.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_named(jaxrnn, finished_run, corpus, tmp_path):
    (tmp_path / "file").write_text("")
    said = jaxrnn("analyze", finished_run[0], "--text", corpus, "--out", tmp_path / "file" / "report")
    assert said.code == 2 and "--out" in said.err and "cannot be written" in said.err
