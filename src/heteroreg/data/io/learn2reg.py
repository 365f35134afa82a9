"""Displacement fields in the format of the Learn2Reg challenges."""

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
    """Return True if a file has the name of a Learn2Reg field."""
    return FIELD_NAME.fullmatch(path.name) is not None


def is_learn2reg(path: Path) -> bool:
    """Return True for NIfTI with four axes, the last of length 3 (ITK's vectors have five axes)."""
    if not path.name.lower().endswith(NIFTI_ENDINGS) or not path.is_file():
        return False
    header = read_itk_header(path)
    return header.components == 1 and header.grid.dims == 4 and header.grid.shape[3] == COMPONENTS


def read_learn2reg_field(path: Path, grid: Grid) -> Floats:
    """Read a displacement field of Learn2Reg.

    moved[i] = moving[i + u(i)], with u in voxels along the axes of the arrays. The grid in its header is ignored,
    since many submissions have none. So fixed and moving must have the same grid, as in the challenges.

    Args:
        path: The file, [x, y, z, 3].
        grid: The fixed image's grid.

    Returns:
        (3, *shape) in voxels of the grid.

    Raises:
        UserError: The file is damaged, its shape is not that of the grid, or it has non-finite values.
    """
    array = np.asarray(read_nifti_voxels(path), dtype=np.float64)
    if array.shape != (*grid.shape, COMPONENTS):
        raise UserError(
            f"{path}: has the shape {array.shape}, but for this fixed image it must be {(*grid.shape, COMPONENTS)}"
        )
    if not np.isfinite(array).all():
        raise UserError(f"{path}: has NaN or infinite displacements; write the field again")
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def write_learn2reg_field(displacement: Floats, grid: Grid, path: Path, moving: Grid | None = None) -> None:
    """Write a displacement field for Learn2Reg as float32; see `read_learn2reg_field`.

    The challenge samples moving's array at i + u(i) and ignores both headers. Where moving lies on another grid, u
    leads from a voxel of fixed to the voxel of moving: u(i) = A·(i + u_fixed(i)) + b - i, with j = A·i + b the map
    from indices of fixed to those of moving.

    Args:
        displacement: (3, *shape) in voxels of the grid.
        grid: The fixed image's grid, for the header.
        path: `disp_<fixed>_<moving>.nii.gz`.
        moving: The moving image's grid; that of the fixed image by default.

    Raises:
        UserError: The displacement is not 3D.
    """
    if grid.dims != COMPONENTS:
        raise UserError(f"{path}: Learn2Reg fields are 3D and this one is {grid.dims}D; choose another format")
    if moving is not None and not moving.same_as(grid):
        index = np.indices(grid.shape)
        matrix, offset = grid.index_map(moving)
        there = np.tensordot(matrix, index + displacement, axes=1) + offset[:, None, None, None]
        displacement = there - index
    image = nib.Nifti1Image(np.moveaxis(displacement, 0, -1).astype(np.float32), grid.nifti_affine())
    with atomic_file(path) as temporary:
        nib.save(image, temporary)
