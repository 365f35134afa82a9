"""Thousands of damaged and hostile files: each is read soundly or refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORMATS = {
    "nifti", "nifti-gz", "metaimage", "nrrd", "png", "dicom", "field", "labels", "cohort", "settings", "config",
    "state", "safetensors", "scores", "summary", "gallery", "import", "name",
    "header", "transform",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured through /proc")
@pytest.mark.parametrize("inputs", [1200, pytest.param(12_000, marks=pytest.mark.long)])
def test_damaged_files(inputs: int, tmp_path: Path) -> None:
    """HETEROREG_FUZZ=N takes another number of inputs."""
    asked = int(os.environ.get("HETEROREG_FUZZ", inputs))
    paths = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", str(asked), "--json", str(tmp_path / "report.json")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (tmp_path / "report.json").is_file(), done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["findings"] == []
    assert set(report["counts"]) == FORMATS
    assert abs(report["inputs"] - asked) <= len(FORMATS)
    for name, kinds in report["counts"].items():  # a harness that refuses all, or spoils nothing, shows nothing
        assert kinds.get("refused"), name
        assert kinds.get("read"), name
