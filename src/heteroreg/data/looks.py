"""Recognise label maps, padding outside the field of view, and time points taken for slices, by their voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.io.frames import split_frame
from heteroreg.data.io.itk import NIFTI_ENDINGS
from heteroreg.data.io.nifti import has_time_unit_alone

MOST_LABELS = 12
# Shares of voxels: padding has at least the first and at most the second.
FEWEST_PADDED, MOST_PADDED = 0.01, 0.5
LIKE_NEIGHBOUR = 0.9  # share of voxels of a label map that equal their neighbour

FEWEST_FRAMES = 10
PIXELS_COMPARED = 4096
# Correlations of frames: of neighbours, and of any frame with the first.
NEIGHBOURS_ALIKE, ALL_ALIKE = 0.95, 0.8
FAINTLY_ALIKE = 0.5
# A cycle in time: the last frame is as near to the first as neighbours are, up to the first factor, and a frame
# between them is farther from it, by the second factor. Smaller differences (1 - correlation) do not count.
CLOSES, OPENS, LEAST_DIFFERENCE = 3.0, 4.0, 1e-3
THIN_SLICES = 0.2  # spacing of slices, in pixels: no scanner has it, but 0.033 s has


def label_values(array: NDArray[Any]) -> str:
    """Return the values of an image that looks like a label map, as `0, 1, 2`; empty for any other.

    A label map has a few whole numbers from 0 up, in regions: most voxels equal their neighbour.
    """
    values = np.unique(array)
    if not 2 <= len(values) <= MOST_LABELS or values[0] != 0 or not np.array_equal(values, np.round(values)):
        return ""
    alike = np.mean([np.mean(np.diff(array, axis=axis) == 0) for axis in range(2)])
    return ", ".join(f"{value:g}" for value in values) if alike > LIKE_NEIGHBOUR else ""


def is_padded(array: NDArray[Any]) -> bool:
    """Return True if the smallest value fills the voxels outside a field of view, as -2000 does in CT.

    It is negative, 1 to 50 % of the voxels have it, and it is farther below all others than these are from one
    another (0.5th to 99.5th percentile). A dark background, 0 or close to the rest, does not count.
    """
    low = array.min()
    if low >= 0:
        return False
    others = array[array != low]
    share = 1 - others.size / array.size
    if not FEWEST_PADDED <= share <= MOST_PADDED:
        return False
    ends = np.percentile(others, (0.5, 99.5))
    return bool(ends[1] > ends[0] and others.min() - low > ends[1] - ends[0])


def time_points(array: NDArray[Any], grid: Grid, *, in_seconds: bool = False) -> str:
    """Return why the slices of a volume look like time points of one slice; empty if they do not.

    Frames of a cine are much alike, and over a heart beat the last one is again like the first. Slices through a
    body change more, above all if they are thick, and do not come back.

    Args:
        array: The volume [x, y, z].
        grid: Its grid.
        in_seconds: Its header has a unit of time and none of space.
    """
    if array.ndim != 3 or array.shape[2] < FEWEST_FRAMES:
        return ""
    frames = array.reshape(-1, array.shape[2]).T
    frames = frames[:, :: max(1, frames.shape[1] // PIXELS_COMPARED)].astype(np.float64)
    if (frames.std(axis=1) == 0).any():
        return ""
    with np.errstate(all="ignore"):  # of values near the ends of float32; NaN is like nothing
        alike = np.corrcoef(frames)
    neighbours, first = float(np.median(np.diag(alike, 1))), alike[0]
    step = max(1 - neighbours, LEAST_DIFFERENCE)
    if first.min() > FAINTLY_ALIKE and 1 - first[-1] <= CLOSES * step and 1 - first.min() >= OPENS * step:
        return "they come back to where they began, as over a heart beat"
    distance = grid.spacing[2]
    if not (neighbours > NEIGHBOURS_ALIKE and alike.min() > ALL_ALIKE):
        return ""
    if in_seconds:
        return "they hardly differ, and the header has a unit of time and none of space"
    if grid.thick_slices or distance < THIN_SLICES * min(grid.spacing[:2]):
        return f"they hardly differ, although they lie {distance:g} mm apart"
    return ""


def note_of_time(image: Image, path: str | Path | None = None) -> str:
    """Describe that the slices of an image look like time points, and what to do; empty if they do not.

    Args:
        image: The image.
        path: Its file, if it has one.
    """
    nifti = False
    if path is not None:
        file, frame = split_frame(Path(path))
        if frame is not None:
            return ""
        nifti = file.name.lower().endswith(NIFTI_ENDINGS) and file.is_file()
    reason = time_points(image.array, image.grid, in_seconds=nifti and has_time_unit_alone(file))
    if not reason:
        return ""
    what = "give two of them as 2D images"
    if path is not None:
        what = f"name two of them, as {path}#0, or pair them by `heteroreg import folder … --pairs first-each`"
    return f"{image.name}: its {image.grid.shape[2]} slices look like time points: {reason}; if so, {what}"
