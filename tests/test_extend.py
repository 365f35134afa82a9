"""Everything that docs/extend.md adds: the files are written, the lines added, the commands run."""

from __future__ import annotations

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
# Added to a training of the page, so that it ends in seconds.
SHORT = ["--steps", "3", "--set", "validate_every=3", "--set", "batch_size=2"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def files() -> dict[str, str]:
    """Return the files that the page writes."""
    named = (re.match(r"# (\w+\.py)\n(.*)", block, re.DOTALL) for block in blocks("python"))
    return {match[1]: match[2] for match in named if match}


def hunks() -> Iterator[tuple[str, str, str]]:
    """Yield each change of a file: its name, the lines before, the lines after."""
    for block in blocks("diff"):
        for name, text in re.findall(r"^@@ (\S+)\n((?:[ +].*\n)+)", block, re.MULTILINE):
            lines = text.splitlines(keepends=True)
            yield name, "".join(x[1:] for x in lines if x[0] == " "), "".join(x[1:] for x in lines)


def commands(*words: str) -> list[list[str]]:
    """Return the commands of the page that begin with the words."""
    lines = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line[: len(words)] == list(words)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of the page, the source that it changes, and a small cohort."""
    place = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in files().items():
        (place / name).write_text(text, encoding="utf-8")
    for name, before, after in hunks():
        text = (place / name).read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{name} does not have, once: {before}"
        (place / name).write_text(text.replace(before, after), encoding="utf-8")
    write_phantom(place / "hearts", pairs=4, size=32)
    for patient in ("a", "b", "c"):
        (place / "downloaded" / patient).mkdir(parents=True)
        for frame, image in (("one.nii.gz", "moving"), ("two.nii.gz", "fixed")):
            shutil.copy(place / "hearts" / f"phantom001_{image}.nii.gz", place / "downloaded" / patient / frame)
    return place


def python(place: Path, *arguments: str) -> None:
    """Run Python in the folder, with the changed source."""
    environment = {**os.environ, "PYTHONPATH": f"{place / 'src'}{os.pathsep}.", "HETEROREG_CACHE": "off"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def heteroreg(place: Path, *lines: list[str]) -> None:
    """Run commands, one after the other in one process."""
    calls = "".join(f"\napp({line!r}, standalone_mode=False)" for line in lines)
    python(place, "-c", f"from heteroreg.cli.app import app{calls}")


def test_the_page_adds_one_of_each() -> None:
    assert set(files()) == {
        "myloss.py",
        "mynetwork.py",
        "mybackbone.py",
        "mydata.py",
        "myregistrar.py",
        "myfigure.py",
    }
    assert [name for name, _, _ in hunks()] == ["src/heteroreg/evaluation/metrics.py"]
    assert len(commands("heteroreg", "train")) == 3


@pytest.mark.slow
def test_a_loss_a_network_and_a_metric_from_elsewhere(place: Path) -> None:
    lines, runs = [], []
    for command in commands("heteroreg", "train"):
        _, _, _, _, run, option, name = command
        scores = f"scores/{Path(run).name}"
        # The run is one like all others: it registers and is scored.
        lines += [[*command[1:], *SHORT], ["evaluate", "hearts", "--model", run, "--out", scores, option, name]]
        runs.append((run, scores, option, name))
    heteroreg(place, *lines)
    for run, scores, option, name in runs:
        config = (place / run / "config.yaml").read_text(encoding="utf-8")
        assert f"{option.removeprefix('--')}: {name}\n" in config
        assert pd.read_csv(place / run / "metrics.csv").loss.iloc[-1] > 0
        table = pd.read_csv(place / scores / "scores.csv")
        assert len(table) == 1
        assert table.mean_displacement[0] > 0
    python(place, "myfigure.py")
    assert (place / "folding.png").exists()


@pytest.mark.slow
def test_a_loss_as_an_object(place: Path) -> None:
    (code,) = [block for block in blocks("python") if not block.startswith("# ")]
    python(place, "-c", code)
    assert (place / "runs" / "mae-object" / "config.yaml").exists()


def test_a_data_set_from_elsewhere(place: Path) -> None:
    (command,) = commands("heteroreg", "import")
    heteroreg(place, command[1:])
    table = pd.read_csv(place / "cohorts" / "mydata" / "pairs.csv")
    assert list(table.id) == ["a", "b", "c"]
    assert table.moving.str.endswith("one.nii.gz").all()


def test_a_registrar_from_elsewhere(place: Path) -> None:
    python(place, "myregistrar.py")
    assert (place / "scores" / "mine" / "scores.csv").exists()
