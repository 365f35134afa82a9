"""What is in the packages, and what they say of themselves. `benchmarks/wheel.py` installs and tries them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml

import heteroreg

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout."""
    pytest.importorskip("hatchling", reason="comes with the extra dev")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    ours = {name for name in files if "__pycache__" not in name and ".egg-info/" not in name}
    data = ("py.typed", "registration/bspline.txt", "report/templates/page.css")
    assert {f"heteroreg/{name}" for name in data} <= ours
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == ours
    for name in ours:
        assert wheel.read(name) == (source / name).read_bytes()


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    (about,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_string(wheel.read(about).decode())
    assert (metadata["Name"], metadata["Version"]) == ("heteroreg", heteroreg.__version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    folder = about.rpartition("/")[0]
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()
    assert "heteroreg = heteroreg.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()


def test_there_is_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == citation["version"] == heteroreg.__version__
    assert citation["license"] == PROJECT["license"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{PROJECT['version']}]" in changelog


def test_the_pythons_are_those_that_were_tested() -> None:
    """The table of benchmarks/performance.md says which; the classifiers claim no other."""
    text = (ROOT / "benchmarks" / "performance.md").read_text(encoding="utf-8")
    tested = re.findall(r"^\| Python (3\.\d+)\.\d+ \|", text, re.MULTILINE)
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert claimed == tested
    assert PROJECT["requires-python"] == f">={tested[0]}"
