import pytest

import heteroreg.progress as module
from heteroreg.progress import progress


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


def test_a_line_for_every_tenth(clock, capsys):
    work(clock, 1.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "work: 2/20, 18 s left"
    assert lines[-1] == "work: 20/20, 0 s left"


def test_nothing_where_nothing_is_to_be_shown(clock, capsys):
    work(clock, 1.0, show=False)
    assert capsys.readouterr() == ("", "")


def test_short_work_is_done_in_silence(clock, capsys):
    work(clock, 0.09, after=2.0)
    assert capsys.readouterr() == ("", "")


def test_long_work_is_shown_once_it_is_long(clock, capsys):
    work(clock, 0.25, after=2.0)  # two seconds are over at 8 of 20
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"work: {done}/20" for done in range(8, 21, 2)
    ]


@pytest.mark.parametrize(("seconds", "shown"), [(0.09, False), (0.25, True)])
def test_the_bar_of_a_terminal(seconds, shown, clock, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    work(clock, seconds, after=2.0)
    assert ("20/20" in capsys.readouterr().err) is shown
