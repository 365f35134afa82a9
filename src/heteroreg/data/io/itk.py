"""ITK's readers, asked with care: the header first, and the voxels only if they can be what it says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from heteroreg.data.grid import Grid
from heteroreg.data.io import nifti
from heteroreg.data.io.headers import check_text_header
from heteroreg.system.errors import UserError
from heteroreg.system.limits import require_size, require_stored

# ITK writes to stderr about harmless headers ("unexpected scales in sform" on every ACDC file).
sitk.ProcessObject.SetGlobalWarningDisplay(False)

NIFTI_ENDINGS = (".nii", ".nii.gz")
SHEARED = "ITK only supports orthonormal direction cosines"
# By the ending alone: ITK would try all its twenty readers on a file, whatever its name.
READERS = {
    ".nii": "NiftiImageIO", ".nii.gz": "NiftiImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO",
    ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".png": "PNGImageIO",
}  # fmt: skip
BYTES = {
    sitk.sitkUInt8: 1, sitk.sitkInt8: 1, sitk.sitkUInt16: 2, sitk.sitkInt16: 2, sitk.sitkUInt32: 4,
    sitk.sitkInt32: 4, sitk.sitkUInt64: 8, sitk.sitkInt64: 8, sitk.sitkFloat32: 4, sitk.sitkFloat64: 8,
}  # fmt: skip
# Between a nanometre and a kilometre.
SPACING_LIMITS = (1e-6, 1e6)


def grid_of(image: Any) -> Grid:
    """The grid of a SimpleITK image, or of a reader that has read an image's header."""
    return Grid(
        tuple(image.GetSize()),
        tuple(image.GetSpacing()),
        tuple(image.GetOrigin()),
        tuple(image.GetDirection()),
    )


def read_itk_header(path: Path) -> Any:
    """Reads a header.

    Returns:
        The SimpleITK reader, which knows the grid and the type, and can read the voxels.

    Raises:
        UserError: There is no reader for it, it is damaged, it declares more than `limits.max_voxels`, or more than
            the file can hold, or a grid that is none.
    """
    header = check_text_header(path)
    if path.name.lower().endswith(NIFTI_ENDINGS):
        nifti.check_nifti_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    name = path.name.lower()
    known = [kind for ending, kind in READERS.items() if name.endswith(ending)]
    if known:
        reader.SetImageIO(known[0])
    try:
        with silent():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if SHEARED in str(error):
            raise UserError(
                f"{path}: its axes are not at right angles (a sheared sform); resample it to a plain grid"
            ) from error
        raise UserError(
            f"{path}: could not be read ({last_line(error)}); is the file whole, is it an image?"
        ) from error
    require_size(path, reader.GetSize())
    components = reader.GetNumberOfComponents()
    values = int(np.prod(reader.GetSize(), dtype=object)) * components
    data = header.data if header else path
    with suppress(OSError, ValueError):  # that the data are missing is told when they are read
        stored = data.stat().st_size
        size = BYTES.get(reader.GetPixelIDValue() if components == 1 else -1, 1)
        require_stored(path, values * size, stored, compressed=header.compressed if header else True)
    check_grid(path, grid_of(reader))
    return reader


def read_itk_voxels(path: Path, reader: Any, pixel: int | None = None) -> Any:
    """Reads the voxels after `read_information`.

    Args:
        path: The file, for messages.
        reader: What `read_information` gave.
        pixel: The SimpleITK type to convert to; that of the file if left out.

    Raises:
        UserError: They are damaged or incomplete.
    """
    try:
        if pixel is not None:
            reader.SetOutputPixelType(pixel)
        with silent():
            return reader.Execute()
    except RuntimeError as error:
        raise UserError(
            f"{path}: could not be read ({last_line(error)}); is the file whole, is it an image?"
        ) from error


def check_grid(path: object, grid: Grid) -> None:
    """Checks that a grid from a header is one.

    Raises:
        UserError: A spacing is not a positive length, a position is none, or the axes do not span the space.
    """
    spacing, origin, axes = np.array(grid.spacing), np.array(grid.origin), grid.axes
    if not ((spacing >= SPACING_LIMITS[0]) & (spacing <= SPACING_LIMITS[1])).all():
        raise UserError(f"{path}: its header says a spacing of {grid.spacing} mm; correct it")
    if not (np.abs(origin) <= nifti.FURTHEST_MM).all():
        raise UserError(f"{path}: its header says an origin of {grid.origin} mm; correct it")
    if not (np.abs(axes) <= 2).all() or not abs(np.linalg.det(axes)) > 1e-3:
        raise UserError(f"{path}: its header says axes that span no space ({grid.direction}); correct it")


@contextmanager
def silent() -> Iterator[None]:
    """Keeps what libraries in C write to stderr from the user: the one line that counts is the program's."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):  # there is no stderr
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nothing)
        os.close(kept)


def last_line(error: Exception) -> str:
    """What ITK has to say at the end of a long message."""
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
