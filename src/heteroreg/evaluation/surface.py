"""Distances between the surfaces of two masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from heteroreg.evaluation.masks import MaskLike, masks_of
from heteroreg.system.arrays import Doubles, Mask


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from each surface voxel of one mask to the surface of the other, both ways.

    All properties are NaN if a mask is empty.

    Attributes:
        a_to_b: One distance for each surface voxel of the first mask.
        b_to_a: One distance for each surface voxel of the second mask.
    """

    a_to_b: Doubles
    b_to_a: Doubles

    @property
    def defined(self) -> bool:
        """True if both masks have voxels."""
        return self.a_to_b.size > 0 and self.b_to_a.size > 0

    @property
    def hd(self) -> float:
        """Hausdorff distance: the largest of all distances, both ways."""
        return max(float(self.a_to_b.max()), float(self.b_to_a.max())) if self.defined else math.nan

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles, linear between the order statistics.

        This is the common definition. Some tools take the percentile of both sets together, which is never larger.
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


def hausdorff(
    a: MaskLike, b: MaskLike, label: int | None = None, *, spacing: Sequence[float] | None = None
) -> float:
    """Return the Hausdorff distance of two masks: the largest distance from one surface to the other, both ways.

    >>> import numpy as np
    >>> a, b = np.array([[1, 0, 0, 0]]), np.array([[0, 0, 0, 1]])
    >>> hausdorff(a, b)  # in voxels
    3.0
    >>> hausdorff(a, b, spacing=(1.0, 1.5))  # in mm
    4.5

    Args:
        a: An array, or an image as `hr.register` takes it, whose spacing then counts.
        b: The same shape.
        label: The label to compare; None compares all voxels that are not 0.
        spacing: Size of a voxel along each axis in mm, for arrays; None measures in voxels.

    Returns:
        The distance; NaN if a mask is empty.

    Raises:
        ValueError: The shapes differ.
    """
    return _distances(a, b, label, spacing).hd


def hausdorff95(
    a: MaskLike, b: MaskLike, label: int | None = None, *, spacing: Sequence[float] | None = None
) -> float:
    """Return the 95 % Hausdorff distance of two masks: the larger of the two directed 95th percentiles.

    >>> import numpy as np
    >>> a, b = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]])
    >>> hausdorff95(a, b)  # distances 0 and 1 one way, 0 the other; 0.95 between the two
    0.95

    Args:
        a: As in `hausdorff`.
        b: Likewise.
        label: Likewise.
        spacing: Likewise.

    Returns:
        The distance; NaN if a mask is empty.
    """
    return _distances(a, b, label, spacing).hd95


def average_surface_distance(
    a: MaskLike,
    b: MaskLike,
    label: int | None = None,
    *,
    spacing: Sequence[float] | None = None,
    symmetric: bool = False,
) -> float:
    """Return the mean distance from the surface voxels of the first mask to the surface of the second.

    >>> import numpy as np
    >>> a, b = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]])
    >>> average_surface_distance(a, b)  # (0 + 1) / 2
    0.5
    >>> average_surface_distance(a, b, symmetric=True)  # (0 + 1 + 0) / 3
    0.3333333333333333

    Args:
        a: As in `hausdorff`.
        b: Likewise.
        label: Likewise.
        spacing: Likewise.
        symmetric: Take the mean over the surface voxels of both masks.

    Returns:
        The distance; NaN if a mask is empty.
    """
    distances = _distances(a, b, label, spacing)
    return distances.assd if symmetric else distances.asd


def surface(mask: Mask) -> NDArray[np.bool_]:
    """Return the voxels of a mask that share a face with a voxel outside it; beyond the array is outside."""
    mask = np.asarray(mask, dtype=bool)
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1))


def surface_distances(a: Mask, b: Mask, spacing: Sequence[float] | None = None) -> SurfaceDistances:
    """Return the Euclidean distances between the surfaces of two masks, from voxel centre to voxel centre.

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


def _distances(a: MaskLike, b: MaskLike, label: int | None, spacing: Sequence[float] | None) -> SurfaceDistances:
    one, other, own = masks_of(a, b, label)
    return surface_distances(one, other, spacing if own is None else own)


def _distance_to(points: NDArray[np.bool_], spacing: Sequence[float] | None) -> Doubles:
    return np.asarray(ndimage.distance_transform_edt(~points, sampling=spacing), dtype=np.float64)
