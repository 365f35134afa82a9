"""Displacement fields as the Learn2Reg challenges exchange them."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np

from heteroreg.data.grid import Grid
from heteroreg.data.io.itk import NIFTI_ENDINGS, read_itk_header
from heteroreg.data.io.nifti import read_nifti_voxels
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file

# disp_<fixed>_<moving>, or with the modalities disp_<fixed>_<modality>_<moving>_<modality>.
FIELD_NAME = re.compile(r"disp_\w+\.nii(\.gz)?", re.IGNORECASE)
COMPONENTS = 3


def is_learn2reg_name(path: Path) -> bool:
    """Whether a file is called as a field of Learn2Reg."""
    return FIELD_NAME.fullmatch(path.name) is not None


def is_learn2reg(path: Path) -> bool:
    """Whether a file holds such a field: NIfTI with four axes, the last of length 3 (ITK's vectors have five)."""
    if not path.name.lower().endswith(NIFTI_ENDINGS) or not path.is_file():
        return False
    header = read_itk_header(path)
    return header.GetNumberOfComponents() == 1 and len(header.GetSize()) == 4 and header.GetSize()[3] == COMPONENTS


def read_learn2reg_field(path: Path, grid: Grid) -> Floats:
    """Reads a displacement field of Learn2Reg.

    moved[i] = moving[i + u(i)], u in voxels along the axes of the arrays. What its header says of the space is not
    looked at: many submissions have none. So fixed and moving must lie on one grid, as they do in the challenges.

    Args:
        path: The file, [x, y, z, 3].
        grid: The fixed image's grid.

    Returns:
        (3, *shape) in voxels of the grid.

    Raises:
        UserError: It is damaged, not of the shape of the grid, or holds NaN or infinite values.
    """
    array = np.asarray(read_nifti_voxels(path), dtype=np.float64)
    if array.shape != (*grid.shape, COMPONENTS):
        raise UserError(
            f"{path}: has the shape {array.shape}, and for this fixed image it must be {(*grid.shape, COMPONENTS)}"
        )
    if not np.isfinite(array).all():
        raise UserError(f"{path}: holds NaN or infinite displacements")
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def write_learn2reg_field(displacement: Floats, grid: Grid, path: Path) -> None:
    """Writes a displacement field for Learn2Reg, float32; see `read_learn2reg`.

    Args:
        displacement: (3, *shape) in voxels of the grid.
        grid: The fixed image's grid, which the header tells.
        path: `disp_<fixed>_<moving>.nii.gz`.

    Raises:
        UserError: The displacement is not 3D.
    """
    if grid.dims != COMPONENTS:
        raise UserError(f"{path}: Learn2Reg has 3D fields, and this one is {grid.dims}D; choose another format")
    image = nib.Nifti1Image(np.moveaxis(displacement, 0, -1).astype(np.float32), grid.nifti_affine())
    with atomic_file(path) as temporary:
        nib.save(image, temporary)
