"""The evaluation command: the same figures as the model itself gives, and the protocol beside them."""

import io
import json
import shutil

import jax
import numpy as np
import pytest

from jaxrnn.data.vocabulary import encode
from jaxrnn.running import runs
from jaxrnn.running.trained import load_trained


def test_the_test_split_scores_as_it_did_at_the_end_of_training(finished_run, jaxrnn):
    folder, trained = finished_run
    said = jaxrnn("evaluate", folder, "--json")
    assert said.code == 0 and said.out.count("\n") == 1
    for key in (
        "loss",
        "perplexity",
        "bits_per_character",
        "targets",
        "streams",
        "vocabulary",
        "carry",
        "tail",
        "snapshot",
    ):
        assert said.answer[key] == trained.answer[key], key
    assert said.answer["run"] == str(folder)


def test_one_stream_scores_what_a_plain_loop_over_the_text_does(finished_run, jaxrnn, tmp_path):
    folder, _ = finished_run
    text = "the dogs sat on a cat\nand ran\n"
    path = tmp_path / "text.txt"
    path.write_text(text)
    best = load_trained(folder)
    ids = encode(best.vocabulary, text, exact=True)
    step = jax.jit(best.cell.step)
    carry, nats = best.cell.initial_carry(()), []
    for symbol, following in zip(ids, ids[1:], strict=False):
        carry, logits = step(best.params, carry, symbol)
        nats.append(float(np.logaddexp.reduce(logits) - logits[following]))
    answer = jaxrnn("evaluate", folder, "--text", path, "--streams", 1, "--json").answer
    assert answer["loss"] == pytest.approx(np.mean(nats), rel=1e-12)
    assert (answer["targets"], answer["streams"]) == (len(text) - 1, 1)


def test_every_split_counts_all_its_targets(finished_run, jaxrnn):
    folder, _ = finished_run
    sizes = {
        split: about["symbols"] for split, about in json.loads(runs.at(folder).corpus.read_text())["splits"].items()
    }
    for split, size in sizes.items():
        for streams in (3, 5):
            answer = jaxrnn("evaluate", folder, "--split", split, "--streams", streams, "--json").answer
            assert (answer["targets"], answer["streams"]) == (size - 1, streams)


def test_more_streams_than_targets_are_as_many_as_targets(finished_run, jaxrnn, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("the")
    answer = jaxrnn("evaluate", finished_run[0], "--text", path, "--json").answer
    assert (answer["targets"], answer["streams"]) == (2, 2)


def test_the_protocol_is_printed(finished_run, jaxrnn):
    said = jaxrnn("evaluate", finished_run[0])
    for word in (
        "nats per character",
        "perplexity",
        "per character",
        "targets",
        "streams",
        "carry",
        "tail",
        "fingerprint",
    ):
        assert word in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "no file or folder"),
        (b"", "empty"),
        (b"t", "shorter than a chunk"),
        ("Ω".encode(), "no symbol of the vocabulary"),
        (b"the \xff", "byte 4 (0xff) is not UTF-8"),
    ],
)
def test_a_bad_text_is_refused_in_one_line(finished_run, jaxrnn, tmp_path, content, named):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    said = jaxrnn("evaluate", finished_run[0], "--text", path)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and named in said.err
    assert "text.txt" in said.err


def test_unseen_symbols_are_left_out_and_counted(finished_run, jaxrnn, tmp_path):
    plain, strange = tmp_path / "plain.txt", tmp_path / "strange.txt"
    plain.write_text("the dogs sat on a cat\n")
    strange.write_text("Ωthe dogs sat oné a catΩ\n")
    answers = [jaxrnn("evaluate", finished_run[0], "--text", path, "--json").answer for path in (plain, strange)]
    assert [answer.pop("unseen") for answer in answers] == [0, 3]
    assert answers[0] | {"text": None} == answers[1] | {"text": None}
    said = jaxrnn("evaluate", finished_run[0], "--text", strange)
    assert said.code == 0 and "3 characters of the text not in the vocabulary: left out" in said.out


def test_a_run_without_a_snapshot_is_sent_back_to_training(finished_run, jaxrnn, tmp_path):
    whole = runs.at(finished_run[0])
    run = runs.create(
        tmp_path / "new", {path.name: path.read_text() for path in (whole.config, whole.vocabulary, whole.corpus)}
    )
    for command in ("evaluate", "sample"):
        said = jaxrnn(command, run.folder)
        assert said.code == 2 and f"jaxrnn train --run {run.folder} --resume" in said.err


def test_a_run_on_standard_input_asks_for_its_text_again(finished_run, jaxrnn, corpus, tmp_path, monkeypatch):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    config = folder / "config.toml"
    config.write_text(config.read_text().replace(f'"{corpus}"', '"-"'))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    said = jaxrnn("evaluate", folder)
    assert said.code == 2 and "was trained on standard input" in said.err and "--text FILE" in said.err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(corpus.read_bytes())))
    assert jaxrnn("evaluate", folder, "--json").answer["loss"] == finished_run[1].answer["loss"]


@pytest.mark.filterwarnings("default")  # as for a user, who sees one line
def test_a_lost_best_snapshot_is_said(finished_run, jaxrnn, tmp_path):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    (best,) = (folder / "snapshots").glob("best_*")
    shutil.rmtree(best)
    said = jaxrnn("sample", folder, "--json")
    assert said.code == 0 and said.answer["snapshot"].startswith("step_")
    assert "warning: " in said.err and "best snapshot is missing or damaged; step_" in said.err
