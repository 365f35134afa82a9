from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg.data.image import Image, read_image, write_image
from heteroreg.data.io.itk import quiet_itk
from heteroreg.system.errors import UserError

# Eight threads read images of every kind, damaged ones too, while the main thread prints to stderr.
PROGRAM = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from heteroreg.data.image import read_image
from heteroreg.system.errors import UserError

def read(path):
    try:
        return int(read_image(path).array.size)
    except UserError:
        return -1

paths = sorted(path for path in Path.cwd().iterdir() if path.suffix != ".raw")
descriptor = os.fstat(2)
with ThreadPoolExecutor(8) as pool:
    results = [pool.submit(read, paths[k % len(paths)]) for k in range(160)]
    for number in range(500):
        print(f"line {number}", file=sys.stderr, flush=True)
assert [result.result() for result in results] == [-1 if p.name.startswith("bad") else 600 for p in paths] * 20
assert os.path.sameopenfile(2, sys.stderr.fileno()) and os.fstat(2) == descriptor
raise RuntimeError("this traceback must be seen")
"""


def test_reading_in_threads_leaves_stderr_alone(tmp_path: Path) -> None:
    image = Image.from_array(np.arange(600, dtype=np.int16).reshape(30, 20))
    for ending in ("nii.gz", "mha", "nrrd"):
        write_image(image, tmp_path / f"a.{ending}")
        write_image(image, tmp_path / f"b.{ending}")
    write_image(image.with_array(image.array.astype(np.uint8)), tmp_path / "c.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "c.png").read_bytes()[:-60])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert lines[:500] == [f"line {number}" for number in range(500)], done.stderr[:3000]
    assert lines[-1] == "RuntimeError: this traceback must be seen"


def test_warnings_of_itk_are_as_the_user_set_them() -> None:
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    try:
        for shown in (True, False):
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)
            with quiet_itk():
                assert not sitk.ProcessObject.GetGlobalWarningDisplay()
                with quiet_itk():
                    pass
                assert not sitk.ProcessObject.GetGlobalWarningDisplay()
            assert sitk.ProcessObject.GetGlobalWarningDisplay() is shown
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def test_reading_changes_no_setting_of_the_process(tmp_path: Path) -> None:
    write_image(Image.from_array(np.ones((9, 8, 7), np.float32)), tmp_path / "a.nii.gz")
    code = """
import logging, SimpleITK as sitk
from heteroreg.data.image import read_image
read_image("a.nii.gz")
import nibabel
assert sitk.ProcessObject.GetGlobalWarningDisplay()
assert logging.getLogger("nibabel.global").level == nibabel.imageglobals.logger.level < logging.CRITICAL
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)


def test_a_png_is_what_itk_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 2**16, size=(14, 20), dtype=np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(tmp_path / "grey.png"))
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png").array, grey.T)
    colour = rng.integers(0, 2**16, size=(14, 20, 3), dtype=np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "colour.png"))
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    found = read_image(tmp_path / "colour.png").array
    np.testing.assert_allclose(found, (colour.astype(np.float32) @ weights).T, rtol=1e-5)


def test_headers_that_nibabel_repairs_are_read(tmp_path: Path, capfd) -> None:
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((5, 4, 3), np.int16), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[40:42] = (9).to_bytes(2, "little")  # nine axes, which NIfTI does not have
    (tmp_path / "b.nii").write_bytes(content)
    with pytest.raises(UserError, match=r"b\.nii: not a readable NIfTI file"):
        read_image(tmp_path / "b.nii")
    content = bytearray(path.read_bytes())
    content[252:254] = b"\x55\x00"  # a qform_code that does not exist
    path.write_bytes(content)
    assert read_image(path).array.sum() == 60
    assert capfd.readouterr().err == ""
