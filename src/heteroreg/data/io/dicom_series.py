"""DICOM series as images: their files, frames and grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.io.colour import luminance
from heteroreg.data.io.dicom import DicomFrame, DicomHeader, read_dicom_headers, read_dicom_voxels
from heteroreg.data.io.frames import require_frame
from heteroreg.data.io.itk import check_grid
from heteroreg.data.io.reading import current
from heteroreg.data.io.spacing import spaced
from heteroreg.system.errors import UserError
from heteroreg.system.warn import warn_user

SAME_PLACE_MM = 0.01  # slices that are closer are at the same position
# Tolerances: deviation from even spacing over the spacing; lateral shift of a stack in pixels; scalar product of
# rows and columns; 1 - cosine between planes.
UNEVEN, ASKEW, SKEW, TURNED = 0.1, 0.5, 1e-3, 1e-4


@dataclass(frozen=True)
class SourceFrame:
    """The source of a 2D image: a file or a frame of a file.

    Attributes:
        file: Path of the file.
        frame: Number of the frame; None for the whole file.
        correction: Slope and intercept to apply to its voxels.
    """

    file: str
    frame: int | None
    correction: tuple[float, float] = (1.0, 0.0)


@dataclass(frozen=True)
class DicomSeries:
    """Images on one grid that follow one another in time.

    Attributes:
        frames: For each image, its slices in order.
        grid: Grid of each image; None if only ITK can determine it.
        calibrated: True if the size of a pixel is known.
    """

    frames: tuple[tuple[SourceFrame, ...], ...]
    grid: Grid | None
    calibrated: bool = True


def read_series(path: Path, frame: int | None = None) -> tuple[NDArray[Any], Grid]:
    """Read an image from a DICOM file or a folder of one series; for a cine, only the files of the frame.

    Args:
        path: The file or folder.
        frame: The number of the frame, from 0; None for a still image.

    Returns:
        The array [x, y] for a clip or an image without a position in space, otherwise [x, y, z], and its grid.
        Colours are converted to luminance.

    Raises:
        UserError: The frame does not exist, or none is named although there are several; the folder contains no
            series or several; a slice is missing or damaged; the slices are unevenly spaced; or as for
            `read_dicom_voxels`.
    """
    series = series_of(path)
    parts = _frame(path, series, frame)
    numbers = [part.frame for part in parts if part.frame is not None]
    files = [part.file for part in (parts[:1] if numbers else parts)]
    array, grid = read_dicom_voxels(path, files, numbers or None)
    array = _rescaled(luminance(array) if array.ndim > 3 else array, parts)
    if not series.calibrated and current().spacing is None:
        as_slices = ", and its frames are taken as slices" if series.grid is None else ""
        warn_user(
            f"{path}: does not declare the size of its pixels; 1 mm is assumed, so that lengths are in pixels"
            f"{as_slices}"
        )
    if series.grid is None:
        grid = _calibrated(path, series, grid)
        check_grid(path, grid)
        return array, grid
    if array.shape[: series.grid.dims] != series.grid.shape or array.size != np.prod(series.grid.shape):
        raise UserError(f"{path}: has {array.shape} voxels but declares {series.grid.shape}; export it again")
    return array.reshape(series.grid.shape), _calibrated(path, series, series.grid)


def _calibrated(path: Path, series: DicomSeries, grid: Grid) -> Grid:
    """Return the grid with the spacing that the user gives for files without one."""
    given = current().spacing
    if series.calibrated or given is None:
        return grid
    return replace(grid, spacing=spaced(path, grid, given))


def read_series_grid(path: Path, frame: int | None = None) -> Grid:
    """Return the grid of `read_series`; the voxels are read only if the headers do not define it.

    Raises:
        UserError: As for `read_series`.
    """
    series = series_of(path)
    _frame(path, series, frame)
    return read_series(path, frame)[1] if series.grid is None else _calibrated(path, series, series.grid)


def series_of(path: Path) -> DicomSeries:
    """Read the headers of a DICOM file, or of a folder with one series, and arrange its frames.

    Raises:
        UserError: There is no series or several, or the slices are unevenly spaced.
    """
    headers = read_dicom_headers(path)
    count = len({header.series for header in headers})
    if count != 1:
        raise UserError(f"{path}: contains {count} DICOM series; name a folder with one series")
    return arrange_series(path, headers)


def arrange_series(name: object, headers: Sequence[DicomHeader]) -> DicomSeries:
    """Arrange the files of a series as images.

    A file with several frames is a clip of 2D images. If its frames have positions it is, like a folder of single
    images, a set of slices: at each position one slice for each frame.

    Args:
        name: The path that the user named, for messages.
        headers: The headers of its files.

    Raises:
        UserError: The images are not a series on one grid.
    """
    several = [header for header in headers if header.frames > 1]
    if several and len(headers) > 1:
        raise UserError(
            f"{name}: contains {len(headers)} files, {len(several)} of them with several frames; name one of them, "
            f"such as {several[0].file}"
        )
    first = headers[0]
    planes = [plane for header in headers for plane in header.planes]
    if len(headers) == 1:
        placed = any(plane.position for plane in planes)
        if first.frames == 1 and not placed:
            return _flat(first)
        if first.frames > 1 and first.moving and (len(planes) == 1 or not placed):
            return _flat(first)
        if first.frames > 1 and len(planes) == 1:  # a volume whose slices have no headers
            return DicomSeries(((SourceFrame(first.file, None),),), None, first.spacing is not None)
    return _stack(name, [slice_ for header in headers for slice_ in _slices(name, header)])


def _flat(header: DicomHeader) -> DicomSeries:
    """Return a clip, or an image without a position in space."""
    grid = Grid.of_shape(header.size, header.spacing or 1.0)
    numbers = range(header.frames) if header.frames > 1 else [None]
    return DicomSeries(
        tuple((SourceFrame(header.file, number),) for number in numbers), grid, header.spacing is not None
    )


@dataclass(frozen=True)
class _Slice:
    """A 2D image in space and time, with vectors in mm."""

    part: SourceFrame
    size: tuple[int, int]
    position: NDArray[np.float64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    spacing: tuple[float, ...]
    plane: DicomFrame


def _slices(name: object, header: DicomHeader) -> Iterator[_Slice]:
    for number, plane in enumerate(header.planes):
        spacing = plane.spacing or header.spacing
        if not (plane.position and plane.orientation and spacing):
            lacks = (
                "the size of its pixels" if plane.position and plane.orientation else "the position of its image"
            )
            raise UserError(f"{name}: {Path(header.file).name} does not declare {lacks}; export the series again")
        row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
        lengths = np.linalg.norm(row), np.linalg.norm(column)
        if not np.allclose([*lengths, row @ column], [1, 1, 0], atol=SKEW):
            raise UserError(
                f"{name}: {Path(header.file).name} has rows and columns that are not at right angles; export it "
                "again"
            )
        row = row / lengths[0]
        column = column - (column @ row) * row  # removes rounding errors
        part = SourceFrame(header.file, number if header.frames > 1 else None, _correction(header, plane))
        yield _Slice(
            part, header.size, np.array(plane.position), row, column / np.linalg.norm(column), spacing, plane
        )


def _correction(header: DicomHeader, plane: DicomFrame) -> tuple[float, float]:
    """Return the slope and intercept that correct GDCM, which scales all frames of a file like the first one."""
    first, own = header.planes[0].scale, plane.scale
    if first is None or own is None or own == first:
        return 1.0, 0.0
    slope = own[0] / first[0]
    return slope, own[1] - slope * first[1]


def _stack(name: object, slices: Sequence[_Slice]) -> DicomSeries:
    """Arrange slices as stacks: each position has one slice for each frame."""
    first = slices[0]
    normal = np.cross(first.row, first.column)
    for one in slices:
        if one.size != first.size or not np.allclose(one.spacing, first.spacing, rtol=1e-3):
            raise UserError(f"{name}: its images differ in size and are not a stack; name a folder with one stack")
        if not np.allclose([one.row @ first.row, one.column @ first.column], 1, atol=TURNED):
            raise UserError(f"{name}: its images lie in different planes and are not a stack; name one stack")
        offset = one.position - first.position
        if np.abs([offset @ first.row / first.spacing[0], offset @ first.column / first.spacing[1]]).max() > ASKEW:
            raise UserError(
                f"{name}: its slices are shifted sideways (a tilted gantry?); resample it to a plain grid"
            )
    places = _places(sorted(slices, key=lambda one: float(one.position @ normal)), normal)
    heights = np.array([float(place[0].position @ normal) for place in places])
    frames = _in_time(name, places, heights)
    if len(places) > 1:
        step = float(heights[-1] - heights[0]) / (len(places) - 1)
        gaps = np.diff(heights)
        if np.abs(heights - heights[0] - step * np.arange(len(places))).max() > UNEVEN * step:
            raise UserError(
                f"{name}: its slices are unevenly spaced, {gaps.min():.1f} to {gaps.max():.1f} mm apart; is one "
                "missing? Export the series again"
            )
    else:
        step = first.plane.thickness or 1.0
    grid = Grid(
        (*first.size, len(places)),
        (*first.spacing, step),
        tuple(places[0][0].position.tolist()),
        tuple(np.stack([first.row, first.column, normal], axis=1).ravel().tolist()),
    )
    check_grid(name, grid)
    return DicomSeries(tuple(tuple(one.part for one in frame) for frame in frames), grid)


def _places(slices: Sequence[_Slice], normal: NDArray[np.float64]) -> list[list[_Slice]]:
    """Group slices at the same position; they are sorted along their normal."""
    places = [[slices[0]]]
    for one in slices[1:]:
        if (one.position - places[-1][0].position) @ normal > SAME_PLACE_MM:
            places.append([])
        places[-1].append(one)
    return places


def _in_time(
    name: object, places: Sequence[Sequence[_Slice]], heights: NDArray[np.float64]
) -> list[tuple[_Slice, ...]]:
    """Return the slices of each frame, from the slices at each position.

    The order is that of the first number that every slice has and that differs at each position: the temporal
    position, the time since the R wave, the other dimensions of an enhanced object, the number of the image.
    """
    counts = [len(place) for place in places]
    count = max(set(counts), key=counts.count)
    odd = [k for k, found in enumerate(counts) if found != count]
    if odd:
        raise UserError(
            f"{name}: has {counts[odd[0]]} images of the slice at {heights[odd[0]]:.1f} mm but {count} of others; "
            "each slice needs one image for each frame; export the series again"
        )
    if count == 1:
        return [tuple(place[0] for place in places)]
    if len({one.plane.kind for place in places for one in place}) > 1:
        raise UserError(
            f"{name}: has several kinds of images (such as magnitude and phase, or echoes) of each slice; name a "
            "series with one kind"
        )
    for key in range(max(len(one.plane.times) for place in places for one in place) + 1):
        values = [[_moment(one.plane, key) for one in place] for place in places]
        distinct = {len(set(of_place)) for of_place in values}
        if any(value is None for of_place in values for value in of_place) or distinct == {1}:
            continue
        if distinct != {count}:
            break
        ordered = [sorted(place, key=lambda one: _moment(one.plane, key) or 0.0) for place in places]
        return list(zip(*ordered, strict=True))
    raise UserError(
        f"{name}: has several images of a slice at the same time, or their order is unknown; name a series with "
        "one image for each slice and time"
    )


def _moment(plane: DicomFrame, key: int) -> float | None:
    """Return the key-th of the numbers that may order images in time; the last is the number of the image."""
    return [*plane.times, plane.number][key] if key <= len(plane.times) else None


def _frame(path: Path, series: DicomSeries, frame: int | None) -> tuple[SourceFrame, ...]:
    require_frame(path, frame, len(series.frames))
    return series.frames[frame or 0]


def _rescaled(array: NDArray[Any], parts: Sequence[SourceFrame]) -> NDArray[Any]:
    """Correct the values of frames whose scale differs from that of the first frame of their file."""
    if all(part.correction == (1.0, 0.0) for part in parts):
        return array
    slopes, intercepts = np.array([part.correction for part in parts], dtype=np.float64).T
    return np.asarray(array * slopes + intercepts)
