"""What may stand for an image where a Python caller gives one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from heteroreg.data.image import Image, read_image, read_labels
from heteroreg.data.samples.preparation import check_labels, check_pair
from heteroreg.system.errors import UserError

ImageLike: TypeAlias = "str | Path | Image | NDArray[Any] | sitk.Image"


def as_image(value: ImageLike, spacing: float | tuple[float, ...] | None = None, *, labels: bool = False) -> Image:
    """An `Image` from a path, an `Image`, a SimpleITK image, or an array [x, y(, z)] with its spacing.

    Args:
        value: The image.
        spacing: Of an array, in mm; 1 if left out.
        labels: Whether it is a label map.

    Raises:
        UserError: A file is unfit, an array has not 2 or 3 axes or holds NaN or infinite values, a label map holds
            fractions, or the spacing does not fit.
    """
    if isinstance(value, str | Path):
        return read_labels(value) if labels else read_image(value)
    if isinstance(value, Image):
        image = value
    elif isinstance(value, sitk.Image):
        if value.GetNumberOfComponentsPerPixel() > 1:
            raise UserError(
                f"SimpleITK image: has {value.GetNumberOfComponentsPerPixel()} values in each voxel; give one"
            )
        image = Image.from_sitk(value, "SimpleITK image")
    else:
        array, steps = np.asarray(value), np.atleast_1d(1.0 if spacing is None else spacing)
        if len(steps) not in (1, array.ndim) or not (steps > 0).all():
            raise UserError(f"spacing {spacing}: give a positive number, or one for each of {array.ndim} axes")
        image = Image.from_array(array, 1.0 if spacing is None else spacing)
    if image.grid.dims not in (2, 3):
        raise UserError(f"{image.name}: has {image.grid.dims} axes; give a 2D or 3D image")
    if not np.isfinite(image.array).all():
        raise UserError(f"{image.name}: holds NaN or infinite values; replace them and try again")
    if labels and not np.array_equal(image.array, np.round(image.array)):
        raise UserError(f"{image.name}: a label map must hold whole numbers; is this an image?")
    return image.with_array(np.ascontiguousarray(image.array, dtype=np.int32 if labels else np.float32))


def as_pair(
    moving: ImageLike, fixed: ImageLike, moving_labels: ImageLike | None, spacing: Any, dims: int | None = None
) -> tuple[Image, Image, Image | None]:
    """A moving and a fixed image, and the label map of the moving one where there is one, that fit one another.

    Args:
        moving: As for `as_image`, likewise the others.
        fixed: The image to move it onto.
        moving_labels: On the moving image's grid.
        spacing: Of arrays, in mm.
        dims: Axes that the images need; see `check_pair`.

    Raises:
        UserError: One is unfit, or they do not fit one another.
    """
    images = as_image(moving, spacing), as_image(fixed, spacing)
    labels = None if moving_labels is None else as_image(moving_labels, spacing, labels=True)
    check_pair(*images, dims)
    if labels is not None:
        check_labels(labels, images[0])
    return *images, labels
