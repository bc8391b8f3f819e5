"""Exit codes and one-line errors, which all commands share."""

import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import pytest

from jaxrnn import __version__
from jaxrnn.__main__ import COMMANDS, main
from jaxrnn.command import Parser, make_command, run
from jaxrnn.errors import InputError
from jaxrnn.settings import KEYS


def test_a_mistake_of_the_user_is_one_line_and_code_2(capsys):
    def fails(argv):
        raise InputError(f"file {argv[0]}:\nis missing")

    assert run(fails, ["a.txt"]) == 2
    assert capsys.readouterr() == ("", "error: file a.txt: is missing\n")


@pytest.mark.parametrize(("words", "out", "err"), [([], "words\n", ""), (["--json"], '{"n": 1}\n', "words\n")])
def test_a_command_ends_with_its_answer_where_json_is_asked_for(words, out, err, capsys):
    def work(asked, screen):
        screen.print("words")
        return 3, {"n": 1}

    assert make_command(lambda: Parser("x", "", "", ""), work)(words) == 3
    assert capsys.readouterr() == (out, err)


def test_an_answer_that_is_not_finite_is_json_still(capsys):
    answer = {"loss": float("nan"), "cache": {"perplexity": float("inf")}}
    assert make_command(lambda: Parser("x", "", "", ""), lambda asked, screen: (0, answer))(["--json"]) == 0
    assert capsys.readouterr().out == '{"loss": null, "cache": {"perplexity": null}}\n'


def test_a_fault_of_the_program_keeps_its_traceback():
    def fails(argv):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run(fails, [])


def test_what_does_not_fit_into_memory_is_one_line(capsys):
    def fails(argv):
        jax.jit(lambda: jnp.ones(1 << 46, jnp.float32))()

    assert run(fails, []) == 2
    assert capsys.readouterr() == ("", "error: there is not so much memory; choose smaller sizes\n")


def test_an_answer_for_which_there_is_no_room_is_one_line():
    program = "import sys; from jaxrnn.command import run; sys.exit(run(lambda argv: print('x' * 9999) or 0, []))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True)
    said = "error: the output cannot be written (No space left on device); send it elsewhere\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_an_interruption_before_training_is_quiet(capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    assert run(interrupted, []) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(capsys):
    def warns(argv):
        warnings.warn("snapshot step_3 is damaged", stacklevel=1)
        return 0

    assert run(warns, []) == 0
    assert capsys.readouterr().err == "warning: snapshot step_3 is damaged\n"


def test_a_reader_that_goes_away_ends_a_command_quietly():
    endless = (
        "import sys; from jaxrnn.command import run\n"
        "def main(argv):\n while True: sys.stdout.write('x' * 1000); sys.stdout.flush()\n"
        "sys.exit(run(main, []))"
    )
    with subprocess.Popen([sys.executable, "-c", endless], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_a_closed_standard_output_is_no_fault():
    program = "import sys; from jaxrnn.command import run; sys.exit(run(lambda argv: print('x') or 0, []))"
    done = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, program], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def refusal(*words, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["tarin"], ["tarin: no such command", "did you mean 'train'?", "evaluate"]),
        (["xyzzy"], ["xyzzy: no such command", "train, evaluate, sample"]),
        (["train", "--model.hiden_size", "3"], ["--model.hiden_size", "did you mean '--model.hidden_size'?"]),
        (["train", "--hidden-size=3"], ["--hidden-size", "did you mean '--model.hidden_size'?"]),
        (["train", "--model.hidden_size"], ["--model.hidden_size", "expected one argument"]),
        (
            ["train", "--data.corpus", "caf\udce9.txt"],
            ["data.corpus = 'caf\\udce9.txt' (command line): expected"],
        ),
        (["train", "--model.hidden_size", "big"], ["model.hidden_size = 'big' (command line): expected int"]),
        (["train", "a.toml", "b.toml"], ["b.toml"]),
        (["train", "--resume"], ["--resume", "--run DIR --resume"]),
        (["train", "--config", "a.toml"], ["--config", "it is given by itself: jaxrnn train config.toml"]),
        (["sample", "--run", "runs/x"], ["--run", "it is given by itself: jaxrnn sample RUN"]),
        (["evaluate"], ["RUN"]),
        (["evaluate", "nowhere"], ["nowhere: no such run"]),
        (["evaluate", "nowhere", "--splt", "test"], ["--splt", "did you mean '--split'?"]),
        (["evaluate", "nowhere", "--split", "tset"], ["tset", "test"]),
        (["evaluate", "nowhere", "--streams", "0"], ["--streams 0", "1 or more"]),
        (["evaluate", "nowhere", "--streams", "x"], ["--streams", "'x'"]),
        (["evaluate", "nowhere", "--split", "test", "--text", "x"], ["--text", "--split"]),
        (["evaluate", "nowhere", "--steps", f"{10**19}"], [f"--steps {10**19}: expected at most 2147483647"]),
        (["evaluate", "nowhere", "--by-context", f"{2**31}"], ["--by-context 2147483648: expected at most"]),
        (["sample", "nowhere", "--samples", f"{10**19}"], [f"--samples {10**19}: expected at most"]),
        (["sample", "nowhere", "--beam", f"{10**19}"], [f"--beam {10**19}: expected at most"]),
        (["sample", "nowhere", "--stop", ""], ["--stop '': expected some text to stop at"]),
        (["sample", "nowhere"], ["nowhere: no such run"]),
        (["sample", "nowhere", "--promt", "x"], ["--promt", "did you mean '--prompt'?"]),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, named, capsys):
    message = refusal(*words, capsys=capsys)
    for part in named:
        assert part in message


def test_help_teaches_by_example(capsys):
    assert main([]) == main(["--help"]) == 0
    said = capsys.readouterr().out
    for name in COMMANDS:
        assert f"jaxrnn {name}" in said
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        said_by_command = capsys.readouterr().out
        assert "examples:" in said_by_command
        assert said_by_command.count(f"  jaxrnn {name}") >= 5
        assert max(map(len, said_by_command.splitlines())) <= 120


def test_the_help_of_train_has_every_key(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    for name in KEYS:
        assert f"--{name} " in said


def test_an_option_that_looks_like_a_value_is_still_a_value():
    parser = Parser("x", "", "", "")
    parser.add_argument("--prompt")
    assert parser.parse_args(["--prompt=--no-such"]).prompt == "--no-such"


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxrnn {__version__}\n"
