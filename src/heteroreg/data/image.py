"""Images: voxels with their grid, read from files and written to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import DTypeLike, NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.io.colour import has_palette, luminance
from heteroreg.data.io.decoder import decode
from heteroreg.data.io.dicom import is_dicom
from heteroreg.data.io.dicom_series import read_series, read_series_grid
from heteroreg.data.io.frames import require_frame, split_frame
from heteroreg.data.io.itk import (
    NIFTI_ENDINGS,
    PNG,
    ItkHeader,
    grid_of,
    last_line,
    place,
    quiet_itk,
    read_itk_header,
    read_itk_voxels,
)
from heteroreg.data.io.nifti import check_nifti_voxels, read_nifti_voxels
from heteroreg.data.io.nifti_forms import disagreement, placed_grid
from heteroreg.data.io.pairs_of_files import check_pair_of_files
from heteroreg.data.io.spacing import with_spacing
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file
from heteroreg.system.memory import memory_errors
from heteroreg.system.paths import require_utf8

LARGEST_LABEL = 2**31 - 1
LARGEST_ROUNDING = 1e-3  # of a label: files with an intensity scaling hold 2.99997 for 3


@dataclass(frozen=True, repr=False)
class Image:
    """An array of voxels with its grid in space.

    `np.asarray(image)` is its array.

    Attributes:
        array: Values [x, y] or [x, y, z]; integers for a label map.
        grid: The grid of the voxels.
        name: Name in messages: the path, where there is one.

    Examples:
        >>> import numpy as np
        >>> import heteroreg as hr
        >>> hr.Image.from_array(np.zeros((64, 48, 10), dtype=np.float32), spacing=(1.5, 1.5, 8))
        Image(64×48×10 voxels, 1.5×1.5×8 mm, float32, 'array')
    """

    array: NDArray[Any]
    grid: Grid
    name: str = "image"

    def __post_init__(self) -> None:
        if tuple(self.array.shape) != self.grid.shape:
            raise ValueError(f"{self.name}: array of shape {self.array.shape} on a grid of shape {self.grid.shape}")

    def with_array(self, array: NDArray[Any]) -> Image:
        """Return an image of other values with the same grid and name."""
        return replace(self, array=array)

    def __repr__(self) -> str:
        return f"Image({self.grid.summary}, {self.array.dtype}, {self.name!r})"

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the array, so that NumPy and Matplotlib take an image as it is."""
        array = self.array if dtype is None else self.array.astype(dtype, copy=False)
        if copy is False and array is not self.array:
            raise ValueError(f"{self.name}: {self.array.dtype} cannot become {dtype} without a copy")
        return array.copy() if copy and array is self.array else array

    @classmethod
    def from_array(
        cls, array: NDArray[Any], spacing: float | tuple[float, ...] = 1.0, name: str = "array"
    ) -> Image:
        """Make an image of an array [x, y(, z)] and its spacing in mm."""
        return cls(np.asarray(array), Grid.of_shape(array.shape, spacing), name)

    @classmethod
    def from_sitk(cls, image: Any, name: str = "image") -> Image:
        """Convert a scalar SimpleITK image."""
        return cls(np.ascontiguousarray(sitk.GetArrayFromImage(image).T), grid_of(image), name)

    def to_sitk(self) -> Any:
        """Return the image as a SimpleITK image."""
        array = self.array.astype(np.uint8) if self.array.dtype == bool else self.array
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        return place(image, self.grid)


def read_image(path: str | Path) -> Image:
    """Read an image: NIfTI, MetaImage, NRRD, PNG, a DICOM file, or a folder with one DICOM series.

    Axes of length 1 beyond the third are dropped. Colours of PNG and DICOM are converted to luminance. `PATH#N` is
    the frame N, from 0, of a DICOM cine or clip, or along the last axis of another file.

    Args:
        path: The file or folder.

    Returns:
        The image, as float32.

    Raises:
        UserError: The file is missing, damaged or of an unknown format, declares more voxels than
            HETEROREG_MAX_VOXELS or than it can hold, is not a 2D or 3D scalar image, or has non-finite values.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "image.nii.gz"
        >>> write_image(Image.from_array(np.ones((8, 6, 4)), spacing=2.0), path)
        >>> image = read_image(path)
        >>> image.array.shape, image.grid.spacing
        ((8, 6, 4), (2.0, 2.0, 2.0))
    """
    image = _read(Path(path))
    _require_2d_or_3d(path, image.array.shape)
    image = upright(image)
    array = image.array
    with np.errstate(over="ignore"):  # overflow becomes infinite and is reported below
        array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise UserError(f"{path}: {bad} voxels are NaN or infinite; replace them (for example by 0) and try again")
    return image.with_array(array)


def read_grid(path: str | Path) -> Grid:
    """Read the grid of an image without its voxels, as `read_image` gives it.

    Damaged voxels are not noticed.

    Args:
        path: As for `read_image`.

    Raises:
        UserError: The file is missing, of an unknown format, or not a 2D or 3D scalar image.
    """
    file, frame = _split(Path(path))
    grid = read_series_grid(file, frame) if is_dicom(file) else _frame_grid(file, _read_header(file).grid, frame)
    grid = _first_axes(grid, _dims(grid.shape))
    _require_2d_or_3d(path, grid.shape)
    return grid.moved_axes(slice_axes(grid.shape))


def read_labels(path: str | Path) -> Image:
    """Read a label map as int32.

    A fourth axis of zeros and ones is read as one mask for each label: mask k becomes label k + 1, and smaller
    masks overwrite larger ones, since a zone lies within its organ.

    Raises:
        UserError: As for `read_image`; the values are not integers from 0 up; a fourth axis holds the frames of a
            series.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.nii.gz"
        >>> write_image(Image.from_array(np.eye(8, dtype=np.uint8), spacing=2.0), path)
        >>> int(read_labels(path).array.max())
        1
    """
    image = _read(Path(path), labels=True)
    if image.array.ndim == 4:
        image = _merged(image)
    image = upright(image)
    return image.with_array(whole_labels(image.array, path))


def whole_labels(array: NDArray[Any], name: object) -> NDArray[np.int32]:
    """Return the values of a label map as int32, rounding errors (up to 0.001) removed.

    Args:
        array: The values.
        name: The file or image, for messages.

    Raises:
        UserError: A value is not a whole number from 0 to 2³¹ - 1.
    """
    rounded = np.round(array)
    if not np.isfinite(array).all() or not (np.abs(array - rounded) <= LARGEST_ROUNDING).all():
        raise UserError(f"{name}: a label map must hold whole numbers; is this an image?")
    low, high = float(rounded.min()), float(rounded.max())  # float32 has no 2³¹ - 1
    if low < 0 or high > LARGEST_LABEL:
        raise UserError(
            f"{name}: holds the label {low if low < 0 else high:g}; labels must be between 0, the background, and "
            f"{LARGEST_LABEL}"
        )
    return np.ascontiguousarray(rounded, dtype=np.int32)


def count_frames(path: str | Path) -> int:
    """Return the length of the fourth axis of a file that is named without a frame; 1 for any other."""
    file, frame = _split(Path(path))
    if frame is not None or is_dicom(file):
        return 1
    shape = shape_of(file)
    return shape[3] if len(shape) == 4 else 1


def shape_of(path: Path) -> tuple[int, ...]:
    """Return the voxels along each axis of a file that is not DICOM, by its header.

    Raises:
        UserError: As for `read_grid`.
    """
    return read_itk_header(path).grid.shape


def _merged(image: Image) -> Image:
    """Return masks along the fourth axis as one label map.

    Raises:
        UserError: They are not masks of different labels but frames of a series.
    """
    array, name = image.array, image.name
    masks = np.moveaxis(array, -1, 0) > 0.5
    merged = np.zeros(masks.shape[1:], dtype=np.int32)
    for channel in sorted(range(len(masks)), key=lambda k: -int(masks[k].sum())):
        merged[masks[channel]] = channel + 1
    lost = {k + 1 for k, mask in enumerate(masks) if mask.any()} - set(np.unique(merged).tolist())
    if lost or not np.isin(array, (0, 1)).all():
        reason = "masks that cover one another" if np.isin(array, (0, 1)).all() else "values other than 0 and 1"
        raise UserError(
            f"{name}: has 4 axes and {reason}, so that they are not one mask for each label; name one frame, "
            f"{name}#0, or put the labels into one map"
        )
    return Image(merged, _first_axes(image.grid, 3), name)


def write_image(image: Image, path: str | Path) -> None:
    """Write an image atomically; the ending of the path selects the format.

    Args:
        image: The image.
        path: The file; its folder is created.

    Raises:
        UserError: The file could not be written, or the ending is unknown.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "results" / "mask.nrrd"
        >>> write_image(Image.from_array(np.eye(8, dtype=np.uint8)), path)
        >>> path.exists()
        True
    """
    write_sitk(image.to_sitk(), Path(path))


def write_sitk(image: Any, path: Path) -> None:
    """Write a SimpleITK image atomically.

    Raises:
        UserError: It could not be written: no space, no permission, or an unknown ending.
    """
    require_utf8(path)
    with memory_errors(str(path)), atomic_file(path) as temporary:
        try:
            with quiet_itk():
                sitk.WriteImage(image, str(temporary), useCompression=True)
            if path.name.lower().endswith(NIFTI_ENDINGS):
                check_nifti_voxels(temporary)  # ITK does not report a full disk
        except (RuntimeError, UserError) as error:
            reason = "it came out incomplete" if isinstance(error, UserError) else last_line(error)
            raise UserError(
                f"{path}: could not be written ({reason}); is there space, is the ending known?"
            ) from error


def read_frames(path: str | Path) -> NDArray[Any]:
    """Read all frames of a file that is not DICOM, along the last axis.

    Raises:
        UserError: As for `read_image`.
    """
    file = Path(path)
    _is_folder(file)
    return _read_file(file).array


def _split(path: Path) -> tuple[Path, int | None]:
    """Split a path into the existing file or folder and the number of the named frame.

    Raises:
        UserError: There is no such file.
    """
    file, frame = split_frame(path)
    _is_folder(file)
    return file, frame


def _read(path: Path, *, labels: bool = False) -> Image:
    with memory_errors(str(path)):
        file, frame = _split(path)
        if is_dicom(file):
            return without_trailing_axes(Image(*read_series(file, frame), str(path)))
        image = _read_file(file, labels=labels)
        if frame is not None:
            grid = _frame_grid(file, image.grid, frame)
            image = Image(image.array[..., frame], grid, str(path))
        return without_trailing_axes(image)


def _frame_grid(file: Path, grid: Grid, frame: int | None) -> Grid:
    """Return the grid of a frame of a file whose last axis is time; without a frame, the same grid."""
    if frame is None:
        return grid
    require_frame(file, frame, grid.shape[-1] if grid.dims in (3, 4) else 1)
    grid = _first_axes(grid, grid.dims - 1)
    if not grid.orthogonal:
        raise UserError(f"{file}#{frame}: the file is a volume oblique in space; name it without a frame")
    return grid


def _read_file(path: Path, *, labels: bool = False) -> Image:
    if path.name.lower().endswith(NIFTI_ENDINGS):
        # ITK reads the grid, so that all ITK-based tools agree on it.
        array, grid = read_nifti_voxels(path), _read_header(path).grid
        if array.size != np.prod(grid.shape, dtype=object):
            raise UserError(
                f"{path}: its header declares both {array.shape} and {grid.shape} voxels; convert it again"
            )
        return Image(array.reshape(grid.shape, order="F"), grid, str(path))
    header = _read_header(path)
    if labels and _is_colour(path, header.components) and has_palette(path):
        return Image(
            np.ascontiguousarray(decode(path, [str(path)], PNG, indices=True).array.T), header.grid, str(path)
        )
    image = read_itk_voxels(path, header)
    if _is_colour(path, header.components):
        return Image(luminance(sitk.GetArrayViewFromImage(image)).T, header.grid, str(path))
    return replace(Image.from_sitk(image, str(path)), grid=header.grid)


def _read_header(path: Path) -> ItkHeader:
    check_pair_of_files(path)
    header = read_itk_header(path)
    grid = header.grid
    if path.name.lower().endswith(NIFTI_ENDINGS):
        grid = placed_grid(path, grid)
    grid = with_spacing(path, grid)
    header = replace(header, grid=grid)
    if not _is_colour(path, header.components):
        _require_scalar(path, header.components)
    return header


def _is_folder(path: Path) -> bool:
    """Return True for a folder and False for a plain file.

    Raises:
        UserError: The path is neither, or not a valid path.
    """
    try:
        if path.is_dir():
            return True
        if path.is_file():  # not a device or a pipe, which would never end
            return False
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is not a valid path ({error}); correct it") from error
    raise UserError(f"{path}: no such file; check the path")


def _is_colour(path: Path, components: int) -> bool:
    return components in (3, 4) and path.suffix.lower() == ".png"


def _require_scalar(path: Path, components: int) -> None:
    if components > 1:
        raise UserError(f"{path}: has {components} values in each voxel; name a scalar image")


def _require_2d_or_3d(path: str | Path, shape: tuple[int, ...]) -> None:
    if len(shape) not in (2, 3):
        raise UserError(
            f"{path}: has {len(shape)} axes {shape}; name a 2D or 3D image, or a frame of a series: {path}#0"
        )


def _dims(shape: tuple[int, ...]) -> int:
    """Return the number of axes without those of length 1 beyond the third."""
    dims = len(shape)
    while dims > 3 and shape[dims - 1] == 1:
        dims -= 1
    return dims


def slice_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the order of axes that puts the only axis of one voxel of a volume last; otherwise their own order."""
    axes = tuple(range(len(shape)))
    single = [axis for axis in axes if shape[axis] == 1]
    if len(shape) != 3 or len(single) != 1:
        return axes
    return (*(axis for axis in axes if axis != single[0]), single[0])


def upright(image: Image) -> Image:
    """Return a sagittal or coronal slice, (1, y, z) or (x, 1, z), with the axis of one voxel last.

    Every voxel stays in its place in space. Slices are along the last axis everywhere else.
    """
    axes = slice_axes(image.array.shape)
    if axes == tuple(range(image.array.ndim)):
        return image
    return Image(np.ascontiguousarray(image.array.transpose(axes)), image.grid.moved_axes(axes), image.name)


def note_of_place(path: str | Path) -> str:
    """Describe how a NIfTI file contradicts itself about its place in space; empty if it does not."""
    file, _ = _split(Path(path))
    if is_dicom(file) or not file.name.lower().endswith(NIFTI_ENDINGS):
        return ""
    return disagreement(file, read_itk_header(file).grid)


def without_trailing_axes(image: Image) -> Image:
    """Drop axes of length 1 beyond the third: a single frame of a series."""
    dims = _dims(image.array.shape)
    if dims == image.array.ndim:
        return image
    return Image(image.array.reshape(image.array.shape[:dims]), _first_axes(image.grid, dims), image.name)


def _first_axes(grid: Grid, dims: int) -> Grid:
    axes = grid.axes[:dims, :dims]
    return Grid(grid.shape[:dims], grid.spacing[:dims], grid.origin[:dims], tuple(axes.ravel().tolist()))
