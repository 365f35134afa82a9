"""The moved image in the intensities of the fixed one, so that their difference is a residual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heteroreg.data.image import Image
from heteroreg.data.samples.intensity import Intensity
from heteroreg.data.samples.preparation import scale_of, slices_of
from heteroreg.registration.result import Registration
from heteroreg.system.arrays import Array, Floats

LARGEST_RATIO = 2.0  # of the ranges of two images of one intensity scale
SHARE_TOLERANCE = 1e-6  # of the share of a voxel that lies inside an image


def moved_like_fixed(registration: Registration, moving: Image, fixed: Image) -> Array:
    """Return the moved image in the intensities of the fixed one.

    Outside the moving image it has the smallest value of moving, so that nothing depends on where 0 lies.
    """
    moved = registration.moved.array
    if moving.array.min() != 0:  # 0 is what a registration fills in outside moving
        moved = _with_minimum_outside(registration, moving)
    to_fixed = intensity_map(moving, fixed)
    return moved if to_fixed is None else to_fixed(moved)


def residual_images(
    registration: Registration, moving: Image, fixed: Image, dims: int, intensity: Intensity
) -> tuple[Floats, Floats, float]:
    """Return moved and fixed (N, *shape) in units of the fixed image's range, and this range.

    Args:
        registration: Their registration.
        moving: The moving image.
        fixed: The fixed image.
        dims: 2 for slices, 3 for volumes.
        intensity: How the range is found.
    """
    scale = scale_of(fixed, intensity)
    width = scale.high - scale.low
    both = (moved_like_fixed(registration, moving, fixed), fixed.array)
    moved, onto = (
        slices_of((np.asarray(a, np.float32) - np.float32(scale.low)) / np.float32(width), dims) for a in both
    )
    return moved, onto, width


@dataclass(frozen=True)
class IntensityMap:
    """A linear map of the moving image's intensities to the fixed image's scale.

    Attributes:
        factor: Ratio of the scales.
        offset: Value that 0 is mapped to.
    """

    factor: float
    offset: float

    def __call__(self, array: Array) -> Array:
        """Map an array."""
        return np.asarray(array * np.float32(self.factor) + np.float32(self.offset))


def intensity_map(moving: Image, fixed: Image) -> IntensityMap | None:
    """Return the map that gives moving the percentiles of fixed; None for images of one scale.

    Images have one scale if their ranges of percentiles differ by less than a factor of two, and their lower ends
    by less than half a range. They are compared as they are: the percentiles of ED and ES differ by a few percent.
    """
    if min(np.ptp(moving.array), np.ptp(fixed.array)) == 0:  # a constant image has no scale
        return None
    own, other = scale_of(moving, "percentile"), scale_of(fixed, "percentile")
    width = other.high - other.low
    factor = width / (own.high - own.low)
    if 1 / LARGEST_RATIO < factor < LARGEST_RATIO and abs(own.low - other.low) < width / LARGEST_RATIO:
        return None
    return IntensityMap(factor, other.low - own.low * factor)


def _with_minimum_outside(registration: Registration, moving: Image) -> Array:
    """Return the moved image with the smallest value of moving, not 0, outside moving; the same bits inside it."""
    inside = registration.field.warp(moving.with_array(np.ones_like(moving.array))).array
    filled = registration.moved.array + (1 - inside) * np.float32(moving.array.min())
    return np.where(inside < 1 - SHARE_TOLERANCE, filled, registration.moved.array)
