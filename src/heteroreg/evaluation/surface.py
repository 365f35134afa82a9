"""Distances between the surfaces of two masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from heteroreg.system.arrays import Doubles, Mask


@dataclass(frozen=True)
class SurfaceDistances:
    """For each surface voxel of one mask, how far the other surface is, both ways round.

    Every figure is NaN where a mask is empty: there is no distance to nothing.

    Attributes:
        a_to_b: One distance for each surface voxel of the first mask.
        b_to_a: One distance for each surface voxel of the second.
    """

    a_to_b: Doubles
    b_to_a: Doubles

    @property
    def defined(self) -> bool:
        """Whether both masks have voxels."""
        return self.a_to_b.size > 0 and self.b_to_a.size > 0

    @property
    def hd(self) -> float:
        """Hausdorff distance: the largest of all distances, both ways."""
        return max(float(self.a_to_b.max()), float(self.b_to_a.max())) if self.defined else math.nan

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles, linear between the order statistics.

        The common definition; the percentile of both sets poured together, which some tools use, is at most
        this.
        """
        if not self.defined:
            return math.nan
        return max(float(np.percentile(self.a_to_b, 95)), float(np.percentile(self.b_to_a, 95)))

    @property
    def asd(self) -> float:
        """Average distance one way, from the surface of the first mask to that of the second."""
        return float(self.a_to_b.mean()) if self.defined else math.nan

    @property
    def assd(self) -> float:
        """Average symmetric distance: the mean over the surface voxels of both masks."""
        return float(np.concatenate([self.a_to_b, self.b_to_a]).mean()) if self.defined else math.nan


def surface(mask: Mask) -> NDArray[np.bool_]:
    """The voxels of a mask that share a face with a voxel outside it; beyond the array is outside."""
    mask = np.asarray(mask, dtype=bool)
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1))


def surface_distances(a: Mask, b: Mask, spacing: Sequence[float] | None = None) -> SurfaceDistances:
    """The distances between the surfaces of two masks, between voxel centres, exact (Euclidean).

    Args:
        a: The first mask (moved labels), any shape; non-zero is inside.
        b: The second (fixed labels), the same shape.
        spacing: Size of a voxel along each axis, in mm; None takes 1, and distances are in voxels.

    Returns:
        The distances both ways, in the unit of the spacing; empty both ways if a mask is empty.
    """
    if a.shape != b.shape:
        raise ValueError(f"the masks must have the same shape; got {a.shape} and {b.shape}")
    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if not a.any() or not b.any():
        return SurfaceDistances(np.empty(0), np.empty(0))
    # Both surfaces lie in the box around both masks, so nothing outside it can change a distance.
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    surface_a, surface_b = surface(a[box]), surface(b[box])
    return SurfaceDistances(
        _distance_to(surface_b, spacing)[surface_a],
        _distance_to(surface_a, spacing)[surface_b],
    )


def _distance_to(points: NDArray[np.bool_], spacing: Sequence[float] | None) -> Doubles:
    return np.asarray(ndimage.distance_transform_edt(~points, sampling=spacing), dtype=np.float64)
