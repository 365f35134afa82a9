"""Two installations compared: here one with itself."""

from __future__ import annotations

import sys

import pytest

from benchmarks import before_after


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
