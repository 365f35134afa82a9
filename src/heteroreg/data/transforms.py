"""Transform files of all kinds as displacement fields, and displacement fields as files of all kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from heteroreg.data.field import displacement_of, field_of, read_displacement, write_displacement
from heteroreg.data.grid import Grid
from heteroreg.data.itk import check_grid, grid_of, last_line, silent
from heteroreg.data.learn2reg import is_learn2reg, is_learn2reg_name, read_learn2reg, write_learn2reg
from heteroreg.errors import UserError
from heteroreg.files import atomic_file
from heteroreg.limits import require_size

Floats = NDArray[np.floating[Any]]

ITK_ENDINGS = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
WRITTEN_ENDINGS = ITK_ENDINGS[:-1]  # .mat is for affine transforms


def read_transform(path: str | Path, like: Grid | None = None) -> tuple[Floats, Grid]:
    """Reads a transform as a displacement field.

    - An ITK displacement field (NIfTI, MetaImage, NRRD), as `register` writes it: on its own grid.
    - An ITK transform (`.h5`, `.hdf5`, `.tfm`, `.txt`, `.mat`): a displacement field on its own grid; any other
      one, such as an affine transform, a B-spline or a composition, as the displacements of the voxels of `like`.
    - A field of Learn2Reg (NIfTI [x, y, z, 3] in voxels), which does not say where it lies: on `like`.

    Args:
        path: The file.
        like: The fixed image's grid.

    Returns:
        The displacement (d, *shape) in voxels of its grid, and the grid.

    Raises:
        UserError: The file is missing, damaged or no transform, it needs `like`, or does not fit it.
    """
    path = Path(path)
    if path.name.lower().endswith(ITK_ENDINGS):
        return _from_itk(path, read_itk_transform(path), like)
    if is_learn2reg(path):
        return read_learn2reg(path, _needed(path, like)), _needed(path, like)
    return read_displacement(path)


def write_transform(displacement: Floats, grid: Grid, path: str | Path) -> None:
    """Writes a displacement; the name of the file chooses the format.

    `.h5`, `.hdf5`, `.tfm` and `.txt`: an ITK transform. `disp_*.nii.gz`: a field of Learn2Reg. Else an ITK
    displacement field: NIfTI, MetaImage or NRRD.

    Args:
        displacement: (d, *shape) in voxels of `grid`.
        grid: The fixed image's grid.
        path: Where to.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(WRITTEN_ENDINGS):
        _write_itk(displacement, grid, path)
    elif name.endswith(ITK_ENDINGS):
        raise UserError(f"{path}: {path.suffix} files hold affine transforms alone; end the name in .h5")
    elif is_learn2reg_name(path):
        write_learn2reg(displacement, grid, path)
    else:
        write_displacement(displacement, grid, path)


def read_itk_transform(path: Path) -> Any:
    """Reads a transform file of ITK.

    Raises:
        UserError: The file is missing, damaged, or of another kind.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a transform")
    if not path.name.lower().endswith(ITK_ENDINGS):
        raise UserError(f"{path}: is no ITK transform by its ending; those end in {', '.join(ITK_ENDINGS)}")
    try:
        with silent():
            transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise UserError(
            f"{path}: could not be read as an ITK transform ({last_line(error)}); is the file whole?"
        ) from error
    if transform.GetDimension() not in (2, 3):
        raise UserError(f"{path}: transforms a space of {transform.GetDimension()} dimensions; 2 or 3 are needed")
    return transform


def _from_itk(path: Path, transform: Any, like: Grid | None) -> tuple[Floats, Grid]:
    if transform.GetTransformEnum() == sitk.sitkDisplacementField:
        image = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
        require_size(path, image.GetSize())
        grid = grid_of(image)
        check_grid(path, grid)
        return displacement_of(image, path), grid
    like = _needed(path, like)
    if transform.GetDimension() != like.dims:
        raise UserError(
            f"{path}: transforms a space of {transform.GetDimension()} dimensions, and the image has {like.dims}"
        )
    image = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, like.shape, like.origin, like.spacing, like.direction
    )
    return displacement_of(image, path), like


def _needed(path: Path, like: Grid | None) -> Grid:
    if like is None:
        raise UserError(f"{path}: does not say on which grid it lies; name the fixed image with --like")
    return like


def _write_itk(displacement: Floats, grid: Grid, path: Path) -> None:
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field_of(displacement, grid), sitk.sitkVectorFloat64))
    with atomic_file(path) as temporary:
        try:
            sitk.WriteTransform(transform, str(temporary))
            whole = _same(sitk.ReadTransform(str(temporary)), transform)  # ITK says nothing when the disk is full
        except RuntimeError as error:
            raise UserError(f"{path}: could not be written ({last_line(error)}); is there room?") from error
        if not whole:
            raise UserError(f"{path}: could not be written (it came out incomplete); is there room?")


def _same(transform: Any, other: Any) -> bool:
    fields = [sitk.DisplacementFieldTransform(one).GetDisplacementField() for one in (transform, other)]
    a, b = map(sitk.GetArrayViewFromImage, fields)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5, atol=1e-5, equal_nan=True))
