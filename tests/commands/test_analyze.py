"""`jaxrnn analyze`: one page for a run, and refusals in one line."""

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from jaxrnn import analyze, snapshots
from jaxrnn.command import ended
from jaxrnn.errors import InputError, naming_refusals
from jaxrnn.running import following, runs, study
from jaxrnn.running.trained import load_trained

CORPUS = object()  # stands for the small text
MINE = """
def a_vowel(text):
    return [letter in 'aeiou' for letter in text]

def an_end(text):  # of each half: the last symbols do not count
    return [at in (len(text) // 2 - 1, len(text) - 1) for at in range(len(text))]
"""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few horizons: each of them is compiled."""
    monkeypatch.setattr(study, "HORIZONS", (4, 16))


def test_it_writes_a_report(jaxrnn, finished_run, corpus, tmp_path):
    folder = tmp_path / "report"
    (tmp_path / "mine.py").write_text(MINE)
    own = ["--label", tmp_path / "mine.py:a_vowel", "--label", tmp_path / "mine.py:an_end", "--follow", "a vowel"]
    said = jaxrnn("analyze", finished_run[0], "--text", corpus, "--out", folder, "--json", *own)
    assert said.code == 0, said.err
    assert said.answer["report"] == str(folder / "report.html") and said.answer["seconds"] > 0
    numbers = json.loads((folder / "analysis.json").read_text("utf-8"))
    names = {finding["label"] for finding in numbers["units"]}
    assert {"end of a word", "position in the line", "a vowel"} <= names and "inside a string literal" not in names
    assert numbers["notes"] == [
        "Labels that do not vary in both texts: inside quotes, indentation.",
        "Labels that do not vary at the places that units are chosen on, so that none was chosen for them: an end.",
    ]
    assert set(numbers["gates"]) == {"1/r", "1/z"} and [row["horizon"] for row in numbers["horizon"]["rows"]][:2] == [
        4,
        16,
    ]
    through = numbers["followed"]
    kept = {updates for updates, _ in snapshots.listed(finished_run[0] / "snapshots")}
    assert through["label"] == "a vowel" and through["updates"] == sorted({0} | kept) and len(kept) > 1
    vowels = next(finding for finding in numbers["units"] if finding["label"] == "a vowel")
    assert through["unit"] == vowels["units"][0]["unit"]
    assert through["best"] == int(said.answer["snapshot"].rpartition("_")[2])
    best = through["updates"].index(through["best"])
    # All of this small text is read: so the best snapshot's scores are those in the table, and the first is untrained.
    assert through["scores"][best] == pytest.approx(vowels["units"][0]["held_out"], abs=1e-9)
    assert through["probes"][best] == pytest.approx(vowels["probe"], abs=1e-9)
    assert through["probes"][0] == pytest.approx(vowels["untrained"]["probe"], abs=1e-9)
    assert (folder / "unit.svg").is_file() and "a vowel, by update: AUC" in said.err
    page = (folder / "report.html").read_text("utf-8")
    assert "gru, 1 layer of 6 units" in page and "the cat" not in said.out
    assert f"seen on the text of {corpus}, which was given" in page and "not trained on" not in page


def test_a_text_too_short_is_refused_before_anything_is_written(jaxrnn, finished_run):
    said = jaxrnn("analyze", finished_run[0])
    assert said.code == 2 and said.err.count("\n") == 1
    assert "expected at least 500, the first 250 as run-up; give a longer text" in said.err
    assert not (finished_run[0] / "analysis").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--length", "0"], "--length 0: expected 1 or more"),
        (["--text", "nowhere.txt"], "no file or folder"),
        (["--label", "nowhere.py:f"], "no file nowhere.py"),
        (["--text", Path(__file__), "--follow", "a vowl"], "--follow: no 'a vowl' (expected one of: inside a string"),
        (
            ["--text", CORPUS, "--follow", "indentation"],
            "--follow: 'indentation' does not vary in both texts (expected one of: after a newline, end of a word, ",
        ),
        (
            ["--text", CORPUS, "--follow", "bracket depth"],
            "labels of Python source are there where all files are .py",
        ),
        (
            ["--text", CORPUS, "--length", "100"],
            "at least 500, the first 250 as run-up; give a larger --length than 100",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(jaxrnn, finished_run, corpus, words, message):
    said = jaxrnn("analyze", finished_run[0], *(corpus if word is CORPUS else word for word in words))
    assert said.code == 2 and message in said.err and said.err.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_named_before_the_work(jaxrnn, finished_run, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(analyze, "watch", None)
    run = shutil.copytree(finished_run[0], tmp_path / "run")
    (run / "analysis").write_text("")
    below = run / "analysis" / "report"
    for folder, words in ((run / "analysis", []), (below, ["--out", below])):
        said = jaxrnn("analyze", run, "--text", corpus, *words)
        assert said.code == 2 and f"{folder}: cannot be written (" in said.err and said.err.count("\n") == 1


def test_what_the_disk_refuses_in_the_end_names_the_folder_too(tmp_path):
    """Such an error knows of no file."""
    with pytest.raises(InputError, match=f"{tmp_path}: cannot be written .No space left on device."):
        with naming_refusals(tmp_path, "choose another"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_interrupted_it_says_so_and_leaves_no_empty_folder(jaxrnn, finished_run, corpus, tmp_path, monkeypatch):
    def interrupt(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(analyze, "watch", interrupt)
    said = jaxrnn("analyze", finished_run[0], "--text", corpus, "--out", tmp_path / "a")
    assert (said.code, said.err) == (130, "interrupted\n") and not (tmp_path / "a").exists()


def test_an_interrupted_process_ends_at_once(monkeypatch):
    """Python's own ending takes away what XLA's threads may still be working with, and the process crashes."""
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    assert [ended(code) for code in (0, 2, 130)] == [0, 2, 130] and codes == [130]


def test_of_many_snapshots_few_are_read_evenly_and_the_best_among_them(tmp_path):
    found = [(number, tmp_path / f"step_{number}") for number in range(100, 5100, 100)]
    best = tmp_path / "best_1700"
    chosen = following._evenly(sorted([*found, (1700, best)]), best)
    assert len(chosen) == 12 and (1700, best) in chosen and len({number for number, _ in chosen}) == len(chosen)
    assert chosen[0][0] == 100 and chosen[-1][0] == 5000
    gaps = [b - a for (a, _), (b, _) in zip(chosen, chosen[1:], strict=False)]
    assert max(gaps) <= 700  # of 50 in eleven steps each is 400 or 500; the best is in the place of its neighbour
    assert following._evenly(found[:3], best) == found[:3]


def test_a_unit_is_followed_though_the_run_has_gone_on_meanwhile(finished_run, tmp_path, monkeypatch):
    """A better snapshot has taken the place of the one that was read."""
    best = load_trained(finished_run[0])
    gone = best._replace(run=runs.at(tmp_path), snapshot=tmp_path / "snapshots" / best.snapshot.name)
    for name in ("choose", "score_choice"):
        monkeypatch.setattr(following, name, MagicMock())
    text = SimpleNamespace(ids=None, labels={"a vowel": None})
    studied = SimpleNamespace(chosen_on=text, scored_on=text, cell=None, untrained={})
    watched = SimpleNamespace(findings=[SimpleNamespace(label="a vowel", units=[None], measure="AUC")])
    followed = following.follow_unit(gone, studied, watched, "a vowel", lambda part: None)
    assert followed.best == int(best.snapshot.name.rpartition("_")[2]) and followed.updates == (0,)
