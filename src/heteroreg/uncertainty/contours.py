"""Contours of warped labels: their distance to the true contour, and what an error there does to the size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heteroreg.system.arrays import Array, Doubles, Floats
from heteroreg.system.memory import load_ndimage

# Faces that the size's variance is computed from at most: it takes all pairs of them.
FACES = 1500


@dataclass(frozen=True)
class Contour:
    """The faces between the voxels inside a label and those outside, in N slices or one volume.

    Attributes:
        inside: Flat index of the voxel inside (M,), in an array (N, *shape).
        outside: Flat index of the voxel outside.
        axis: The axis that the face is normal to, 0 for the first of *shape.
        sign: 1 if the outside lies at the larger index, else -1.
        error: Distance in mm from the face to the true contour, positive outside it; NaN where the slice or
            volume has no true contour.
    """

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]
    axis: NDArray[np.int64]
    sign: NDArray[np.int64]
    error: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.inside)

    def mean(self, values: Array) -> Floats:
        """Return the means of a map (N, *shape) over both voxels of each face."""
        flat = np.ravel(values)
        return np.asarray((flat[self.inside].astype(np.float32) + flat[self.outside]) / 2)


def contour_of(moved: NDArray[np.bool_], fixed: NDArray[np.bool_] | None, spacing: Sequence[float]) -> Contour:
    """Return the contour of a moved label, with its distance to that of the fixed label.

    Args:
        moved: Mask of the moved label (N, *shape): slices, or one volume.
        fixed: Mask of the true label, the same shape; None where it is unknown.
        spacing: Size of a voxel in mm along *shape.
    """
    columns: list[list[Array]] = [[], [], [], [], []]
    # Of an array in C order, whatever the layout of this one.
    strides = np.append(np.cumprod(moved.shape[:0:-1])[::-1], 1)
    for index, mask in enumerate(moved):
        true = None if fixed is None else fixed[index]
        distance = signed_distance(true, spacing) if true is not None and true.any() and mask.any() else None
        for axis in range(mask.ndim):
            low, high = _pairs(mask.ndim, axis)
            places = np.argwhere(mask[low] != mask[high])
            if not len(places):
                continue
            first = places @ strides[1:] + index * strides[0]
            second = first + strides[axis + 1]
            outward = np.where(mask[low][tuple(places.T)], 1, -1)
            error = np.full(len(places), np.nan)
            if distance is not None:
                error = (distance[low][tuple(places.T)] + distance[high][tuple(places.T)]) / 2
            found = (
                np.where(outward > 0, first, second), np.where(outward > 0, second, first),
                np.full(len(places), axis), outward, error.astype(np.float32),
            )  # fmt: skip
            for column, values in zip(columns, found, strict=True):
                column.append(values)
    empty = np.empty(0, dtype=np.int64)
    inside, outside, axes, signs, errors = (np.concatenate(column) if column else empty for column in columns)
    return Contour(inside, outside, axes, signs, errors.astype(np.float32))


def signed_distance(mask: NDArray[np.bool_], spacing: Sequence[float]) -> Doubles:
    """Return the distance in mm of each voxel's centre to the faces of a mask, negative inside.

    It is half a voxel beside a straight face, and grows by the distance of the centres.
    """
    ndimage = load_ndimage()
    half = min(spacing) / 2
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    return np.asarray(np.where(mask, half - inside, outside - half))


def size_sd(
    contour: Contour, sd: Floats, shape: Sequence[int], spacing: Sequence[float], lengths: Sequence[float]
) -> float:
    """Return the standard deviation of a label's size, for a random error of the displacement.

    An error e shifts each face by e·n, and the size by Σ e·n·A. With the errors of two places at the distance
    (r₁, …, r_d) correlated by Π exp(-r_k²/2L_k²), and the components of e independent, the variance is
    Σ_ij (n_i·n_j)·σ_i·σ_j·ρ_ij·A_i·A_j: a shift of the whole label leaves its size as it is, a widening does not.

    Args:
        contour: The contour of the moved label.
        sd: σ̂_e in mm at each face (M,).
        shape: (N, *shape) of the mask.
        spacing: Size of a voxel in mm along *shape, and at the end the distance of slices if there are any.
        lengths: L in mm along *shape, and at the end across slices.

    Returns:
        In mm² for a 2D image, otherwise in mm³.
    """
    dims = len(shape) - 1
    places = np.stack(np.unravel_index(contour.inside, tuple(shape)), axis=1).astype(np.float64)
    steps = np.array([*spacing[:dims]])
    position = places[:, 1:] * steps
    slices = len(spacing) > dims
    if slices:
        position = np.concatenate([position, places[:, :1] * spacing[dims]], axis=1)
    widths = np.maximum(np.array([*lengths[:dims], *(lengths[dims:] if slices else [])], dtype=np.float64), 1e-3)
    thickness = spacing[dims] if slices else 1.0
    variance = 0.0
    for axis in range(dims):
        chosen = np.flatnonzero(contour.axis == axis)
        if not len(chosen):
            continue
        share = max(1, -(-len(chosen) // FACES))
        part = chosen[::share]
        factor = len(chosen) / len(part)
        area = np.prod(np.delete(steps, axis)) * thickness * factor
        amount = contour.sign[part] * sd[part] * area
        scaled = position[part] / widths
        squares = (scaled**2).sum(axis=1)
        squared = squares[:, None] + squares[None] - 2 * scaled @ scaled.T
        variance += float(amount @ np.exp(-0.5 * np.maximum(squared, 0)) @ amount)
    return float(np.sqrt(max(variance, 0.0)))


def _pairs(dims: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low, high = [slice(None)] * dims, [slice(None)] * dims
    low[axis], high[axis] = slice(0, -1), slice(1, None)
    return tuple(low), tuple(high)
