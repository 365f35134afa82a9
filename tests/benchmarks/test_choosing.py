"""The pictures of docs/studies.md at a tiny size, and those that are committed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from benchmarks import choosing

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(choosing, "SMOOTHNESS", (0.01, 1.0))
    monkeypatch.setattr(choosing, "GAMMA", (0.25, 1.0))
    monkeypatch.setattr(choosing, "SHOWN", {"smoothness": (0.01, 1.0), "gamma": (0.25, 1.0)})
    arguments = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "pictures")]
    monkeypatch.setattr(sys, "argv", ["choosing", *arguments, "--pairs", "4", "--size", "32", "--steps", "2"])
    choosing.main()
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert [re.findall(r"^\| ([\d.]+) \|", table, re.MULTILINE) for table in tables] == [
        ["0.01", "1"],
        ["0.25", "1"],
    ]
    # The usual point is in both, and was trained once.
    assert tables[0].splitlines()[2].split("|")[2:] == tables[1].splitlines()[2].split("|")[2:]
    assert len(list((tmp_path / "work").glob("hetero-*"))) == 3
    pictures = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert pictures == sorted(path.name for path in choosing.PICTURES.glob("choosing-*"))


def test_the_pictures_of_the_guide_are_there_and_small() -> None:
    text = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    named = {ROOT / "docs" / name for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)}
    assert named == set(choosing.PICTURES.glob("choosing-*"))
    assert sum(path.stat().st_size for path in named) < 150_000
