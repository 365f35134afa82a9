"""Image files read by ITK: the header first, then the voxels if the file can hold what its header declares."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from heteroreg.data.grid import Grid
from heteroreg.data.io.decoder import decode
from heteroreg.data.io.headers import TextHeader, check_metaimage_data, check_text_header
from heteroreg.data.io.nifti import FURTHEST_MM, SHORTEST_MM, check_nifti_header
from heteroreg.data.io.nifti_forms import plane_grid
from heteroreg.system.errors import UserError
from heteroreg.system.limits import require_size, require_stored
from heteroreg.system.paths import require_utf8

NIFTI_ENDINGS = (".nii", ".nii.gz")
SHEARED = "ITK only supports orthonormal direction cosines"
# The ending alone chooses the reader. Otherwise ITK would try all its twenty readers on every file.
METAIMAGE, PNG = "MetaImageIO", "PNGImageIO"
READERS = {
    ".nii": "NiftiImageIO", ".nii.gz": "NiftiImageIO", ".mha": METAIMAGE, ".mhd": METAIMAGE,
    ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".png": PNG,
}  # fmt: skip
FLATTEST_AXES = 1e-3  # of the directions of the axes
SPACING_LIMITS_MM = (SHORTEST_MM, 1e6)  # from a nanometre to a kilometre

_warning_lock = threading.Lock()
_quiet = 0  # threads that are reading now
_warned = True  # the user's own setting, restored after the last of them


def grid_of(image: Any) -> Grid:
    """Return the grid of a SimpleITK image, or of a reader that has read an image's header."""
    return Grid(
        tuple(image.GetSize()),
        tuple(image.GetSpacing()),
        tuple(image.GetOrigin()),
        tuple(image.GetDirection()),
    )


@dataclass(frozen=True)
class ItkHeader:
    """The header of an image file.

    Attributes:
        grid: The grid; it may have any number of axes.
        components: Values in each voxel.
        bytes: Size of all voxels.
        reader: ITK's name of the reader that the ending chooses; empty for an unknown ending.
        text: The text header of a MetaImage or NRRD file.
    """

    grid: Grid
    components: int
    bytes: int
    reader: str
    text: TextHeader | None


def read_itk_header(path: Path) -> ItkHeader:
    """Read a header.

    Raises:
        UserError: No reader takes the file, it is damaged, it declares more voxels than `limits.max_voxels` or than
            it can hold, or its grid is invalid.
    """
    text = check_text_header(path)
    if path.name.lower().endswith(NIFTI_ENDINGS):
        check_nifti_header(path)
    name = next((kind for ending, kind in READERS.items() if path.name.lower().endswith(ending)), "")
    if name == PNG:
        found = decode(path, [str(path)], PNG, header_only=True)
        grid, components, size = found.grid, found.components, 1
    else:
        reader = _reader(path, name)
        with quiet_itk(), _errors_of(path):
            reader.ReadImageInformation()
        grid, components = grid_of(reader), reader.GetNumberOfComponents()
        size = _bytes_per_value(reader.GetPixelIDValue())
    if name == "NiftiImageIO" and grid.dims == 2 and not abs(np.linalg.det(grid.axes)) > FLATTEST_AXES:
        grid = plane_grid(path, grid.shape) or grid
    require_size(path, grid.shape)
    values = int(np.prod(grid.shape, dtype=object)) * components
    with suppress(OSError, ValueError):  # a missing data file is reported when its voxels are read
        stored = (text.data if text else path).stat().st_size
        needed = values * (size if components == 1 else 1)
        require_stored(path, needed, stored, compressed=text.compressed if text else True)
    check_grid(path, grid)
    return ItkHeader(grid, components, values * size, name, text)


def read_itk_voxels(path: Path, header: ItkHeader, pixel: int | None = None) -> Any:
    """Read the voxels after `read_itk_header`, as a SimpleITK image.

    Args:
        path: The file.
        header: The result of `read_itk_header`.
        pixel: The SimpleITK type to convert to; by default that of the file.

    Raises:
        UserError: The voxels are damaged or incomplete.
    """
    if header.reader == PNG:
        found = decode(path, [str(path)], PNG)
        return place(sitk.GetImageFromArray(found.array, isVector=found.components > 1), found.grid)
    if header.reader == METAIMAGE and header.text is not None:
        check_metaimage_data(path, header.text, header.bytes)
    reader = _reader(path, header.reader)
    if pixel is not None:
        reader.SetOutputPixelType(pixel)
    with quiet_itk(), _errors_of(path):
        return reader.Execute()


def place(image: Any, grid: Grid) -> Any:
    """Give a SimpleITK image the spacing, origin and direction of a grid, and return it."""
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


def check_grid(path: object, grid: Grid) -> None:
    """Check the grid that a header declares.

    Raises:
        UserError: A spacing is not a positive length, the origin is not a position, or the axes are linearly
            dependent.
    """
    spacing, origin, axes = np.array(grid.spacing), np.array(grid.origin), grid.axes
    if not ((spacing >= SPACING_LIMITS_MM[0]) & (spacing <= SPACING_LIMITS_MM[1])).all():
        raise UserError(f"{path}: its header declares a spacing of {grid.spacing} mm; correct it")
    if not (np.abs(origin) <= FURTHEST_MM).all():
        raise UserError(f"{path}: its header declares an origin of {grid.origin} mm; correct it")
    if not (np.abs(axes) <= 2).all() or not abs(np.linalg.det(axes)) > FLATTEST_AXES:
        raise UserError(f"{path}: its header declares linearly dependent axes ({grid.direction}); correct it")


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Switch ITK's warnings off for the block; the error line says what matters.

    ITK warns about harmless headers ("unexpected scales in sform" on every ACDC file). Its switch belongs to the
    whole process: the first thread that reads turns it off, the last one restores it.
    """
    global _quiet, _warned
    with _warning_lock:
        if _quiet == 0:
            _warned = sitk.ProcessObject.GetGlobalWarningDisplay()
            sitk.ProcessObject.SetGlobalWarningDisplay(False)
        _quiet += 1
    try:
        yield
    finally:
        with _warning_lock:
            _quiet -= 1
            if _quiet == 0:
                sitk.ProcessObject.SetGlobalWarningDisplay(_warned)


def _after_fork() -> None:
    """Give a forked child a lock that nobody holds, and count no thread that reads: it has none of them."""
    global _warning_lock, _quiet
    if _quiet:
        sitk.ProcessObject.SetGlobalWarningDisplay(_warned)
    _warning_lock, _quiet = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def last_line(error: Exception) -> str:
    """Return the last line of ITK's long message, which says what is wrong."""
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__


def _reader(path: Path, name: str) -> Any:
    require_utf8(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    if name:
        reader.SetImageIO(name)
    return reader


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn ITK's errors into one line about the file."""
    try:
        yield
    except RuntimeError as error:
        if SHEARED in str(error):
            raise UserError(
                f"{path}: its axes are not at right angles (a sheared sform); resample it to a plain grid"
            ) from error
        raise UserError(
            f"{path}: could not be read ({last_line(error)}); is the file whole, is it an image?"
        ) from error


def _bytes_per_value(pixel: int) -> int:
    """Return the size of a value of a scalar SimpleITK pixel type; 1 for an unknown type."""
    return sitk.Image([1, 1], pixel).GetSizeOfPixelComponent() if pixel != sitk.sitkUnknown else 1
