"""Preparation of images for a network: working grid, scaling, cropping, slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, count_frames
from heteroreg.data.io.frames import split_frame
from heteroreg.data.io.reading import current
from heteroreg.data.looks import is_padded
from heteroreg.data.samples.intensity import Intensity, WorkingSpacing
from heteroreg.system.errors import UserError
from heteroreg.system.limits import max_voxels

# Percentiles that are mapped to 0 and 1.
PERCENTILES: dict[str, tuple[float, float]] = {"minmax": (0, 100), "percentile": (0.5, 99.5)}
SMALLEST_AXIS = 16  # voxels that a network needs along each axis
# With `spacing: image`, an image with more voxels along an axis is coarsened to so many.
LONGEST_WORKING = {2: 512, 3: 160}
# Spacings with a smaller relative difference are treated as equal: resampling would only blur.
SAME_SPACING = 0.02
# With so many times fewer voxels than the image has, and too few, a network sees another thing than it learned.
FAR_SPACING = 3
# Differences and sums of larger values would overflow float32.
LARGEST_RANGE = 1e30


@dataclass(frozen=True)
class Preparation:
    """The preparation of images.

    Attributes:
        dims: 2 treats every slice along the last axis of a 3D image as an image; 3 uses the volume.
        spacing: Working spacing in mm along the first `dims` axes; None keeps that of the fixed image; so
            does `image`, but a large image is coarsened to `LONGEST_WORKING` voxels.
        intensity: `minmax` maps minimum and maximum to 0 and 1, as in the paper. `percentile` maps the 0.5th and
            99.5th percentile and clips, so that a few bright voxels do not determine the scale.
        initial: How moving is brought to fixed first, see `alignment.initial_affine`; a pair's file comes first.
    """

    dims: int
    spacing: WorkingSpacing = None
    intensity: Intensity = "percentile"
    initial: str = "grid"

    def working_grid(self, fixed: Grid, name: str = "fixed image") -> Grid:
        """Return the working grid: the fixed image's field of view at the working spacing.

        Args:
            fixed: The fixed image's grid.
            name: Name of the image for messages.

        Raises:
            UserError: The grid would have too many voxels, as with a wrong spacing in the header, or fewer than a
                network needs, as with images of mice.
        """
        if self.spacing is None:
            return fixed
        spacing = self._spacing(fixed)
        close = np.allclose(spacing, fixed.spacing, rtol=SAME_SPACING, atol=0)
        if close:
            return fixed
        working = fixed.with_spacing(spacing)
        axes = zip(working.shape[: self.dims], fixed.shape, strict=False)
        if any(n < SMALLEST_AXIS and own > FAR_SPACING * n for n, own in axes):
            raise UserError(
                f"{name}: at the model's spacing of {_written(spacing)} mm only {_written(working.shape)} voxels "
                f"are left of {_written(fixed.shape)}; use a model that was trained on voxels of about "
                f"{_written(fixed.spacing)} mm, or correct the header if that is not their size"
            )
        if math.prod(working.shape) > max_voxels():
            raise UserError(
                f"{name}: at the working spacing of {tuple(spacing)} mm it would have "
                f"{' x '.join(map(str, working.shape))} voxels; is the spacing {fixed.spacing} in its header right?"
            )
        return working

    def _spacing(self, fixed: Grid) -> list[float]:
        """Return the working spacing along all axes of the fixed image."""
        assert self.spacing is not None
        if self.spacing == "image":
            coarser = max(1.0, max(fixed.shape[: self.dims]) / LONGEST_WORKING[self.dims])
            return [*(coarser * step for step in fixed.spacing[: self.dims]), *fixed.spacing[self.dims :]]
        return [*self.spacing, *fixed.spacing[self.dims :]]


def resample(image: Image, grid: Grid, *, labels: bool = False) -> Image:
    """Resample an image to another grid: linear for intensities, nearest neighbour for labels.

    Voxels outside the image get its minimum, or label 0.

    Args:
        image: The image.
        grid: The new grid; if it is that of the image, the image itself is returned.
        labels: True for a label map.
    """
    if image.grid.same_as(grid):
        return image
    method = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
    source, transform = _for_itk(image)
    result = sitk.Resample(
        source.to_sitk(),
        grid.shape,
        transform,
        method,
        grid.origin,
        grid.spacing,
        grid.direction,
        0.0 if labels else float(image.array.min()),
    )
    return Image(np.ascontiguousarray(sitk.GetArrayFromImage(result).T), grid, image.name)


def _for_itk(image: Image) -> tuple[Image, Any]:
    """Return an image with an orthogonal grid, as ITK requires, and the transform to that grid."""
    grid = image.grid
    if grid.orthogonal:
        return image, sitk.Transform(grid.dims, sitk.sitkIdentity)
    inverse = np.linalg.inv(grid.matrix)  # from mm to voxels
    transform = sitk.AffineTransform(grid.dims)
    transform.SetMatrix(inverse.ravel().tolist())
    transform.SetTranslation((-inverse @ np.asarray(grid.origin)).tolist())
    return Image(image.array, Grid.of_shape(grid.shape), image.name), transform


@dataclass(frozen=True)
class Scale:
    """The linear map of an image's intensities to [0, 1].

    Attributes:
        low: Value that is mapped to 0.
        high: Value that is mapped to 1.
    """

    low: float
    high: float

    def __call__(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Scale an array and clip it to [0, 1]."""
        with np.errstate(over="ignore"):  # beyond the scale, where it is clipped
            scaled = (np.asarray(array, dtype=np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        return np.asarray(np.clip(scaled, 0, 1), dtype=np.float32)


def scale_of(image: Image, intensity: Intensity) -> Scale:
    """Return the scale of an image's intensities.

    Values that fill the corners outside a round field of view are left out of the percentiles (`is_padded`).

    Raises:
        UserError: The image is constant, or its range is too large.
    """
    low, high = float(image.array.min()), float(image.array.max())
    if high - low > LARGEST_RANGE:
        raise UserError(f"{image.name}: has values from {low:g} to {high:g}; check its intensities")
    if intensity == "percentile" and high > low:
        shown = image.array[image.array != low] if is_padded(image.array) else image.array
        tight_low, tight_high = (float(q) for q in np.percentile(shown, PERCENTILES[intensity]))
        # In an image of almost only background, both percentiles are equal.
        low, high = (tight_low, tight_high) if tight_high > tight_low else (low, high)
    if not high > low:
        raise UserError(f"{image.name}: every voxel has the value {low:g}; use an image with contrast")
    return Scale(low, high)


def check_pair(moving: Image, fixed: Image, dims: int | None = None) -> None:
    """Check that two images can be registered.

    Raises:
        UserError: Their dimensions differ, or are lower than that of the network.
    """
    if moving.grid.dims != fixed.grid.dims:
        raise UserError(
            f"{moving.name}: has {moving.grid.dims} dimensions but {fixed.name} has {fixed.grid.dims}; "
            "moving and fixed must have the same"
        )
    if dims is not None and fixed.grid.dims < dims:
        raise UserError(f"{fixed.name}: has {fixed.grid.dims} dimensions; a {dims}D network needs {dims}")


def require_overlap(moving: Image, fixed: Image) -> None:
    """Check that moving, at the place where the registration begins, has voxels where fixed has some.

    Raises:
        UserError: They have no point in common.
    """
    if not (_reaches(moving.grid, fixed.grid) or _reaches(fixed.grid, moving.grid)):
        raise UserError(
            f"{moving.name} and {fixed.name} do not overlap in space: check their origins, or begin with "
            "`initial`, such as centre"
        )


def _reaches(grid: Grid, other: Grid) -> bool:
    """Return True if `grid` contains any of up to 17 points along each axis of `other`, edges included."""
    ends = [np.linspace(-0.5, n - 0.5, min(max(2 * n + 1, 3), 17)) for n in other.shape]
    points = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1)
    index = grid.index(other.physical(points))
    return bool(((index > -0.5) & (index < np.asarray(grid.shape) - 0.5)).all(axis=-1).any())


def check_labels(labels: Image, image: Image) -> Image:
    """Check that a label map has the grid of its image.

    An image without a place in space, such as a clip of ultrasound or a PNG, gives its grid to label maps of its
    size, which other programs save with positions of their own.

    Returns:
        The label map, on the image's grid where `reading(labels_like_image=True)` or such an image decides.

    Raises:
        UserError: It has another grid, or is the whole series of which the image is a frame.
    """
    _, frame = split_frame(Path(image.name))
    if frame is not None and Path(labels.name).is_file() and count_frames(labels.name) > 1:
        raise UserError(
            f"{labels.name}: holds several frames, and its image is {image.name}; name the frame, "
            f"{labels.name}#{frame}"
        )
    if labels.grid.same_as(image.grid, tolerance=0.05):
        return labels
    if labels.grid.shape != image.grid.shape:
        raise UserError(
            f"{labels.name}: lies on another grid ({labels.grid.shape}) than its image {image.name} "
            f"({image.grid.shape}); resample it onto the image"
        )
    if current().labels_like_image or _takes_any_place(labels.grid, image.grid):
        return replace(labels, grid=image.grid)
    raise UserError(
        f"{labels.name}: has as many voxels as its image {image.name} but {_difference(labels.grid, image.grid)} "
        "in its header; if they belong voxel to voxel, set `labels_like_image`, else resample it onto the image"
    )


def _takes_any_place(labels: Grid, image: Grid) -> bool:
    """Return True if an image has no place in space and a label map of its size does not contradict its spacing."""
    nowhere = image.dims == 2 and not any(image.origin) and np.array_equal(image.axes, np.eye(2))
    alike = np.allclose(labels.spacing, image.spacing, rtol=0.01) or set(labels.spacing) == {1.0}
    return nowhere and alike and not _same_region(labels, image)


def _same_region(grid: Grid, other: Grid) -> bool:
    """Return True if the corners of two grids of one shape are the same points, in any order."""
    ends = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij"), -1).reshape(-1, grid.dims)
    one, two = (np.sort(each.physical(ends), axis=0) for each in (grid, other))
    return bool(np.allclose(one, two, atol=0.1 * min(other.spacing)))


def _difference(grid: Grid, other: Grid) -> str:
    """Describe what differs between two grids of the same shape."""
    parts = []
    if not np.allclose(grid.spacing, other.spacing, rtol=0.01):
        parts.append(f"a spacing of {_written(grid.spacing)} instead of {_written(other.spacing)} mm")
    if not np.allclose(grid.direction, other.direction, atol=0.01):
        parts.append("other axes")
    if not parts or not np.allclose(grid.origin, other.origin, atol=min(other.spacing)):
        parts.append(f"an origin of {_written(grid.origin)} instead of {_written(other.origin)} mm")
    return ", ".join(parts)


def _written(numbers: Sequence[float]) -> str:
    return "(" + ", ".join(f"{number:.4g}" for number in numbers) + ")"


def centre_crop(grid: Grid, size: Sequence[int], centre: Sequence[float] | None = None) -> Grid:
    """Return the grid of a block of `size` voxels around a centre; outside the grid it is padding.

    Args:
        grid: The grid to crop.
        size: Voxels along the first axes; further axes are not cropped.
        centre: Index of the centre; by default the middle of the grid.
    """
    whole = [*size, *grid.shape[len(size) :]]
    middle = [(n - 1) / 2 for n in grid.shape] if centre is None else list(centre)
    start = [round(c - (s - 1) / 2) for c, s in zip(middle[: len(size)], size, strict=True)]
    return grid.crop([*start, *[0] * (grid.dims - len(size))], whole)


def cut(array: NDArray[Any], grid: Grid, block: Grid) -> NDArray[Any]:
    """Return the part of an array on `grid` inside `block` (from `centre_crop`), 0 outside the grid."""
    start = np.round(grid.index(np.asarray(block.origin))).astype(int)
    result = np.zeros(block.shape, dtype=array.dtype)
    into, out_of = [], []
    for begin, size, available in zip(start, block.shape, array.shape, strict=True):
        first, last = max(begin, 0), min(begin + size, available)
        into.append(slice(first - begin, max(last, first) - begin))
        out_of.append(slice(first, max(last, first)))
    result[tuple(into)] = array[tuple(out_of)]
    return result


def slices_of(array: NDArray[Any], dims: int) -> NDArray[Any]:
    """Return a batch (N, *shape) for a network: the image, or each slice along the last axis."""
    return array[None] if array.ndim == dims else np.moveaxis(array, -1, 0)


def joined_slices(batch: NDArray[Any], dims: int, image_dims: int) -> NDArray[Any]:
    """Return the image (*shape) of a batch (N, *shape), the inverse of `slices_of`.

    Args:
        batch: The batch.
        dims: 2 for slices, 3 for volumes.
        image_dims: Number of axes of the image.
    """
    return batch[0] if image_dims == dims else np.moveaxis(batch, 0, -1)
