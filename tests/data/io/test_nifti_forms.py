"""NIfTI files whose qform, sform and voxel sizes disagree."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import heteroreg as hr
from heteroreg.data.image import note_of_place, read_grid, read_image, read_labels
from heteroreg.data.inputs import as_pair
from heteroreg.system.errors import UserError

SCANNER = np.array([[-1.5, 0, 0, 70], [0, -1.5, 0, 70], [0, 0, 8, -20], [0, 0, 0, 1.0]])
MOVED = SCANNER + np.array([[0, 0, 0, 25], [0, 0, 0, -18], [0, 0, 0, 0], [0, 0, 0, 0.0]])  # √(25² + 18²) = 30.8 mm


def save(path: Path, qform, sform, code=2) -> Path:
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (12, 10, 4)).astype(np.int16), sform)
    image.set_qform(qform, 0 if qform is None else 1)
    image.set_sform(sform, code)
    nib.save(image, path)
    return path


def test_the_qform_is_used_and_the_sform_offered(tmp_path):
    path = save(tmp_path / "a.nii.gz", MOVED, SCANNER)
    assert read_grid(path).origin == pytest.approx((-95, -52, -20))  # of the qform, in LPS
    assert "its qform and sform differ by 31 mm; ITK's choice, the qform, is used; --nifti-frame sform" in (
        note_of_place(path)
    )
    with hr.reading(nifti_frame="sform"):
        for read in (read_grid, lambda one: read_image(one).grid, lambda one: read_labels(one).grid):
            assert read(path).origin == pytest.approx((-70, -70, -20))
        assert note_of_place(path) == ""
    assert read_grid(path).origin == pytest.approx((-95, -52, -20))


def test_a_frame_by_the_environment(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz", MOVED, SCANNER)
    monkeypatch.setenv("HETEROREG_NIFTI_FRAME", "sform")
    assert read_grid(path).origin == pytest.approx((-70, -70, -20))
    monkeypatch.setenv("HETEROREG_NIFTI_FRAME", "best")
    with pytest.raises(UserError, match="HETEROREG_NIFTI_FRAME: 'best' is unknown"):
        read_grid(path)


def test_voxel_sizes_beside_the_sform(tmp_path):
    path = save(tmp_path / "a.nii", None, SCANNER)
    content = bytearray(path.read_bytes())
    content[80:92] = np.array([1, 1, 1], "<f4").tobytes()  # pixdim
    path.write_bytes(content)
    assert "has voxels of 1×1×1 mm by its pixdim, 1.5×1.5×8 mm by its sform" in note_of_place(path)
    with hr.reading(nifti_frame="sform"):
        assert read_grid(path).spacing == pytest.approx((1.5, 1.5, 8))


def test_forms_that_agree_need_no_word(tmp_path):
    assert note_of_place(save(tmp_path / "a.nii.gz", SCANNER, SCANNER)) == ""
    assert note_of_place(save(tmp_path / "b.nii.gz", None, SCANNER)) == ""
    slightly = SCANNER.copy()
    slightly[0, 3] += 0.1  # less than a tenth of 1.5 mm
    assert note_of_place(save(tmp_path / "c.nii.gz", slightly, SCANNER)) == ""


def test_a_registration_says_so_and_what_is_written_agrees(tmp_path):
    moving, fixed = save(tmp_path / "m.nii.gz", MOVED, MOVED), save(tmp_path / "f.nii.gz", MOVED, SCANNER)
    with pytest.warns(UserWarning, match=r"f\.nii\.gz: its qform and sform differ by 31 mm"):
        as_pair(moving, fixed, None, None)
    with pytest.warns(UserWarning, match="differ"):
        hr.register(moving, fixed, "undeformed").save(tmp_path / "out")
    for name in ("moved", "displacement"):
        header = nib.load(tmp_path / "out" / f"{name}.nii.gz").header
        assert header["qform_code"] > 0
        assert header["sform_code"] > 0
        np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
        np.testing.assert_allclose(header.get_sform()[:3, 3], MOVED[:3, 3], atol=1e-4)


def test_a_2d_file_in_a_sagittal_plane_is_a_slice_of_space(tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1], [2, 0, 0], [0, 3, 0]])  # x of the file is P-A, y is I-S
    affine[:3, 3] = 7, 8, 9
    array = np.random.default_rng(0).random((20, 24)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "a.nii.gz")
    found = read_image(tmp_path / "a.nii.gz")
    assert found.grid.shape == read_grid(tmp_path / "a.nii.gz").shape == (20, 24, 1)
    assert found.grid.spacing == pytest.approx((2, 3, 1))
    np.testing.assert_allclose(found.grid.physical((5, 6, 0)), (-7, -(8 + 2 * 5), 9 + 3 * 6))
    np.testing.assert_array_equal(found.array[..., 0], array)


@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_of_one_voxel_comes_last(tmp_path, axis):
    shape = [16, 18, 20]
    shape[axis] = 1
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    nib.save(nib.Nifti1Image(array, SCANNER), tmp_path / "a.nii.gz")
    found = read_image(tmp_path / "a.nii.gz")
    rest = [n for k, n in enumerate(shape) if k != axis]
    assert found.array.shape == read_grid(tmp_path / "a.nii.gz").shape == (*rest, 1)
    assert found.grid.thick_slices  # registered in its plane
    index = [3, 5]
    index.insert(axis, 0)
    place = SCANNER[:3, :3] @ index + SCANNER[:3, 3]  # RAS
    np.testing.assert_allclose(found.grid.physical((3, 5, 0)), place * (-1, -1, 1), atol=1e-4)
    assert found.array[3, 5, 0] == array[tuple(index)]
