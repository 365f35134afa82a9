"""What docs/extend.md says, done in a copy of the source: files written, lines added, commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from heteroreg.data.phantom import write_phantom

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
# What a test adds to a training of the page, so that it ends in seconds.
SHORT = ["--steps", "3", "--set", "validate_every=3", "--set", "batch_size=2"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def new_files() -> dict[str, str]:
    named = (re.match(r"# (src/\S+\.py)\n(.*)", block, re.DOTALL) for block in blocks("python"))
    return {match[1]: match[2] for match in named if match}


def hunks() -> Iterator[tuple[str, str, str]]:
    """Of each file that the page changes: what stood there, and what stands there afterwards."""
    for block in blocks("diff"):
        for name, text in re.findall(r"^@@ (\S+)\n((?:[ +].*\n)+)", block, re.MULTILINE):
            lines = text.splitlines(keepends=True)
            yield name, "".join(x[1:] for x in lines if x[0] == " "), "".join(x[1:] for x in lines)


def python_blocks_that_run() -> list[str]:
    return [block for block in blocks("python") if not block.startswith("# src/")]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source as the page leaves it, and what its commands need."""
    work = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", work / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in new_files().items():
        assert not (work / name).exists(), f"{name} is there already"
        (work / name).write_text(text, encoding="utf-8")
    for name, before, after in hunks():
        text = (work / name).read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{name} does not have, once: {before}"
        (work / name).write_text(text.replace(before, after), encoding="utf-8")
    write_phantom(work / "hearts", pairs=4, size=32)
    for patient in ("a", "b", "c"):
        (work / "downloaded" / patient).mkdir(parents=True)
        for frame, image in (("one.nii.gz", "moving"), ("two.nii.gz", "fixed")):
            shutil.copy(work / "hearts" / f"phantom001_{image}.nii.gz", work / "downloaded" / patient / frame)
    return work


def python(copy: Path, code: str) -> str:
    """What the code prints, in a process that finds the copy."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "HETEROREG_CACHE": "off"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def heteroreg(copy: Path, *commands: list[str]) -> str:
    """What the commands print, one after the other in one process."""
    calls = "".join(f"\napp({command!r}, standalone_mode=False)" for command in commands)
    return python(copy, f"from heteroreg.cli.app import app{calls}")


def test_the_page_has_what_it_promises() -> None:
    assert set(new_files()) == {
        "src/heteroreg/losses/absolute.py",
        "src/heteroreg/networks/basic_unet.py",
        "src/heteroreg/networks/plain.py",
        "src/heteroreg/data/readers/mydata.py",
    }
    assert len(list(hunks())) == PAGE.count("\n@@ ") == 9
    assert len(python_blocks_that_run()) == 2


def commands(word: str) -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"heteroreg {word}")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    commands("train"),
    ids=lambda command: command[3],
)
def test_a_training_with_what_was_added(copy: Path, command: list[str]) -> None:
    _, _, _, run, option, name = command
    scores = f"scores/{Path(run).name}"
    # The run is one like all others: it registers and is scored.
    heteroreg(copy, [*command, *SHORT], ["evaluate", "hearts", "--model", run, "--out", scores])
    config = (copy / run / "config.yaml").read_text(encoding="utf-8")
    assert f"{option.removeprefix('--')}: {name}\n" in config
    assert pd.read_csv(copy / run / "metrics.csv").loss.iloc[-1] > 0
    assert len(pd.read_csv(copy / scores / "scores.csv")) == 1


def test_what_was_added_is_listed(copy: Path) -> None:
    listed = json.loads(heteroreg(copy, ["methods", "--json"]))
    assert listed["methods"]["mae"] == "mean absolute error"
    assert listed["networks"]["plain"] == "Two convolutions."
    assert listed["networks"]["basic-unet"] == "A stationary velocity field from MONAI's BasicUNet."


def test_the_data_set_is_imported(copy: Path) -> None:
    (command,) = commands("import")
    heteroreg(copy, command)
    table = pd.read_csv(copy / "cohorts" / "mydata" / "pairs.csv")
    assert list(table.id) == ["a", "b", "c"]
    assert table.moving.str.endswith("one.nii.gz").all()


def test_the_code_that_is_no_file_runs(copy: Path) -> None:
    python(copy, "\n".join(python_blocks_that_run()))
    assert (copy / "scores" / "mine" / "scores.csv").exists()
