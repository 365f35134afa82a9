"""Paths that are not UTF-8, closed streams, no home folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg import Cohort, Field, Grid, Image, UserError, import_cohort, load, read_image, write_image
from heteroreg.data.samples.cache import SampleCache
from heteroreg.system.paths import expanded, require_utf8

ODD = os.fsdecode(b"M\xfcller")  # Latin-1
NO_HOME = """
import os, pwd
def absent(number): raise KeyError(number)
pwd.getpwuid = absent
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "HETEROREG_CACHE", "MPLCONFIGDIR"):
    os.environ.pop(name, None)
from heteroreg.cli import main
main()
"""


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Return a folder whose name is not UTF-8."""
    folder = tmp_path / ODD
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    return folder


def field() -> Field:
    return Field(np.zeros((2, 4, 4)), Grid.of_shape((4, 4)))


ACTS: dict[str, Callable[[Path], object]] = {
    "read NIfTI": lambda folder: read_image(folder / "a.nii.gz"),
    "read MetaImage": lambda folder: read_image(folder / "a.mha"),
    "read PNG": lambda folder: read_image(folder / "a.png"),
    "write an image": lambda folder: write_image(Image.from_array(np.eye(4)), folder / "b.nii.gz"),
    "write a field": lambda folder: field().write(folder / "b.nii.gz"),
    "write a transform": lambda folder: field().write(folder / "b.h5"),
    "read a transform": lambda folder: Field.read(folder / "a.tfm"),
    "register": lambda folder: load("undeformed").register(folder / "a.nii.gz", folder / "a.nii.gz"),
    "save": lambda folder: load("undeformed").register(np.eye(8), np.eye(8), spacing=1).save(folder / "r"),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_name_that_is_not_utf8(odd: Path, tmp_path: Path, act: str) -> None:
    """ITK would end the whole process."""
    for name in ("a.nii.gz", "a.mha", "a.png"):
        sitk.WriteImage(sitk.GetImageFromArray(np.eye(8, dtype=np.uint8)), str(tmp_path / name))
        shutil.move(tmp_path / name, odd / name)
    sitk.WriteTransform(sitk.AffineTransform(2), str(tmp_path / "a.tfm"))
    shutil.move(tmp_path / "a.tfm", odd / "a.tfm")
    before = sorted(odd.iterdir())
    with pytest.raises(UserError, match=r"M\\udcfcller.*: has a name that is not UTF-8; rename it"):
        ACTS[act](odd)
    assert sorted(odd.iterdir()) == before


def test_a_folder_of_files_that_are_not_utf8(odd: Path, tmp_path: Path) -> None:
    for phase in ("ED", "ES"):
        sitk.WriteImage(sitk.GetImageFromArray(np.eye(32, dtype=np.uint8)), str(tmp_path / f"a_{phase}.nii.gz"))
        shutil.move(tmp_path / f"a_{phase}.nii.gz", odd / f"a_{phase}.nii.gz")
    with pytest.raises(UserError, match=r"not UTF-8 \('.*M\\udcfcller.*'\)"):  # the row of the table, not its title
        import_cohort("folder", tmp_path, tmp_path / "cohort")


def test_the_command_line_says_one_line(odd: Path, cohort_2d: Cohort) -> None:
    command = [sys.executable, "-m", "heteroreg", "evaluate", cohort_2d.name, "--model", "undeformed", "--out"]
    done = subprocess.run([*command, os.fsencode(odd / "scores")], capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"has a name that is not UTF-8; rename it" in done.stderr
    assert not list(odd.iterdir())


def test_good_names() -> None:
    require_utf8("Müller", Path("Ж"), 3, None)


@pytest.mark.parametrize("closed", [pytest.param((2,), marks=pytest.mark.slow), (0, 1, 2)], ids=str)
def test_closed_streams(cohort_2d: Cohort, tmp_path: Path, closed: tuple[int, ...]) -> None:
    pair = cohort_2d[0]
    arguments = ["-m", "heteroreg", "register", str(pair.moving), str(pair.fixed), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, *arguments], preexec_fn=lambda: [os.close(number) for number in closed], check=False
    )
    assert done.returncode == 0
    image = sitk.ReadImage(str(tmp_path / "out" / "moved.nii.gz"))
    assert image.GetSize() == read_image(pair.fixed).grid.shape


def test_no_home_folder(cohort_2d: Cohort, tmp_path: Path) -> None:
    settings = ["--set", "steps=1", "--set", "batch_size=2", "--method", "mse"]
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, "train", cohort_2d.name, "--out", str(tmp_path / "run"), *settings],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_folder_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.delenv("HETEROREG_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(UserError, match=r"~/runs: .*; write the whole path"):
        expanded("~/runs")
    assert SampleCache.of_environment().folder is None
