"""The sampling command: what is asked for, as it comes, and the same again for the same seed."""

import io
import os
import subprocess
import sys

import pytest

from jaxrnn import sample
from jaxrnn.running import runs


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


def with_input(words, text, folder):
    """Sample in a process of its own with something piped in; None leaves the pipe open and silent."""
    reader, writer = os.pipe()
    if text is not None:
        os.write(writer, text.encode())
        os.close(writer)
    command = [sys.executable, "-m", "jaxrnn", "sample", folder, "--length", "3", *words]
    environment = {**os.environ, "JAX_ENABLE_X64": "1"}
    done = subprocess.run(command, stdin=reader, capture_output=True, text=True, env=environment, timeout=120)
    os.close(reader)
    if text is None:
        os.close(writer)
    assert done.stderr == ""
    return done.stdout


def test_a_prompt_is_read_from_standard_input(finished_run, written):
    folder = str(finished_run[0])
    assert with_input([], "the cat\n", folder) == written("--prompt", "the cat", "--length", 3) + "\n"
    assert with_input([], None, folder) == written("--length", 3) + "\n"  # a silent pipe holds nothing up


@pytest.mark.parametrize("piped", ["the cat\n", "the cat"])
def test_a_dash_means_standard_input(written, monkeypatch, piped):
    monkeypatch.setattr(sys, "stdin", io.StringIO(piped))
    assert written("--prompt", "-", "--length", 3) == written("--prompt", "the cat", "--length", 3)


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
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(finished_run, jaxrnn, words, named):
    said = jaxrnn("sample", finished_run[0], *words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and named in said.err
