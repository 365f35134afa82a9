from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from heteroreg.data.importing import import_cohort
from heteroreg.data.readers import find_reader, reader_names
from heteroreg.system.errors import UserError


def test_every_module_is_a_reader() -> None:
    assert reader_names() == ["acdc", "camus", "dicom", "folder", "learn2reg", "mnms"]
    assert [find_reader(name).__name__ for name in reader_names()] == [f"read_{name}" for name in reader_names()]


def test_names_are_found_without_heavy_imports() -> None:
    code = "import sys; from heteroreg.data.readers import reader_names; reader_names(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "numpy", "SimpleITK"} & set(done.stdout.split())


def test_an_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^kind: 'oasis' is not a known data set; use acdc, camus, dicom") as error:
        import_cohort("oasis", tmp_path, tmp_path / "out")
    assert error.value.argument == "kind"
