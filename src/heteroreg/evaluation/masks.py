"""Masks from arrays, label maps and images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.image import Image
from heteroreg.system.arrays import Array

MaskLike = Array | Image
Booleans = NDArray[np.bool_]


def masks_of(a: MaskLike, b: MaskLike, label: int | None) -> tuple[Booleans, Booleans, tuple[float, ...] | None]:
    """Return two masks of the same shape, and the spacing of their voxels in mm if an image gives it.

    Args:
        a: An array or an `Image`.
        b: Likewise.
        label: The label inside the masks; None takes all voxels that are not 0.

    Raises:
        ValueError: The shapes differ, or the images lie on different grids.
    """
    grids = [value.grid for value in (a, b) if isinstance(value, Image)]
    one, other = (np.asarray(value.array if isinstance(value, Image) else value) for value in (a, b))
    if one.shape != other.shape:
        raise ValueError(f"the masks must have the same shape; got {one.shape} and {other.shape}")
    if len(grids) == 2 and not grids[0].same_as(grids[1]):
        raise ValueError("the images lie on different grids; resample one of them")
    one, other = (np.asarray(array != 0 if label is None else array == label) for array in (one, other))
    return one, other, grids[0].spacing if grids else None
