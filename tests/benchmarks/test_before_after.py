"""Two installations compared: here one with itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import before_after


@pytest.mark.long
@pytest.mark.slow
def test_an_installation_is_compared_with_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["before_after", "--before", sys.executable, "--turns", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    before_after.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(before_after.COMMANDS) + 2 * len(before_after.TASKS)
    assert all(float(cell) > 0 for row in rows for cell in row[1:])


@pytest.mark.slow
def test_a_step_is_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"SIZE": 32, "BATCH": 2, "FEW": 1, "MANY": 5}.items():
        monkeypatch.setattr(before_after, name, value)
    before_after.prepare(tmp_path)
    assert before_after.train_step(tmp_path, "32-true") > 0
