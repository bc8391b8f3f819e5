"""The sampling command: what is asked for, as it comes, and the same again for the same seed."""

import io
import sys

import numpy as np
import pytest

from jaxrnn import sample
from jaxrnn.data.vocabulary import encode
from jaxrnn.running import runs
from jaxrnn.running.run_text import open_text
from jaxrnn.running.trained import load_trained
from jaxrnn.running.writer import until


@pytest.fixture
def written(finished_run, jaxrnn):
    """What the model writes, without the last line end."""

    def run(*words):
        said = jaxrnn("sample", finished_run[0], *words)
        assert (said.code, said.err) == (0, "")
        return said.out[:-1]

    return run


def test_the_sample_of_the_training_comes_again(finished_run, written):
    folder, trained = finished_run
    assert written() == (runs.at(folder).samples / f"{trained.answer['snapshot']}.txt").read_text()


def test_a_seed_decides_the_text(written):
    words = ("--prompt", "the cat", "--length", 40)
    assert written(*words, "--seed", 3) == written(*words, "--seed", 3) != written(*words, "--seed", 4)
    assert written(*words, "--seed", 3, "--temperature", 0) == written(*words, "--seed", 4, "--top-k", 1)
    assert written(*words, "--seed", 3, "--top-p", 1e-6) == written(*words, "--temperature", 0)


def test_the_prompt_comes_first_and_the_length_counts_what_follows(written):
    text = written("--prompt", "the cat", "--length", 13)
    assert text.startswith("the cat") and len(text) == 7 + 13
    assert len(written("--length", 13)) == 13


def test_json_has_the_text_and_how_it_was_made(finished_run, jaxrnn):
    said = jaxrnn("sample", finished_run[0], "--prompt", "the", "--length", 5, "--top-p", 0.5, "--seed", 7, "--json")
    answer = said.answer
    assert answer["text"] + "\n" == said.err
    kept = ("prompt", "length", "temperature", "top_k", "top_p", "seed", "run")
    assert [answer[key] for key in kept] == ["the", 5, 0.8, None, 0.5, 7, str(finished_run[0])]


def test_characters_are_shown_as_they_come(finished_run, monkeypatch):
    shown = []

    class Screen(io.StringIO):
        def flush(self):
            shown.append(self.getvalue())

    monkeypatch.setattr(sys, "stdout", Screen())
    assert sample.main([str(finished_run[0]), "--prompt", "a", "--length", "4"]) == 0
    assert [len(text) for text in shown[:5]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("piped", ["the cat\n", "the cat"])
def test_a_dash_means_standard_input(written, monkeypatch, piped):
    monkeypatch.setattr(sys, "stdin", io.StringIO(piped))
    assert written("--prompt", "-", "--length", 3) == written("--prompt", "the cat", "--length", 3)


def test_standard_input_is_left_to_others_unless_asked_for(written, monkeypatch, tmp_path):
    (tmp_path / "list").write_text("the next\n")  # as in: while read run; do jaxrnn sample $run; done < list
    with open(tmp_path / "list") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert len(written("--length", 3)) == 3
        assert file.read() == "the next\n"


@pytest.mark.parametrize("words", [["--prompt", "-"], ["--interactive"]])
def test_what_is_no_text_is_no_prompt(finished_run, jaxrnn, monkeypatch, words):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    said = jaxrnn("sample", finished_run[0], *words)
    assert (said.code, said.err) == (2, "error: standard input: byte 3 (0xe9) is not UTF-8; expected text\n")


@pytest.mark.parametrize("words", [["--prompt", "-"], ["--interactive"]])
def test_standard_input_that_cannot_be_read_is_named(finished_run, jaxrnn, monkeypatch, tmp_path, words):
    with open(tmp_path / "write_only", "w") as file:  # as `nohup` leaves it
        for stdin, named in ((None, "standard input is closed"), (file, "standard input: cannot be read")):
            monkeypatch.setattr(sys, "stdin", stdin)
            said = jaxrnn("sample", finished_run[0], *words)
            assert said.code == 2 and named in said.err and said.err.count("\n") == 1


def test_a_prompt_may_begin_with_dashes(finished_run, jaxrnn):
    said = jaxrnn("sample", finished_run[0], "--prompt", "-- the cat")
    assert said.code == 2 and "sampling.prompt: '-' not in the vocabulary" in said.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--prompt", "the Ω and the Ψ"], "sampling.prompt: 'Ω', 'Ψ' not in the vocabulary"),
        (["--prompt", ""], "sampling.prompt = '': expected some text"),
        (["--length", "0"], "sampling.length = '0' (command line): expected int >= 1"),
        (["--length", "many"], "sampling.length = 'many'"),
        (["--temperature", "-1"], "sampling.temperature = '-1'"),
        (["--temperature", "nan"], "sampling.temperature = 'nan'"),
        (["--top-k", "0"], "sampling.top_k = '0'"),
        (["--top-p", "1.5"], "sampling.top_p = '1.5'"),
        (["--seed", "-1"], "seed = '-1'"),
        (["--samples", "0"], "--samples 0: expected 1 or more"),
        (["--stop", ""], "--stop '': expected some text"),
        (["--interactive", "--prompt", "the"], "--interactive: each line that comes is a prompt"),
        (["--beam", "0"], "--beam 0: expected 1 or more"),
        (["--beam", "3", "--top-k", "2", "--seed", "1"], "and draws none; leave out --top-k, --seed"),
        (["--beam", "3", "--interactive"], "and draws none; leave out --interactive"),
        (["--beam", "3", "--stop", "."], "--beam: it compares texts of one length; leave out --stop"),
        (["--beam", "3", "--samples", "4"], "--samples 4: expected at most 3, as many as --beam keeps"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(finished_run, jaxrnn, words, named):
    said = jaxrnn("sample", finished_run[0], *words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and named in said.err


def test_a_beam_finds_a_text_at_least_as_likely_as_the_greedy_one(finished_run, jaxrnn, written):
    words = ("--prompt", "the cat", "--length", 12)
    narrow, wide = (jaxrnn("sample", finished_run[0], *words, "--beam", n, "--json").answer for n in (1, 8))
    assert narrow["text"] == written(*words, "--temperature", 0) == written(*words, "--beam", 1)
    assert wide["log_probabilities"] >= narrow["log_probabilities"] and len(wide["texts"]) == 1
    said = jaxrnn("sample", finished_run[0], *words, "--beam", 8, "--samples", 3)
    assert said.code == 0 and said.out.count("--- log probability -") == 3 and wide["text"] in said.out


def test_many_samples_are_made_at_once_and_the_first_is_the_one(finished_run, jaxrnn, written):
    words = ("--prompt", "the cat", "--length", 20, "--temperature", 1)
    said = jaxrnn("sample", finished_run[0], *words, "--samples", 3, "--json")
    texts = said.answer["texts"]
    assert len(set(texts)) == 3 and all(text.startswith("the cat") and len(text) == 27 for text in texts)
    assert said.answer["text"] == texts[0] == written(*words)
    assert said.err == "".join(f"--- {number}\n{text}\n" for number, text in enumerate(texts, start=1))


def test_a_text_ends_before_the_first_stop_string_after_the_prompt(finished_run, jaxrnn, written):
    words = ("--prompt", "the cat", "--length", 60)
    whole = written(*words)
    drawn = whole[len("the cat") :]
    stops = [drawn[20:22], drawn[31:35]]
    expected = "the cat" + drawn[: min(drawn.index(stop) for stop in stops)]
    assert len(expected) < 30
    asked = [word for stop in stops for word in ("--stop", stop)]
    assert written(*words, *asked) == expected
    assert written(*words, "--stop", "Q") == whole
    assert jaxrnn("sample", finished_run[0], *words, *asked, "--samples", 2, "--json").answer["text"] == expected
    assert written("--prompt", "the cat", "--length", 5, "--stop", "cat").startswith("the cat")


def test_stopping_hands_on_all_that_is_safe_and_no_part_of_a_stop_string():
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = "".join(rng.choice(list("ab"), size=12))
        stops = ["".join(rng.choice(list("ab"), size=rng.integers(1, 5))) for _ in range(rng.integers(0, 3))]
        cuts, after = np.sort(rng.integers(0, 13, size=4)), int(rng.integers(0, 6))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, 12], strict=True)]
        places = [(place + len(stop), place) for stop in stops if (place := text.find(stop, after)) >= 0]
        _, end = min(places, default=(12, 12))  # that of the first to be complete
        handed = list(until(iter(pieces), stops, after))
        assert "".join(handed) == text[:end]
        assert "" not in handed


def test_interactive_answers_each_line_and_goes_on_after_a_mistake(finished_run, jaxrnn, written, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("the cat\n\nΩ\na"))
    said = jaxrnn("sample", finished_run[0], "--interactive", "--length", 5, "--seed", 3, "--json")
    first, second, third = said.answer["texts"]
    assert first == written("--prompt", "the cat", "--length", 5, "--seed", 3)
    assert third == written("--prompt", "a", "--length", 5, "--seed", 5)
    assert len(second) == 5  # an empty line begins a line
    assert any(line.startswith("error: sampling.prompt: ") for line in said.err.splitlines())


def test_the_longest_copied_run_is_found_in_the_training_text(finished_run, jaxrnn):
    folder, _ = finished_run
    answer = jaxrnn("sample", folder, "--length", 20, "--samples", 2, "--novelty", "--json").answer
    best = load_trained(folder)
    training = open_text(best.config, best.run)[1].ids["train"]
    for text, found in zip(answer["texts"], answer["novelty"], strict=True):
        assert found["run"] in text and len(found["run"]) == found["copied"] and found["symbols"] == len(text)
        place = training[found["place"] : found["place"] + found["copied"]]
        np.testing.assert_array_equal(place, encode(best.vocabulary, found["run"]))


def test_words_that_were_written_side_by_side_are_not_copied(jaxrnn, settings, tmp_path):
    words = settings(data__tokenizer="word", training__length="1 updates", run=tmp_path / "run")
    assert jaxrnn("train", *words).code == 0
    said = jaxrnn("sample", tmp_path / "run", "--temperature", 9, "--length", 40, "--novelty", "--json")
    assert said.code == 0 and 0 < said.answer["novelty"][0]["copied"] < said.answer["novelty"][0]["symbols"] < 40
