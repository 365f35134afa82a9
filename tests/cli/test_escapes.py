"""Names with codes that steer a terminal: none of them reaches it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from heteroreg.cli import main
from heteroreg.data.cohort import Cohort
from heteroreg.system.progress import progress, showing

RED = "\x1b[31mred"


@pytest.mark.parametrize(
    "arguments", [["evaluate", "--model", "undeformed"], ["evaluate", "--model", RED]], ids=str
)
def test_messages(
    arguments: list[str],
    cohort_2d: Cohort,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, *rest = arguments
    monkeypatch.setattr(sys, "argv", ["heteroreg", name, cohort_2d.name, *rest, "--out", str(tmp_path / RED)])
    with pytest.raises(SystemExit):
        main()
    said = "".join(capsys.readouterr())
    assert "\\x1b[31mred" in said
    assert "\x1b" not in said


def test_an_error_of_the_system(
    cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / RED).write_text("")
    out = str(tmp_path / RED / "out")
    monkeypatch.setattr(sys, "argv", ["heteroreg", "phantom", out, "--pairs", "1"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert "\\x1b[31mred" in said
    assert "\x1b" not in said


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with showing(True), progress(f"evaluate {RED}", 10, after=0) as report:
        for done in range(1, 11):
            report(done)
    assert "evaluate \\x1b[31mred: 10/10" in capsys.readouterr().err
