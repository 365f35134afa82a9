"""From DICOM to files: what is written lies where the headers of the fixed image say, as SimpleITK finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from tests.data import dicom_writer as writer

from heteroreg.data.image import read_image
from heteroreg.registration.load import load
from heteroreg.training import Run

ECHO = Path(pydicom.__file__).parent / "data" / "test_files" / "examples_ybr_color.dcm"
DIRECTION = np.stack([writer.ROW, writer.COLUMN, writer.NORMAL], axis=1)
Grid = tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...], np.ndarray]


def stack(folder: Path) -> tuple[Path, Grid]:
    path = writer.write_classic(folder / "sax", writer.voxels((36, 32, 3), frames=2))
    return path, ((36, 32, 3), writer.SPACING, tuple(writer.ORIGIN), DIRECTION)


def enhanced(folder: Path) -> tuple[Path, Grid]:
    path = writer.write_enhanced(folder / "sax.dcm", writer.voxels((36, 32, 3), frames=2))
    return path, ((36, 32, 3), writer.SPACING, tuple(writer.ORIGIN), DIRECTION)


def one_slice(folder: Path) -> tuple[Path, Grid]:
    path = writer.write_classic(folder / "lax", writer.voxels((36, 32, 1), frames=2))
    return path, ((36, 32, 1), (*writer.SPACING[:2], 6.0), tuple(writer.ORIGIN), DIRECTION)


def echo(folder: Path) -> tuple[Path, Grid]:
    return ECHO, ((320, 240), (0.5104970559477806,) * 2, (0.0, 0.0), np.eye(2))


@pytest.mark.parametrize("make", [stack, enhanced, one_slice, echo])
def test_the_outputs_lie_where_the_fixed_frame_lies(
    make: Callable[[Path], tuple[Path, Grid]], run_2d: Run, tmp_path: Path
) -> None:
    path, (size, spacing, origin, direction) = make(tmp_path)
    load(run_2d.folder).register(f"{path}#0", f"{path}#1").save(tmp_path / "out")
    moved = sitk.ReadImage(str(tmp_path / "out" / "moved.nii.gz"))
    field = sitk.ReadImage(str(tmp_path / "out" / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    assert moved.GetSize() == size
    assert field.GetSize() == (size if size[2:] != (1,) else (*size[:2], 2))  # of one slice it has two equal ones
    for image in (moved, field):
        np.testing.assert_allclose(image.GetSpacing(), spacing, rtol=1e-5)
        np.testing.assert_allclose(image.GetOrigin(), origin, atol=1e-4)
        np.testing.assert_allclose(np.reshape(image.GetDirection(), direction.shape), direction, atol=1e-5)
    moving = sitk.Cast(read_image(f"{path}#0").to_sitk(), sitk.sitkFloat32)
    transform = sitk.DisplacementFieldTransform(field)
    again = sitk.GetArrayFromImage(sitk.Resample(moving, moved, transform, sitk.sitkLinear, 0.0))
    expected = sitk.GetArrayFromImage(moved)
    inside = again != 0
    assert inside.mean() > 0.4
    assert np.quantile(np.abs(again - expected)[inside], 0.99) < 0.01 * expected.max()
