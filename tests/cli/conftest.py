"""The commands, run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heteroreg.cli.app import main

Outcome = tuple[int, str, str]
Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `heteroreg …` and gives its exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["heteroreg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        code = stop.value.code
        return int(code) if isinstance(code, int) else 0, captured.out, captured.err

    return run
