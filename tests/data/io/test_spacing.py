"""Files that do not say how large their voxels are."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import heteroreg as hr
from heteroreg.data.image import read_grid, read_image
from heteroreg.system.errors import UserError


@pytest.fixture(params=["a.png", "a.mha", "a.nrrd", "a.nii"])
def bare(request, tmp_path):
    """An image without a voxel size in its header."""
    path = tmp_path / request.param
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (18, 16)).astype(np.uint8))
    if path.suffix == ".nii":
        plain = nib.Nifti1Image(sitk.GetArrayFromImage(image).T, None)
        plain.header["pixdim"][1:4] = 1
        nib.save(plain, path)
        content = bytearray(path.read_bytes())
        content[252:256] = bytes(4)  # the codes of both forms
        path.write_bytes(content)
        return path
    sitk.WriteImage(image, str(path))
    if path.suffix != ".png":
        words = {".mha": b"ElementSpacing", ".nrrd": b"space directions"}
        lines = path.read_bytes().split(b"\n")
        keep = [line for line in lines if not line.startswith((words[path.suffix], b"space", b"kinds"))]
        path.write_bytes(b"\n".join(keep))
    return path


def test_a_spacing_is_given_for_files_without_one(bare, tmp_path):
    with pytest.warns(UserWarning, match="are read as 1 mm, so in pixels; --spacing gives it"):
        assert read_image(bare).grid.spacing == (1, 1)
    with hr.reading(spacing=(0.3, 0.5)):
        assert read_image(bare).grid.spacing == read_grid(bare).spacing == (0.3, 0.5)
        nib.save(nib.Nifti1Image(np.zeros((8, 8, 2)), np.diag([2, 2, 5, 1.0])), tmp_path / "own.nii.gz")
        assert read_grid(tmp_path / "own.nii.gz").spacing == (2, 2, 5)  # its own
    with hr.reading(spacing=(0.25,)):
        assert read_grid(bare).spacing == (0.25, 0.25)


@pytest.mark.parametrize("wrong", [(0.0,), (-1.0, 1.0), (1.0,) * 4, (float("nan"),)])
def test_a_spacing_that_is_none(wrong):
    with pytest.raises(UserError, match="is not a positive number of mm"), hr.reading(spacing=wrong):
        pass
