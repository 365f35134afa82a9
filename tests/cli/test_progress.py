"""What each command says of its long parts where there is no terminal, as if all of them were long."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from heteroreg.cli.app import main
from heteroreg.data.cohort import Cohort
from heteroreg.system import progress

Titles = Callable[..., list[str]]


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Titles:
    """Runs `heteroreg …`; gives the titles of what was said, in order, each once."""
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)

    def run(*arguments: str | Path) -> list[str]:
        monkeypatch.setattr("sys.argv", ["heteroreg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr().err
        assert not stop.value.code, said
        lines = [line for line in said.splitlines() if not line.startswith("heteroreg: ")]
        for line in lines:
            assert re.fullmatch(r".+: \d+/\d+(, \d+ s left)?(, .+)?|.+ …", line)
        return list(dict.fromkeys(re.sub(r": \d+/\d+.*| …$", "", line) for line in lines))

    return run


@pytest.mark.slow
def test_from_the_phantom_to_the_page(titles: Titles, tmp_path: Path) -> None:
    cohort, run = tmp_path / "hearts", tmp_path / "run"
    assert titles("phantom", cohort, "--pairs", 8, "--size", 32) == ["making hearts"]
    assert titles("phantom", tmp_path / "noisy", "--on", cohort) == ["adding noise"]
    assert titles("check", cohort) == ["checking"]
    train = ["train", cohort, "--out", run, "--method", "hetero-z", "--steps", 3, "--set", "batch_size=2"]
    said = titles(*train)
    assert said[0] == "reading the headers"
    assert said[-2:] == ["preparing the images", "training hetero-z"]
    assert titles("evaluate", cohort, "--model", run, "--out", tmp_path / "a") == ["evaluate run"]
    titles("evaluate", cohort, "--model", "undeformed", "--out", tmp_path / "b", "--split", "test")

    pair = Cohort.read(cohort)[0]
    assert pair.moving_labels is not None
    registered = tmp_path / "registered"
    register = ["register", pair.moving, pair.fixed, "--model", run, "--moving-labels", pair.moving_labels]
    assert titles(*register, "--refine", 2, "--out", registered) == [
        "estimating the displacement", "refining", "sampling the displacement", "writing",
    ]  # fmt: skip
    assert titles("register", cohort, "--model", run, "--out", tmp_path / "all") == ["register with run"]
    field = registered / "displacement.nii.gz"
    assert titles("warp", pair.moving, "--transform", field, "--out", tmp_path / "moved.nii.gz") == ["warping"]
    assert titles("convert", field, "--out", tmp_path / "field.h5") == ["converting"]

    assert titles("compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "report") == [
        "reading the scores", "comparing metric by metric", "drawing the figures for print", "drawing the pairs",
        "writing the figures for print",
    ]  # fmt: skip


def test_import(titles: Titles, tmp_path: Path) -> None:
    titles("phantom", tmp_path / "raw", "--pairs", 3, "--size", 32, "--layout", "mnms")
    assert titles("import", "mnms", tmp_path / "raw", tmp_path / "cohort") == ["extracting the frames"]


def test_quiet_is_quiet(titles: Titles, tmp_path: Path) -> None:
    assert titles("phantom", tmp_path / "hearts", "--pairs", 3, "--size", 32, "--quiet") == []
