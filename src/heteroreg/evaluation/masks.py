"""Masks from arrays, label maps and images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.image import Image
from heteroreg.data.inputs import ImageLike, as_image, is_array

MaskLike = ImageLike
Booleans = NDArray[np.bool_]


def masks_of(a: MaskLike, b: MaskLike, label: int | None) -> tuple[Booleans, Booleans, tuple[float, ...] | None]:
    """Return two masks of the same shape, and the spacing of their voxels in mm if an image gives it.

    Args:
        a: An array or a tensor, or an image: an `Image`, a path, or an image of SimpleITK, ITK or nibabel.
        b: Likewise.
        label: The label inside the masks; None takes all voxels that are not 0.

    Raises:
        ValueError: The shapes differ, or the images lie on different grids.
        UserError: An image cannot be used as a label map.
    """
    given = [_image_or_array(value) for value in (a, b)]
    grids = [value.grid for value in given if isinstance(value, Image)]
    one, other = (np.asarray(value.array if isinstance(value, Image) else value) for value in given)
    if one.shape != other.shape:
        raise ValueError(f"the masks must have the same shape; got {one.shape} and {other.shape}")
    if len(grids) == 2 and not grids[0].same_as(grids[1]):
        raise ValueError("the images lie on different grids; resample one of them")
    one, other = (np.asarray(array != 0 if label is None else array == label) for array in (one, other))
    return one, other, grids[0].spacing if grids else None


def _image_or_array(value: MaskLike) -> Any:
    return value if isinstance(value, Image) or is_array(value) else as_image(value, labels=True)
