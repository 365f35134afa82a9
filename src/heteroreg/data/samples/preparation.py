"""From the images of a pair to arrays that a network can take, and the grid they lie on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.system.errors import UserError
from heteroreg.system.limits import max_voxels

Intensity = Literal["minmax", "percentile"]
# What becomes 0 and 1.
PERCENTILES: dict[str, tuple[float, float]] = {"minmax": (0, 100), "percentile": (0.5, 99.5)}
SMALLEST_AXIS = 16  # voxels that a network needs along each axis
# Spacings that differ by less than this share are taken as equal: resampling would only blur.
SAME_SPACING = 0.02
# Differences and sums of what is above leave the range of float32.
LARGEST_RANGE = 1e30


@dataclass(frozen=True)
class Preparation:
    """How images are prepared.

    Attributes:
        dims: 2: every slice along the last axis of a 3D image is an image of its own. 3: the volume is.
        spacing: Working spacing in mm along the first `dims` axes; None keeps that of the fixed image.
        intensity: `minmax` maps the least and greatest value to 0 and 1, as in the paper. `percentile` maps
            the 0.5th and 99.5th percentile and clips, so that a few bright voxels do not set the scale.
    """

    dims: int
    spacing: tuple[float, ...] | None = None
    intensity: Intensity = "percentile"

    def working_grid(self, fixed: Grid, name: str = "fixed image") -> Grid:
        """The grid to work on: the fixed image's field of view at the working spacing.

        Args:
            fixed: The fixed image's grid.
            name: What to call the image in messages.

        Raises:
            UserError: The grid would have more voxels than any image may have: a header with a wrong spacing.
        """
        if self.spacing is None:
            return fixed
        spacing = [*self.spacing, *fixed.spacing[self.dims :]]
        close = np.allclose(spacing, fixed.spacing, rtol=SAME_SPACING, atol=0)
        if close:
            return fixed
        working = fixed.with_spacing(spacing)
        if math.prod(working.shape) > max_voxels():
            raise UserError(
                f"{name}: at the working spacing of {tuple(spacing)} mm it would have "
                f"{' x '.join(map(str, working.shape))} voxels; is the spacing {fixed.spacing} in its header right?"
            )
        return working


def resample(image: Image, grid: Grid, *, labels: bool = False) -> Image:
    """An image on another grid, linear for intensities and nearest neighbour for labels.

    Outside the image is its least value, or label 0.

    Args:
        image: The image.
        grid: The grid to bring it to; the image itself is returned if it lies there already.
        labels: Whether it is a label map.
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
    """An image that ITK can take, and the transform from where the image lies to where that one does."""
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
        low: What becomes 0.
        high: What becomes 1.
    """

    low: float
    high: float

    def __call__(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Scaled and clipped to [0, 1]."""
        scaled = (np.asarray(array, dtype=np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        return np.asarray(np.clip(scaled, 0, 1), dtype=np.float32)


def scale_of(image: Image, intensity: Intensity) -> Scale:
    """How an image's intensities are scaled.

    Raises:
        UserError: The image is constant, or its range is none.
    """
    low, high = float(image.array.min()), float(image.array.max())
    if high - low > LARGEST_RANGE:
        raise UserError(f"{image.name}: holds values from {low:g} to {high:g}; no image has such a range")
    if intensity == "percentile" and high > low:
        tight_low, tight_high = (float(q) for q in np.percentile(image.array, PERCENTILES[intensity]))
        # An image that is nearly all background has no percentiles worth the name.
        low, high = (tight_low, tight_high) if tight_high > tight_low else (low, high)
    if not high > low:
        raise UserError(f"{image.name}: every voxel has the value {low:g}; an image must show something")
    return Scale(low, high)


def check_pair(moving: Image, fixed: Image, dims: int | None = None) -> None:
    """Checks that two images can be registered.

    Raises:
        UserError: They differ in dimension, or have fewer axes than the network.
    """
    if moving.grid.dims != fixed.grid.dims:
        raise UserError(
            f"{moving.name}: has {moving.grid.dims} dimensions but {fixed.name} has {fixed.grid.dims}; "
            "moving and fixed must have the same"
        )
    if dims is not None and fixed.grid.dims < dims:
        raise UserError(f"{fixed.name}: has {fixed.grid.dims} dimensions; a {dims}D network needs {dims}")


def check_labels(labels: Image, image: Image) -> None:
    """Checks that a label map lies on its image's grid.

    Raises:
        UserError: It does not.
    """
    if not labels.grid.same_as(image.grid, tolerance=0.05):
        raise UserError(
            f"{labels.name}: lies on another grid ({labels.grid.shape}) than its image {image.name} "
            f"({image.grid.shape}); resample it onto the image"
        )


def centre_crop(grid: Grid, size: Sequence[int], centre: Sequence[float] | None = None) -> Grid:
    """The block of `size` voxels about a centre, along the first axes; beyond the grid it is padding.

    Args:
        grid: The grid to cut from.
        size: Voxels along the first axes; further axes stay whole.
        centre: The index to centre on; the middle of the grid if left out.
    """
    whole = [*size, *grid.shape[len(size) :]]
    middle = [(n - 1) / 2 for n in grid.shape] if centre is None else list(centre)
    start = [round(c - (s - 1) / 2) for c, s in zip(middle[: len(size)], size, strict=True)]
    return grid.crop([*start, *[0] * (grid.dims - len(size))], whole)


def cut(array: NDArray[Any], grid: Grid, block: Grid) -> NDArray[Any]:
    """The part of an array on `grid` that lies in `block` (made by `centre_crop`), 0 outside."""
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
    """A batch (N, *shape) of what a network takes: the image, or each slice along the last axis."""
    return array[None] if array.ndim == dims else np.moveaxis(array, -1, 0)
