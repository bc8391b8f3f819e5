"""What a terminal sees, and what a log file gets."""

import errno
import io
import os
import sys

import pytest
from rich.console import Console

from jaxrnn.running.progress import console, progress, show


def test_a_file_gets_plain_lines_and_no_control_characters():
    file = io.StringIO()
    screen = Console(file=file, width=40, highlight=False, soft_wrap=True, markup=False)
    with progress(screen, total=50, done=10, every=1000.0) as shown:
        for step in range(11, 51):
            shown.update(step, "[1.93] bits/character, a note that is longer than the file is wide")
            if step == 20:
                shown.say("a line that stays")
    lines = file.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["11/50", "a", "50/50"]  # first, said, last: nothing in between
    assert "22%" in lines[0] and "started" in lines[0] and "100%" in lines[2] and "left" in lines[2]
    assert lines[0].endswith("wide")
    assert file.getvalue().replace("\n", "").isprintable()


def test_lines_come_every_few_seconds():
    file = io.StringIO()
    with progress(Console(file=file, soft_wrap=True), total=5, every=0.0) as shown:
        for step in range(1, 6):
            shown.update(step, "")
    assert len(file.getvalue().splitlines()) == 5


def test_a_terminal_gets_a_bar_that_moves():
    file = io.StringIO()
    screen = Console(file=file, force_terminal=True, width=120, soft_wrap=True)
    with progress(screen, total=50) as shown:
        shown.update(25, "1.93 bits/character")
        shown.say("a line that stays")
    said = file.getvalue()
    assert "25/50" in said and "1.93 bits/character" in said and "a line that stays" in said
    assert "\x1b[?25h" in said  # the cursor is given back


def test_what_the_screen_cannot_show_is_a_question_mark(monkeypatch):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", file)
    assert show(console(), ["don’", "t"]) == "don’t"
    file.flush()
    assert file.buffer.getvalue() == b"don?t\n"


def reported(stream, monkeypatch):
    """The screen on a stream, after two updates were reported to it."""
    monkeypatch.setattr(sys, "stdout", stream)
    screen = console()
    with progress(screen, total=2, every=0.0) as shown:
        for step in (1, 2):
            shown.update(step, "")
    return screen


def test_a_reader_that_goes_away_ends_no_training(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as file:
        assert reported(file, monkeypatch).quiet
        file.write("what is written past the screen is lost as well\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_log_without_room_or_a_terminal_that_is_gone_ends_no_training(number, monkeypatch, tmp_path):
    class Refusing(io.TextIOWrapper):
        def write(self, text):
            raise OSError(number, os.strerror(number))

    with open(tmp_path / "log", "wb") as file, Refusing(file) as log:
        assert reported(log, monkeypatch).quiet


def test_words_are_shown_as_they_are(capsys):
    console().print("runs/a:x:b [1]")
    assert capsys.readouterr().out == "runs/a:x:b [1]\n"
