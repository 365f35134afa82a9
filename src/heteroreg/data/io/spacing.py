"""Files that do not declare the size of their voxels."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from heteroreg.data.grid import Grid
from heteroreg.data.io.headers import HEADER_BYTES, METAIMAGE_ENDINGS, NRRD_ENDINGS
from heteroreg.data.io.reading import current
from heteroreg.system.errors import UserError
from heteroreg.system.warn import warn_user

# Fields of text headers that declare it.
_DECLARED = {
    METAIMAGE_ENDINGS: re.compile(rb"^(ElementSpacing|ElementSize)\s*=", re.MULTILINE),
    NRRD_ENDINGS: re.compile(rb"^(space directions|spacings|thicknesses|axis ?maxs)\s*:", re.MULTILINE | re.I),
}


def with_spacing(path: Path, grid: Grid) -> Grid:
    """Return the grid of a file, with the spacing of `reading` if the file does not declare one.

    Warns:
        UserWarning: Neither does; once, since a folder of such files is usual.
    """
    if declares_spacing(path, grid):
        return grid
    given = current().spacing
    if given is None:
        warn_user("PNG files and headers without a voxel size are read as 1 mm, so in pixels; --spacing gives it")
        return grid
    return replace(grid, spacing=spaced(path, grid, given))


def spaced(path: Path, grid: Grid, given: tuple[float, ...]) -> tuple[float, ...]:
    """Return a spacing for each axis of a grid.

    Raises:
        UserError: There are too few numbers.
    """
    if len(given) == 1:
        return given * grid.dims
    if len(given) < min(grid.dims, 3):
        raise UserError(
            f"spacing: {given} has {len(given)} numbers, and {path} has {grid.dims} axes; give one for each",
            argument="spacing",
        )
    return (*given[: grid.dims], *grid.spacing[len(given) :])


def declares_spacing(path: Path, grid: Grid) -> bool:
    """Return True if a file that is not DICOM says how large its voxels are."""
    name = path.name.lower()
    if name.endswith(".png"):
        return any(step != 1 for step in grid.spacing)
    for endings, pattern in _DECLARED.items():
        if name.endswith(endings):
            with path.open("rb") as handle:
                return pattern.search(handle.read(HEADER_BYTES)) is not None
    if name.endswith((".nii", ".nii.gz")):
        from heteroreg.data.io.nifti import read_nifti_header

        header = read_nifti_header(path)
        sizes = [float(size) for size in header["pixdim"][1 : 1 + min(grid.dims, 3)]]
        placed = header["qform_code"] > 0 or header["sform_code"] > 0
        return bool(placed) or any(size not in (0.0, 1.0) for size in sizes)
    return True
