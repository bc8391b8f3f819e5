"""The evaluation command: the same figures as the model itself gives, and the protocol beside them."""

import io
import json
import shutil
from functools import cache

import jax
import numpy as np
import pytest

from jaxrnn import analyze, evaluate, snapshots
from jaxrnn.build import build_trunk
from jaxrnn.data.chunks import make_streams, number_of_chunks, read
from jaxrnn.data.vocabulary import encode
from jaxrnn.dynamic import Adaptation, make_dynamic_evaluate, make_mean_squares
from jaxrnn.errors import InputError
from jaxrnn.gradients import bptt
from jaxrnn.losses import softmax_cross_entropy
from jaxrnn.pointer import Pointer, make_pointer_evaluate
from jaxrnn.running import devices, runs
from jaxrnn.running.progress import console
from jaxrnn.running.run_text import open_text
from jaxrnn.running.scorer import text_in_rows
from jaxrnn.running.trained import load_trained
from jaxrnn.running.tuning import ADAPTATIONS, POINTERS, Texts, with_cache, with_dynamic


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


def test_no_text_is_no_name_of_one(finished_run, jaxrnn):
    said = jaxrnn("evaluate", finished_run[0], "--text", "")
    assert said.code == 2 and "no file or folder ''" in said.err


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


WORDS = "the cat sat on a mat".split()
LINES = [f"{first} {second}" for first in WORDS for second in WORDS]


@pytest.fixture(scope="module")
def trained_on_lines(beforehand, tmp_path_factory):
    """`(separate) -> folder`, of a run on short lines, each a text by itself or not; each is trained once."""
    folder = tmp_path_factory.mktemp("lines")
    (folder / "lines.txt").write_text("\n".join(LINES * 10) + "\n")

    @cache
    def trained(separate):
        run = folder / f"run_{separate}"
        size = {"model.hidden_size": 6, "model.embedding_size": 5, "data.chunk_length": 8, "data.batch_size": 4}
        chosen = size | {"data.separate_lines": str(separate).lower(), "training.length": "30 updates"}
        options = [part for key, value in chosen.items() for part in (f"--{key}", value)]
        assert beforehand("train", "--data.corpus", folder / "lines.txt", "--run", run, *options).code == 0
        return run

    return trained


def test_separate_lines_cost_the_same_in_any_order(trained_on_lines, jaxrnn, tmp_path):
    """Each is read by itself, so that their order is nothing to the model; to one that reads on it is something."""
    texts = [tmp_path / name for name in ("forth.txt", "back.txt")]
    for path, order in zip(texts, (1, -1), strict=True):
        path.write_text("\n" + "\n".join(LINES[::order]) + "\n")  # the first symbol is context only

    def scored(separate):
        run = trained_on_lines(separate)
        ask = ("--streams", 1, "--by-context", 500, "--json")
        return [jaxrnn("evaluate", run, "--text", text, *ask).answer for text in texts]

    (forth, back), (one, other) = scored(True), scored(False)
    assert abs(forth["loss"] - back["loss"]) < 1e-6 < 1e-4 < abs(one["loss"] - other["loss"])
    for answer, anew in ((forth, True), (one, False)):
        for protocol in (answer, answer["by_context"]):
            assert ("initial again at the beginning of each line" in protocol["carry"]) == anew
        assert answer["by_context"]["every"] == 500 and "every 500 steps" in answer["by_context"]["carry"]
    assert forth["by_context"]["costs"][0] == {"first": 1, "last": 1, "targets": len(LINES)} | {
        "loss": pytest.approx(back["by_context"]["costs"][0]["loss"], abs=1e-6)
    }
    assert one["by_context"]["costs"][0]["targets"] == 1


def test_help_that_helps_nothing_leaves_the_score_of_separate_lines_what_it_is(trained_on_lines, jaxrnn):
    """A cache of no share, and learning of no rate, start anew with each line as the model does."""
    run = trained_on_lines(True)
    best = load_trained(run)
    _, dataset = open_text(best.config, run=best.run)
    texts = Texts(*(text_in_rows(dataset.ids[split], 4, 8) for split in ("train", "valid", "test")))
    plain = jaxrnn("evaluate", run, "--json").answer
    for help_with, way in ((with_cache, Pointer(0.0, 0.0, 1)), (with_dynamic, Adaptation(0.0))):
        helped = help_with(best, texts, console(stderr=True), [way])
        assert helped.evaluation.score.nats == pytest.approx(plain["loss"], rel=1e-12)
        assert helped.evaluation.protocol.carry.endswith("initial again at the beginning of each line")


def test_lines_cannot_be_separate_where_there_is_one(jaxrnn, tmp_path):
    text = tmp_path / "line.txt"
    text.write_text("abc" * 1000)
    said = jaxrnn("train", "--data.corpus", text, "--data.separate_lines", "true", "--run", tmp_path / "run")
    assert said.code == 2 and said.err.startswith("error: data.separate_lines: the training text has no line's end")


def test_a_dropped_tail_leaves_full_chunks_of_every_stream(finished_run, jaxrnn):
    folder, _ = finished_run
    whole = jaxrnn("evaluate", folder, "--json").answer
    answer = jaxrnn("evaluate", folder, "--streams", 3, "--steps", 7, "--drop-tail", "--json").answer
    counted = whole["targets"] // 3 // 7 * 7 * 3
    assert (answer["targets"], answer["tail"]) == (counted, f"{whole['targets'] - counted} targets dropped")
    assert answer["characters"] == counted
    said = jaxrnn("evaluate", folder, "--streams", whole["targets"], "--drop-tail")
    assert said.code == 2 and "shorter than a chunk" in said.err and said.err.count("\n") == 1
    assert "give a smaller --streams or --steps" in said.err


def test_steps_change_nothing_in_a_plain_score(finished_run, jaxrnn):
    scores = [jaxrnn("evaluate", finished_run[0], "--steps", steps, "--json").answer["loss"] for steps in (3, 50)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)


def test_scores_with_help_stand_beside_the_plain_one(finished_run, jaxrnn):
    """By the evaluations themselves, over all of the grid: what does best on the validation text is taken."""
    folder, trained = finished_run
    answer = jaxrnn("evaluate", folder, "--dynamic", "--cache", "--json").answer
    assert answer["loss"] == trained.answer["loss"]
    best = load_trained(folder)
    data, (_, dataset) = best.config.data, open_text(best.config, best.run)

    def chunks(ids):
        text = make_streams(ids, data.batch_size, data.chunk_length, drop_tail=False)
        return [read(text, index) for index in range(number_of_chunks(text))]

    valid = chunks(dataset.ids["valid"][: best.config.training.validate_targets + 1])
    train, test = chunks(dataset.ids["train"])[: len(valid)], chunks(dataset.ids["test"])
    start, estimator = best.cell.initial_carry((data.batch_size,)), bptt(best.cell, softmax_cross_entropy)
    squares = make_mean_squares(estimator)(best.params, start, train)
    learn = make_dynamic_evaluate(estimator)
    trunk = build_trunk(best.config.model, len(best.vocabulary.symbols), best.config.regularizer)
    look_up, empty = make_pointer_evaluate(trunk), trunk.initial_carry((data.batch_size,))

    def dynamic(chunks, ways):
        return [learn(best.params, start, chunks, way, squares).score.nats for way in ways]

    def cache(chunks, ways):
        return [evaluation.score.nats for evaluation in look_up(best.params, empty, chunks, ways)]

    longest = -(-trained.answer["targets"] // data.batch_size)  # the steps of a stream, and all a window can hold
    pointers = [way._replace(window=min(way.window, longest)) for way in POINTERS]
    for name, score, grid in (("dynamic", dynamic, ADAPTATIONS), ("cache", cache, pointers)):
        kept, losses = answer[name], score(valid, grid)
        choice = grid[int(np.nanargmin(losses))]
        assert {key: kept[key] for key in choice._asdict()} == choice._asdict()
        assert kept["valid_loss"] == pytest.approx(np.nanmin(losses), rel=1e-12)
        assert [kept["loss"]] == pytest.approx(score(test, [choice]), rel=1e-12)
        assert kept["chosen_on"] == best.config.training.validate_targets and not kept["chosen_on_scored"]


def test_what_learns_from_the_text_says_by_how_many_steps(finished_run, jaxrnn):
    folder, _ = finished_run
    answers = [jaxrnn("evaluate", folder, "--dynamic", "--steps", steps, "--json").answer for steps in (2, 5)]
    assert [answer["steps"] for answer in answers] == [2, 5]
    assert answers[0]["dynamic"]["loss"] != answers[1]["dynamic"]["loss"]
    assert "learn from every 5 steps" in answers[1]["dynamic"]["carry"]
    assert "learn from every 5 steps" in jaxrnn("evaluate", folder, "--dynamic", "--steps", 5).out


def test_help_that_is_chosen_on_what_is_scored_says_so(finished_run, jaxrnn):
    ask = ("evaluate", finished_run[0], "--split", "valid", "--cache")
    assert jaxrnn(*ask, "--json").answer["cache"]["chosen_on_scored"] is True
    assert "part of the text scored here" in jaxrnn(*ask).out


def test_a_log_shows_how_far_help_is(finished_run, jaxrnn):
    said = jaxrnn("evaluate", finished_run[0], "--dynamic", "--cache")
    for name in ("dynamic", "cache"):
        last = [line for line in said.out.splitlines() if line.endswith(f"{name}: scoring")][-1]
        done, total = last.split()[0].split("/")
        assert done == total and "100%" in last


def test_interrupted_help_leaves_the_plain_score(finished_run, jaxrnn, monkeypatch):
    def interrupt(*given):
        raise KeyboardInterrupt

    monkeypatch.setitem(evaluate.HELP, "cache", interrupt)
    said = jaxrnn("evaluate", finished_run[0], "--cache")
    assert said.code == 130 and f"{finished_run[1].answer['loss']:.4f} nats" in said.out


@pytest.mark.parametrize("command", [evaluate, analyze])
def test_memory_is_settled_before_the_parameters_are_there(finished_run, jaxrnn, monkeypatch, command):
    happened = []

    def load(folder):
        happened.append("loaded")
        raise InputError("enough")

    monkeypatch.setattr(devices, "keep_buffers", lambda: happened.append("settled"))
    monkeypatch.setattr(command, "load_trained", load)
    assert jaxrnn(command.__name__.rpartition(".")[2], finished_run[0]).err == "error: enough\n"
    assert happened == ["settled", "loaded"]


def test_a_text_of_ones_own_gets_help_chosen_on_the_runs_validation_text(finished_run, jaxrnn, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the dogs sat on a cat\nand ran off to see\n" * 5)
    plain, helped = (
        jaxrnn("evaluate", finished_run[0], "--text", path, "--json", *more).answer for more in ((), ["--cache"])
    )
    assert helped["loss"] == plain["loss"] and helped["targets"] == len(path.read_text()) - 1
    assert helped["cache"]["chosen_on"] == 40 and helped["cache"]["loss"] != plain["loss"]


def test_without_a_reset_costs_by_context_are_the_plain_score(finished_run, jaxrnn):
    answer = jaxrnn("evaluate", finished_run[0], "--by-context", 10_000, "--json").answer
    whole = sum(row["loss"] * row["targets"] for row in answer["by_context"]["costs"])
    assert whole / answer["targets"] == pytest.approx(answer["loss"], rel=1e-12)


def test_costs_by_context_add_up(finished_run, jaxrnn):
    said = jaxrnn("evaluate", finished_run[0], "--by-context", 10, "--json")
    rows = said.answer["by_context"]["costs"]
    assert [(row["first"], row["last"]) for row in rows] == [(1, 1), (2, 2), (3, 4), (5, 8), (9, 10)]
    assert sum(row["targets"] for row in rows) == said.answer["targets"]
    assert said.err.count("\n") == 8 + 7 and "initial at the start of each stream and every 10 steps\n" in said.err


@pytest.mark.parametrize("option", ["--streams", "--steps", "--by-context"])
def test_numbers_below_one_are_refused(finished_run, jaxrnn, option):
    said = jaxrnn("evaluate", finished_run[0], option, 0)
    assert (said.code, said.err) == (2, f"error: {option} 0: expected 1 or more\n")


def test_a_run_on_standard_input_asks_for_its_text_again(finished_run, jaxrnn, corpus, tmp_path, monkeypatch):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    config = folder / "config.toml"
    config.write_text(config.read_text().replace(f'"{corpus}"', '"-"'))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    for command in ("evaluate", "analyze"):
        said = jaxrnn(command, folder)
        assert said.code == 2 and "was trained on standard input" in said.err
        assert f"or name another: jaxrnn {command} {folder} --text FILE" in said.err
    said = jaxrnn("train", "--run", folder, "--resume")
    assert said.code == 2 and "was trained on standard input" in said.err and "--text" not in said.err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(corpus.read_bytes())))
    answer = jaxrnn("evaluate", folder, "--cache", "--json").answer  # which reads the other splits as well
    assert answer["loss"] == finished_run[1].answer["loss"] and answer["cache"]["chosen_on"] == 40


@pytest.mark.filterwarnings("default")  # as for a user, who sees one line
def test_a_lost_best_snapshot_is_said(finished_run, jaxrnn, tmp_path):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    (best,) = (folder / "snapshots").glob("best_*")
    shutil.rmtree(best)
    said = jaxrnn("sample", folder, "--json")
    assert said.code == 0 and said.answer["snapshot"].startswith("step_")
    assert "warning: " in said.err and "best snapshot is missing or damaged; step_" in said.err


@pytest.mark.parametrize("command", [["evaluate"], ["sample", "--length", 1]])
def test_compiled_programs_are_kept_as_those_of_training_are(finished_run, jaxrnn, monkeypatch, tmp_path, command):
    folder, _ = finished_run
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("JAXRNN_CACHE", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        name, *options = command
        assert jaxrnn(name, folder, *options).code == 0
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def test_a_snapshot_that_is_pruned_meanwhile_is_looked_up_again(finished_run, monkeypatch):
    """As when the run is still trained, and has found a better one."""
    folder = finished_run[0]
    newest, gone = snapshots.newest, [folder / "snapshots" / "best_1"]
    monkeypatch.setattr(snapshots, "newest", lambda *where: gone.pop() if gone else newest(*where))
    assert load_trained(folder).snapshot == newest(folder / "snapshots", "best")
