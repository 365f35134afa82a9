import os
import pty
import re
import sys
import threading
import time
from contextlib import contextmanager

import pytest

import heteroreg.system.progress as module
from heteroreg.system.progress import duration, progress, reported, showing


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def work(clock, seconds, **options):
    with progress("work", 20, **options) as report:
        for done in range(1, 21):
            clock[0] += seconds
            report(done)


@contextmanager
def terminal(monkeypatch, name="xterm"):
    """A terminal in place of stderr; gives the function that tells, after the block, what it was sent."""
    master, slave = pty.openpty()
    received = []

    def drain():
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:
                return
            received.append(block)

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    with monkeypatch.context() as patch, os.fdopen(slave, "w", encoding="utf-8") as stream:
        patch.setenv("TERM", name)
        patch.setenv("COLUMNS", "100")
        patch.setattr(sys, "stderr", stream)
        yield lambda: re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", b"".join(received).decode())
    reader.join(10)  # the terminal was closed, so there is no more
    os.close(master)


def test_a_line_for_every_tenth(clock, capsys):
    work(clock, 1.0, show=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "work: 2/20, 18 s left"
    assert lines[-1] == "work: 20/20, 0 s left"


def test_nothing_where_nothing_is_to_be_shown(clock, capsys):
    work(clock, 1.0, show=False)
    work(clock, 1.0)
    with showing(True):
        work(clock, 1.0, lines=False)
    assert capsys.readouterr() == ("", "")


def test_short_work_is_done_in_silence(clock, capsys):
    work(clock, 0.09, show=True)
    assert capsys.readouterr() == ("", "")


def test_long_work_is_shown_once_it_is_long(clock, capsys):
    work(clock, 0.25, show=True)  # two seconds are over at 8 of 20
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"work: {done}/20" for done in range(8, 21, 2)
    ]


def test_what_was_done_before_tells_nothing_of_the_pace(clock, capsys):
    with progress("work", 100, start=80, show=True) as report:
        clock[0] += 10
        report(85)
        clock[0] += 5
        report(90)
    assert capsys.readouterr().err == "work: 90/100, 10 s left\n"  # 5 units in 5 s, and 10 are left


def test_slow_work_keeps_its_pace_in_mind(clock, capsys):
    with progress("work", 10, show=True) as report:
        for done in (1, 2):
            clock[0] += 3600
            report(done, "note")
    assert capsys.readouterr().err == "work: 1/10, note\nwork: 2/10, 8.0 h left, note\n"  # 8 · 3600 s


def test_work_shows_itself_as_its_surroundings_say(clock, capsys):
    with showing(True):
        work(clock, 1.0)
        assert len(capsys.readouterr().err.splitlines()) == 10
        with showing(False):
            work(clock, 1.0)
        with progress("whole", 2):  # a part of a unit
            work(clock, 1.0)
        with progress("hidden", 2, show=False):
            work(clock, 1.0)
        assert capsys.readouterr().err == ""
    work(clock, 1.0)
    assert capsys.readouterr().err == ""


def test_work_that_fails_leaves_nothing_behind(clock, capsys):
    with pytest.raises(ZeroDivisionError), showing(True), progress("work", 2):
        _ = 1 / 0
    work(clock, 1.0)
    assert capsys.readouterr() == ("", "")


def test_each_item_is_reported_when_it_is_done():
    done = []
    for item in reported("abc", lambda count, *_: done.append(count)):
        assert len(done) == "abc".index(item)
    assert done == [1, 2, 3]


@pytest.mark.parametrize("total", [None, 1])
def test_work_of_unknown_length_is_named_once(total, capsys):
    with progress("thinking", total, show=True, after=0.05) as report:
        time.sleep(0.5)
        report(1)
    assert capsys.readouterr().err == "thinking …\n"
    with progress("thinking", total, show=True, after=5.0):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "shown"), [(0.09, False), (0.25, True)])
def test_the_bar_of_a_terminal(seconds, shown, clock, monkeypatch):
    with terminal(monkeypatch) as seen:
        work(clock, seconds, show=True)
    assert ("20/20" in seen()) is shown
    assert (seen() != "") is shown


def test_the_bar_says_what_how_far_and_how_long(clock, monkeypatch):
    with terminal(monkeypatch) as seen, progress("work [/x]", 10, show=True) as report:
        for done in (1, 2):
            clock[0] += 30
            report(done, "loss 0.5")
    assert "work [/x]" in seen()  # as it is, and no markup
    assert re.search(r" 2/10 0:04:00 loss 0\.5", seen())  # 8 · 30 s


def test_the_bar_comes_before_the_first_unit_is_done(monkeypatch):
    with terminal(monkeypatch) as seen, progress("slow", 10, show=True, after=0.05):
        time.sleep(0.5)
    assert " 0/10 " in seen()


def test_the_bar_of_unknown_length(monkeypatch):
    with terminal(monkeypatch) as seen, progress("thinking", None, show=True, after=0.05):
        time.sleep(0.5)
    assert "thinking" in seen()
    assert "0:00:0" in seen()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(clock, monkeypatch):
    with terminal(monkeypatch, "dumb") as seen:
        work(clock, 1.0, show=True)
    assert "work: 2/20, 18 s left\r\n" in seen()


def test_what_is_printed_meanwhile_reaches_a_file(clock, monkeypatch, capsys):
    with terminal(monkeypatch) as seen, progress("work", 2, show=True) as report:
        clock[0] += 5
        report(1)
        print("a result")
    assert capsys.readouterr().out == "a result\n"
    assert "a result" not in seen()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (119.0, "119 s"),
        (120.0, "2.0 min"),
        (7199.0, "120 min"),
        (7200.0, "2.0 h"),
        (72000.0, "20 h"),
        (172800.0, "2.0 days"),
    ],
)
def test_a_time_as_people_say_it(seconds, text):
    assert duration(seconds) == text
