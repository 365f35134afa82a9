"""Displacement fields: voxels inside, ITK's millimetres in files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import DTypeLike

from heteroreg.data.grid import Grid
from heteroreg.data.image import place, write_sitk
from heteroreg.data.io.itk import NIFTI_ENDINGS, grid_of, read_itk_header, read_itk_voxels
from heteroreg.data.io.nifti import read_nifti_voxels
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError


def to_millimetres(displacement: Floats, grid: Grid) -> Floats:
    """Turns a displacement in voxels of `grid` into one in mm along the axes of space (LPS).

    u_mm(x) = direction · diag(spacing) · u(x)

    Args:
        displacement: (d, *shape), channel i along array axis i.
        grid: The grid whose voxels are meant.

    Returns:
        (d, *shape), channel i along axis i of the space.
    """
    return np.asarray(np.tensordot(grid.matrix, displacement, axes=1))


def to_voxels(displacement: Floats, grid: Grid) -> Floats:
    """The inverse of `to_millimetres`."""
    return np.asarray(np.tensordot(np.linalg.inv(grid.matrix), displacement, axes=1))


def write_displacement(displacement: Floats, grid: Grid, path: str | Path) -> None:
    """Writes a displacement as an ITK displacement field, which maps points of fixed to points of moving.

    A field of a single slice is written as two equal slices to NIfTI: ITK reads one slice of vectors as a 2D
    field with three components, which is none.

    Args:
        displacement: (d, *shape) in voxels of `grid`.
        grid: The fixed image's grid.
        path: Where to; NIfTI, MetaImage or NRRD by the ending.
    """
    if grid.dims == 3 and grid.shape[2] == 1 and Path(path).name.lower().endswith(NIFTI_ENDINGS):
        displacement, grid = np.repeat(displacement, 2, axis=3), replace(grid, shape=(*grid.shape[:2], 2))
    write_sitk(displacement_to_itk(displacement, grid), Path(path))


def displacement_to_itk(displacement: Floats, grid: Grid, dtype: DTypeLike = np.float32) -> Any:
    """Convert a displacement (d, *shape) in voxels of `grid` to a SimpleITK image of vectors in mm."""
    vectors = np.moveaxis(to_millimetres(displacement, grid), 0, -1)
    array = np.ascontiguousarray(vectors.transpose(*reversed(range(grid.dims)), grid.dims), dtype=dtype)
    return place(sitk.GetImageFromArray(array, isVector=True), grid)


def read_displacement(path: str | Path) -> tuple[Floats, Grid]:
    """Reads an ITK displacement field.

    Returns:
        The displacement (d, *shape) in voxels of its grid, and the grid.

    Raises:
        UserError: The file is missing, damaged, or not a displacement field.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a displacement field")
    if path.name.lower().endswith(NIFTI_ENDINGS):
        read_nifti_voxels(path)  # ITK fills what is missing of a truncated file with zeros
    reader = read_itk_header(path)
    grid = grid_of(reader)
    if reader.GetNumberOfComponents() != grid.dims or grid.dims not in (2, 3):
        raise UserError(
            f"{path}: has {reader.GetNumberOfComponents()} values in each voxel of a {grid.dims}D grid; "
            "a displacement field has one for each axis"
        )
    vectors = sitk.GetArrayFromImage(read_itk_voxels(path, reader, sitk.sitkVectorFloat64))
    return displacement_from_itk(vectors, grid, path), grid


def displacement_from_itk(vectors: Floats, grid: Grid, path: Path) -> Floats:
    """The displacement (d, *shape) in voxels of vectors in mm.

    Args:
        vectors: (*reversed(shape), d), as SimpleITK gives arrays.
        grid: Where they lie.
        path: The file, for messages.

    Raises:
        UserError: They hold NaN or infinite values.
    """
    if not np.isfinite(vectors).all():
        raise UserError(f"{path}: holds NaN or infinite displacements")
    axes = (grid.dims, *reversed(range(grid.dims)))
    return to_voxels(np.ascontiguousarray(vectors.transpose(axes)), grid)
