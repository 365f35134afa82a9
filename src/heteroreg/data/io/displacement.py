"""Displacement fields: voxels in memory, ITK's millimetres in files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import DTypeLike

from heteroreg.data.grid import Grid
from heteroreg.data.image import write_sitk
from heteroreg.data.io.itk import NIFTI_ENDINGS, place, read_itk_header, read_itk_voxels
from heteroreg.data.io.nifti import check_nifti_voxels
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError
from heteroreg.system.slabs import slabs


def to_millimetres(displacement: Floats, grid: Grid) -> Floats:
    """Convert a displacement in voxels of `grid` to mm along the axes of space (LPS).

    u_mm(x) = direction · diag(spacing) · u(x)

    Args:
        displacement: (d, *shape), channel i along array axis i.
        grid: The grid of the displacement.

    Returns:
        (d, *shape), channel i along axis i of space.
    """
    return np.asarray(np.tensordot(grid.matrix, displacement, axes=1))


def to_voxels(displacement: Floats, grid: Grid) -> Floats:
    """Convert a displacement in mm to voxels of `grid`, the inverse of `to_millimetres`."""
    return np.asarray(np.tensordot(np.linalg.inv(grid.matrix), displacement, axes=1))


def write_displacement(displacement: Floats, grid: Grid, path: str | Path) -> None:
    """Write a displacement as an ITK displacement field, which maps points of fixed to points of moving.

    A field with a single slice is written to NIfTI as two equal slices: ITK would read one slice as an invalid 2D
    field with three components.

    Args:
        displacement: (d, *shape) in voxels of `grid`.
        grid: The fixed image's grid.
        path: The file; its ending selects NIfTI, MetaImage or NRRD.
    """
    if grid.dims == 3 and grid.shape[2] == 1 and Path(path).name.lower().endswith(NIFTI_ENDINGS):
        displacement, grid = np.repeat(displacement, 2, axis=3), replace(grid, shape=(*grid.shape[:2], 2))
    write_sitk(displacement_to_itk(displacement, grid), Path(path))


def displacement_to_itk(displacement: Floats, grid: Grid, dtype: DTypeLike = np.float32) -> Any:
    """Convert a displacement (d, *shape) in voxels of `grid` to a SimpleITK image of vectors in mm."""
    array = np.empty((*reversed(grid.shape), grid.dims), dtype)
    for layers in slabs(grid.shape):
        array[layers] = to_millimetres(displacement[..., layers], grid).T
    return place(sitk.GetImageFromArray(array, isVector=True), grid)


def read_displacement(path: str | Path) -> tuple[Floats, Grid]:
    """Read an ITK displacement field.

    Returns:
        The displacement (d, *shape) in voxels of its grid, and the grid.

    Raises:
        UserError: The file is missing, damaged, or not a displacement field.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a displacement field")
    if path.name.lower().endswith(NIFTI_ENDINGS):
        check_nifti_voxels(path)  # ITK fills the missing part of a truncated file with zeros
    header = read_itk_header(path)
    grid = header.grid
    if header.components != grid.dims or grid.dims not in (2, 3):
        raise UserError(
            f"{path}: has {header.components} values in each voxel of a {grid.dims}D grid; "
            "a displacement field has one for each axis"
        )
    vectors = sitk.GetArrayFromImage(read_itk_voxels(path, header, sitk.sitkVectorFloat64))
    return displacement_from_itk(vectors, grid, path), grid


def displacement_from_itk(vectors: Floats, grid: Grid, path: Path) -> Floats:
    """Convert ITK's vectors in mm to a displacement (d, *shape) in voxels.

    Args:
        vectors: (*reversed(shape), d), the array of a SimpleITK image.
        grid: Their grid.
        path: The file, for messages.

    Raises:
        UserError: A vector is non-finite.
    """
    if not np.isfinite(vectors).all():
        raise UserError(f"{path}: has NaN or infinite displacements; write the field again")
    axes = (grid.dims, *reversed(range(grid.dims)))
    return to_voxels(np.ascontiguousarray(vectors.transpose(axes)), grid)
