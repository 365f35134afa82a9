"""Deformations of SPM, NiftyReg and FNIRT, which look like ITK's fields."""

import nibabel as nib
import numpy as np
import pytest

from heteroreg.data.io.transforms import read_transform
from heteroreg.system.errors import UserError

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 1.5, 0, -5], [0, 0, 4, 3], [0, 0, 0, 1]])
SHIFT = np.array([3.0, -4.0, 8.0])  # mm, RAS: from a point of fixed to one of moving
# In voxels of the grid: the inverse of the matrix times the shift, (3 / -2, -4 / 1.5, 8 / 4).
VOXELS = np.array([-1.5, -8 / 3, 2.0])


def save(path, *, absolute, code=1007, name=b"", p1=0.0, about=b"", axes=5):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (6, 5, 4)], indexing="ij"), -1)
    vectors = np.zeros((6, 5, 4, 3)) + SHIFT + (index @ AFFINE[:3, :3].T + AFFINE[:3, 3] if absolute else 0)
    image = nib.Nifti1Image(vectors[:, :, :, None].astype(np.float32) if axes == 5 else vectors, AFFINE)
    header = image.header
    header["intent_code"], header["intent_name"], header["intent_p1"], header["descrip"] = code, name, p1, about
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    "header",
    [
        {"absolute": True, "name": b"Mapping", "about": b"Deformation"},  # SPM
        {"absolute": True, "about": b"SPM deformation"},
        {"absolute": True, "name": b"NREG_TRANS", "p1": 0.0},
        {"absolute": False, "name": b"NREG_TRANS", "p1": 1.0},
    ],
)
def test_positions_and_displacements_become_itks(tmp_path, header):
    found, grid = read_transform(save(tmp_path / "y.nii.gz", **header))
    assert grid.shape == (6, 5, 4)
    np.testing.assert_allclose(found, np.broadcast_to(VOXELS[:, None, None, None], found.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"code": 2006, "axes": 4}, r"is a warp of FNIRT .*wb_command -convert-warpfield"),
        ({"code": 2009, "axes": 4}, "is a warp of FNIRT"),
        ({"name": b"NREG_TRANS", "p1": 2.0}, "is a control point grid or velocity of NiftyReg"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(tmp_path, header, message):
    with pytest.raises(UserError, match=message):
        read_transform(save(tmp_path / "w.nii.gz", absolute=False, **header))
