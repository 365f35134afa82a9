"""Conversion of what a Python caller may give as an image: paths, images of other libraries, arrays, tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK as sitk

from heteroreg.data.grid import Grid
from heteroreg.data.image import (
    Image,
    note_of_place,
    read_image,
    read_labels,
    upright,
    whole_labels,
    without_trailing_axes,
)
from heteroreg.data.looks import note_of_time
from heteroreg.data.samples.preparation import check_labels, check_pair
from heteroreg.system.arrays import Array
from heteroreg.system.errors import UserError
from heteroreg.system.warn import warn_user

# An image of ITK or nibabel, or a tensor, is known by the module of its type: none of the three needs to be
# installed or imported.
FLATTER = 3  # times more pixels than slices: a first axis so short is likely that of the slices
ImageLike: TypeAlias = "str | Path | Image | sitk.Image | Array | Any"
Spacing: TypeAlias = "float | Sequence[float]"


def as_image(value: ImageLike, spacing: Spacing | None = None, *, labels: bool = False) -> Image:
    """Convert anything that is an image to an `Image`.

    Args:
        value: A path, an `Image`, an image of SimpleITK, ITK or nibabel, or an array or tensor [x, y(, z)]. The
            axes of ITK's images are those of space, x first, whatever the order in NumPy. An array [1, x, y, z],
            or [1, x, y] with one spacing for each of the two axes, has a channel axis, which is dropped; so are
            both axes of a batch of one image, (1, 1, x, y(, z)), with one spacing for each axis of space.
        spacing: Distance in mm between the voxels of an array or tensor: a number, or one for each axis; 1 by
            default.
        labels: True if it is a label map.

    Returns:
        The image as float32, or the label map as int32.

    Raises:
        UserError: A file cannot be used; the image is not 2D or 3D, not scalar, or holds non-finite values; a label
            map holds fractions; the spacing does not fit.

    Examples:
        >>> import numpy as np
        >>> as_image(np.zeros((8, 6)), spacing=(1.5, 2))
        Image(8×6 voxels, 1.5×2 mm, float32, 'array')
    """
    if isinstance(value, str | Path):
        return read_labels(value) if labels else read_image(value)
    return _checked(_convert(value, spacing), labels=labels)


def as_pair(
    moving: ImageLike,
    fixed: ImageLike,
    moving_labels: ImageLike | None,
    spacing: Spacing | None,
    dims: int | None = None,
) -> tuple[Image, Image, Image | None]:
    """Convert a moving and a fixed image, and the label map of the moving one, and check that they fit together.

    Args:
        moving: As for `as_image`, likewise the others.
        fixed: The image to move it onto.
        moving_labels: On the moving image's grid.
        spacing: Distance in mm between the voxels of arrays and tensors.
        dims: Number of axes that the images need at least; see `check_pair`.

    Raises:
        UserError: One cannot be used, they do not fit together, or there is a spacing but no array.
    """
    given = [value for value in (moving, fixed, moving_labels) if value is not None]
    if spacing is not None and not any(is_array(value) for value in given):
        raise UserError("spacing: is for arrays and tensors; these images have their own", argument="spacing")
    images = as_image(moving, spacing), as_image(fixed, spacing)
    labels = None if moving_labels is None else as_image(moving_labels, spacing, labels=True)
    check_pair(*images, dims)
    for path in dict.fromkeys(value for value in (moving, fixed) if isinstance(value, str | Path)):
        if note := note_of_place(path):
            warn_user(note)
    for image, value in zip(images, (moving, fixed), strict=True):
        if note := note_of_time(image, value if isinstance(value, str | Path) else None):
            warn_user(note)
    if labels is not None:
        labels = check_labels(labels, images[0])
    return *images, labels


def _convert(value: Any, spacing: Spacing | None) -> Image:
    if isinstance(value, Image):
        return value
    if isinstance(value, sitk.Image):
        _require_scalar("SimpleITK image", value.GetNumberOfComponentsPerPixel())
        return Image.from_sitk(value, "SimpleITK image")
    if _comes_from("itk", value):
        return _from_itk(value)
    if _comes_from("nibabel", value):
        return _from_nibabel(value)
    return _from_array(_as_array(value), spacing)


def _checked(image: Image, *, labels: bool) -> Image:
    if image.grid.dims not in (2, 3):
        raise UserError(f"{image.name}: has {image.grid.dims} axes {image.grid.shape}; give a 2D or 3D image")
    image = upright(image)
    if image.array.dtype.kind not in "biuf":
        raise UserError(f"{image.name}: holds {image.array.dtype}; give an image of real numbers")
    if not np.isfinite(image.array).all():
        raise UserError(f"{image.name}: holds NaN or infinite values; replace them and try again")
    if labels:
        return image.with_array(whole_labels(image.array, image.name))
    return image.with_array(np.ascontiguousarray(image.array, dtype=np.float32))


def _comes_from(package: str, value: Any) -> bool:
    """Return True if the type of a value, or one that it derives from, is defined in a package."""
    return any(kind.__module__.partition(".")[0] == package for kind in type(value).__mro__)


def is_array(value: ImageLike) -> bool:
    """Return True if a value has no grid of its own: an array or a tensor."""
    known = isinstance(value, str | Path | Image | sitk.Image)
    return not known and not _comes_from("itk", value) and not _comes_from("nibabel", value)


def _require_scalar(name: str, components: int) -> None:
    if components > 1:
        raise UserError(f"{name}: has {components} values in each voxel; give one")


def _from_itk(image: Any) -> Image:
    itk = import_module("itk")  # is loaded, since the image exists
    name = "ITK image"
    if not hasattr(image, "GetBufferedRegion"):
        raise UserError(f"{name}: is a {type(image).__name__}; give an itk.Image")
    _require_scalar(name, image.GetNumberOfComponentsPerPixel())
    array = itk.array_from_image(image).T  # ITK's arrays are [z, y, x]
    # The first voxel need not have the index 0, for example of a part that was cut out.
    origin = image.TransformIndexToPhysicalPoint(image.GetBufferedRegion().GetIndex())
    direction = np.asarray(itk.array_from_matrix(image.GetDirection()), dtype=float)
    grid = Grid(array.shape, _floats(image.GetSpacing()), _floats(origin), _floats(direction.ravel()))
    return Image(array, grid, name)


def _from_nibabel(image: Any) -> Image:
    name = image.get_filename() or "nibabel image"
    array = np.asanyarray(image.dataobj)
    if array.ndim < 2:
        raise UserError(f"{name}: has {array.ndim} axes; give a 2D or 3D image")
    if image.affine is None:
        raise UserError(f"{name}: has no affine; give its array and spacing")
    grid = Grid.of_nifti_affine(array.shape, image.affine)
    if not grid.orthogonal:
        raise UserError(f"{name}: its axes are not at right angles (a sheared affine); resample it to a plain grid")
    return without_trailing_axes(Image(array, grid, name))


def _as_array(value: Any) -> Array:
    if _comes_from("torch", value):
        if _comes_from("monai", value):
            raise UserError("MetaTensor: give `tensor.as_tensor()` and `spacing`, or the path of the image")
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value  # unknown to NumPy
        return np.asarray(value.numpy())
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UserError(f"array: is not a regular array of numbers ({error}); give one of equal rows") from error
    if array.dtype == object:  # a table of numbers, such as that of pandas
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"array: holds objects that are not numbers ({error}); give real numbers") from error
    return array


def _from_array(array: Array, spacing: Spacing | None) -> Image:
    steps = np.atleast_1d(1.0 if spacing is None else spacing)
    if steps.ndim != 1 or steps.dtype.kind not in "iuf" or not (np.isfinite(steps) & (steps > 0)).all():
        raise UserError(f"spacing: {spacing} is not a positive number, or one for each axis", argument="spacing")
    dims = len(steps) if len(steps) > 1 else None
    if dims is not None and array.ndim == dims + 2 and array.shape[:2] == (1, 1):  # a batch of one image
        array = array[0, 0]
    if array.ndim in (3, 4) and array.shape[0] == 1 and dims != array.ndim:
        if dims is None and (array.ndim == 3 or array.shape[1] == 1):
            raise UserError(
                f"array: the first axis of {array.shape} may be a channel or one voxel; give array[0], or a "
                "spacing for each axis of space"
            )
        array = array[0]
    if spacing is None:
        warn_user("arrays without a `spacing` are taken as 1 mm for each voxel")
    if array.ndim == 3 and 1 < array.shape[0] <= min(array.shape[1:]) / FLATTER:
        warn_user(
            f"array: of shape {array.shape} looks like [z, y, x], SimpleITK's order; axes are [x, y, z] here: "
            "give array.T"
        )
    if len(steps) not in (1, array.ndim):
        raise UserError(
            f"spacing: {spacing} has {len(steps)} numbers for an array of shape {array.shape}; give one for each "
            "axis",
            argument="spacing",
        )
    return Image.from_array(array, tuple(steps.tolist()) if len(steps) > 1 else float(steps[0]))


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
