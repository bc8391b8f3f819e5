"""The sampling command: what is asked for, as it comes, and the same again for the same seed."""

import io
import sys

import jax
import numpy as np
import pytest

from jaxrnn import sample
from jaxrnn.cells import gru
from jaxrnn.compose import documents, language_model
from jaxrnn.config import Config, Data, Sampling
from jaxrnn.data.vocabulary import Vocabulary, decode, encode
from jaxrnn.errors import InputError
from jaxrnn.novelty import longest_copied
from jaxrnn.running import runs
from jaxrnn.running.position import Position
from jaxrnn.running.run_text import open_text
from jaxrnn.running.trained import Trained, load_trained
from jaxrnn.running.writer import make_writer, opening, until
from jaxrnn.sampling import make_generate
from jaxrnn.trees import threefry


@pytest.fixture
def written(finished_run, jaxrnn):
    """What the model writes, without the last line end."""

    def run(*words):
        said = jaxrnn("sample", finished_run[0], *words)
        assert (said.code, said.err) == (0, "")
        return said.out[:-1]

    return run


@pytest.fixture(scope="module")
def word_run(beforehand, settings, tmp_path_factory):
    """A run on words, many of which are too rare for it."""
    rare = {"data__tokenizer": "word", "data__minimum_count": 22, "training__length": "1 updates"}
    folder = tmp_path_factory.mktemp("runs") / "words"
    assert beforehand("train", *settings(**rare, run=folder)).code == 0
    return folder


def untrained(tokenizer, symbols, separate_lines=False):
    """A model with opinions, as a run would have left it."""
    vocabulary = Vocabulary(tokenizer, symbols)
    cell = language_model(gru(3, 8), len(symbols))
    if separate_lines:
        end = symbols.index("\n")
        cell = documents(cell, lambda ids: ids == end)
    params = jax.tree.map(lambda w: 3.0 * w, cell.init(jax.random.key(3)))
    config = Config(data=Data(separate_lines=separate_lines))
    return Trained(None, config, vocabulary, cell, params, None, Position())


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


def test_an_empty_prompt_begins_a_line(written, monkeypatch):
    """Where the configuration has a prompt, leaving it out would not."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert written("--prompt", "") == written("--prompt", "-") == written()


def test_a_prompt_without_symbols_is_refused():
    with pytest.raises(InputError, match=r"sampling.prompt = .  .: expected some text to go on from, or .. to begin"):
        opening(Vocabulary("whitespace", WORDS), "  ")


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
    (best,), (greedy,) = wide["log_probabilities"], narrow["log_probabilities"]
    assert best >= greedy - 1e-9 and len(wide["texts"]) == 1  # the same text is rounded otherwise in a wider batch
    said = jaxrnn("sample", finished_run[0], *words, "--beam", 8, "--samples", 3)
    assert said.code == 0 and said.out.count("--- log probability -") == 3 and wide["text"] in said.out


def test_where_lines_are_separate_a_prompt_begins_one():
    """In training a line's first symbol follows the last line's end, read from the initial carry."""
    lines, choice = untrained("character", tuple("ab\n"), separate_lines=True), Sampling(prompt="ba", length=6)
    writer, end = make_writer(lines), [2]
    text = writer.stream(choice, 5)
    whole = "".join(text.pieces)
    how = {"temperature": choice.temperature, "top_p": choice.top_p}
    expected = make_generate(lines.cell)(lines.params, [*end, 1, 0], 6, threefry(5), **how)
    assert text.drawn == [ids.item() for ids in expected]
    assert whole == "ba" + decode(lines.vocabulary, text.drawn)

    (likeliest, score), *_ = writer.likeliest(choice, 4)
    assert "".join(likeliest.pieces).startswith("ba")
    ids = np.array([*end, 1, 0, *likeliest.drawn])[:, None]
    logs = jax.nn.log_softmax(lines.cell.unroll(lines.params, lines.cell.initial_carry(1), ids[:-1])[1][:, 0])
    np.testing.assert_allclose(score, np.take_along_axis(np.asarray(logs), ids[1:], 1)[2:].sum(), rtol=1e-6)


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
    assert "prompt" not in said.answer  # that of the configuration is nobody's
    *_, refused, last = lines = said.answer["lines"]
    assert [line["prompt"] for line in lines] == ["the cat", None, "Ω", "a"]
    assert refused["error"].startswith("sampling.prompt: 'Ω'") and "text" not in refused
    assert last == {"prompt": "a", "seed": 5, "text": third} and [line["seed"] for line in lines[:2]] == [3, 4]


def test_the_longest_copied_run_is_found_in_the_training_text(finished_run, jaxrnn):
    folder, _ = finished_run
    answer = jaxrnn("sample", folder, "--length", 20, "--samples", 2, "--novelty", "--json").answer
    best = load_trained(folder)
    training = open_text(best.config, best.run)[1].ids["train"]
    for text, found in zip(answer["texts"], answer["novelty"], strict=True):
        assert found["run"] in text and len(found["run"]) == found["copied"] and found["symbols"] == len(text)
        place = training[found["place"] : found["place"] + found["copied"]]
        np.testing.assert_array_equal(place, encode(best.vocabulary, found["run"]))


def test_a_prompt_is_not_counted_as_copied(finished_run, jaxrnn):
    folder, _ = finished_run
    best = load_trained(folder)
    known = decode(best.vocabulary, open_text(best.config, best.run)[1].ids["train"][:20])
    (found,) = jaxrnn("sample", folder, "--prompt", known, "--length", 3, "--novelty", "--json").answer["novelty"]
    assert found["symbols"] == 3 and found["copied"] <= 3


def test_what_was_drawn_is_looked_for_and_not_how_it_reads(word_run, jaxrnn):
    """Words that were drawn side by side read as one, and <unk> as three symbols."""
    words = ("--temperature", 9, "--length", 40, "--seed", 2)
    answer = jaxrnn("sample", word_run, *words, "--novelty", "--json").answer
    best = load_trained(word_run)
    text = make_writer(best).stream(Sampling(temperature=9.0, length=40), 2)
    assert "".join(text.pieces) == answer["text"] and "<unk>" in answer["text"]
    copied = longest_copied(np.array(text.drawn), open_text(best.config, best.run)[1].ids["train"])
    assert [found["symbols"] for found in answer["novelty"]] == [len(text.drawn)] == [40]
    assert [found["copied"] for found in answer["novelty"]] == [copied.length]


WORDS = tuple("a bb ccc <eos> <unk>".split())


@pytest.mark.parametrize(
    ("tokenizer", "symbols", "prompt"),
    [
        ("character", tuple("ab\n"), "ab"),
        ("byte", tuple(map(chr, range(256))), "é"),
        ("whitespace", WORDS, "a bb"),
        ("word", (*WORDS, "\n", " "), "a bb"),
    ],
)
def test_drawn_is_what_the_text_is_made_of_but_for_what_it_stops_at(tokenizer, symbols, prompt):
    model = untrained(tokenizer, symbols)
    writer = make_writer(model)
    for given, seed in ((None, 1), (prompt, 2), (prompt, 3)):
        choice = Sampling(prompt=given, length=40, temperature=2.0)
        whole = writer.stream(choice, seed)
        text = "".join(whole.pieces)
        middle = (len(given or "") + len(text)) // 2
        stopped = writer.stream(choice, seed, [text[middle : middle + 2]])
        short = "".join(stopped.pieces)
        assert len(short) <= middle and text.startswith(short)
        before = encode(model.vocabulary, given or "\n").tolist()
        unshown = 0 if given else 1
        reading = [decode(model.vocabulary, before + whole.drawn[:n])[unshown:] for n in range(41)]
        assert reading[40] == text
        assert stopped.drawn == whole.drawn[: sum(len(one) <= len(short) for one in reading) - 1]


def test_the_unknown_symbol_can_be_kept_out(jaxrnn, settings, tmp_path):
    """Of a text in which nothing but a line's end is frequent."""
    rare = {"data__tokenizer": "whitespace", "data__minimum_count": 50, "training__length": "1 updates"}
    assert jaxrnn("train", *settings(**rare, run=tmp_path / "run")).code == 0
    for how in (["--temperature", 0], ["--temperature", 5, "--samples", 3], ["--beam", 2]):
        words = ("sample", tmp_path / "run", "--length", 20, *how, "--json")
        either, none = jaxrnn(*words).answer, jaxrnn(*words, "--no-unknown").answer
        assert "<unk>" in either["text"] and not either["no_unknown"]
        assert set(none["texts"]) == {20 * "\n"} and none["no_unknown"]
    assert none["log_probabilities"] == [0.0]  # of the texts without it


def test_what_has_no_unknown_symbol_is_told_so(finished_run, word_run, jaxrnn):
    said = jaxrnn("sample", finished_run[0], "--no-unknown")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: --no-unknown: the model has no unknown symbol") and said.err.count("\n") == 1
    assert "--no-unknown" not in jaxrnn("sample", finished_run[0], "--prompt", "Ω").err
    said = jaxrnn("sample", word_run, "--prompt", "zebra")
    assert said.code == 2 and "rare ones were read as '<unk>' (jaxrnn sample --no-unknown never" in said.err
