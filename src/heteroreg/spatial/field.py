"""A displacement together with the grid that it lies on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_grid
from heteroreg.data.inputs import ImageLike, Spacing, as_image, is_array
from heteroreg.data.io.displacement import displacement_to_itk, to_millimetres
from heteroreg.data.io.transforms import read_transform, write_transform
from heteroreg.spatial.fields import invert
from heteroreg.spatial.grids import affine
from heteroreg.spatial.warp import Outside, identity, sample, sample_labels
from heteroreg.system.arrays import Doubles, Floats
from heteroreg.system.errors import UserError
from heteroreg.system.slabs import by_slabs

# Half steps of the inversion converge where the field stretches space to as much as four times its length.
INVERSION_DAMPING = 0.5
# The search for a point ends at a change below POINT_TOLERANCE voxels, and has failed above POINT_ACCEPTED.
POINT_ITERATIONS, POINT_TOLERANCE, POINT_ACCEPTED = 200, 1e-6, 1e-3


@dataclass(frozen=True, eq=False, repr=False)
class Field:
    """A displacement field on a grid: the map φ(x) = x + u(x) from points of fixed to points of moving.

    It behaves as a displacement field of ITK does: linear between the voxels, no displacement outside the grid.

    Attributes:
        vectors: u (d, *shape) in voxels of the grid, channel i along array axis i.
        grid: The grid, that of the fixed image.

    Raises:
        UserError: The vectors do not fit the grid.

    Examples:
        >>> import numpy as np
        >>> import heteroreg as hr
        >>> shift = np.zeros((2, 4, 3))
        >>> shift[0] = 1.0
        >>> field = hr.Field(shift, hr.Grid.of_shape((4, 3), spacing=2.0))
        >>> field
        Field(4×3 voxels, 2×2 mm, displacement up to 2 mm)
        >>> field.warp(np.arange(12.0).reshape(4, 3), spacing=2.0).array[:, 0]
        array([3., 6., 9., 0.], dtype=float32)
        >>> field.warp_points([[4.0, 2.0]]).round(3)
        array([[2., 2.]])
    """

    vectors: Floats
    grid: Grid

    def __post_init__(self) -> None:
        if self.vectors.shape != (self.grid.dims, *self.grid.shape):
            raise UserError(
                f"vectors: have the shape {self.vectors.shape}, and the grid needs "
                f"{(self.grid.dims, *self.grid.shape)}",
                argument="vectors",
            )

    def __repr__(self) -> str:
        longest = float(self.lengths_mm.max(initial=0))
        return f"Field({self.grid.summary}, displacement up to {longest:.3g} mm)"

    @property
    def lengths_mm(self) -> Doubles:
        """The lengths (*shape) of the displacement in mm."""

        def lengths(layers: slice) -> Any:
            return np.linalg.norm(to_millimetres(self.vectors[..., layers], self.grid), axis=0)

        return by_slabs(self.grid.shape, lengths)

    @property
    def mm(self) -> Floats:
        """The displacement (d, *shape) in mm along the axes of space (LPS)."""
        return to_millimetres(self.vectors, self.grid)

    @classmethod
    def read(cls, path: str | Path, *, like: Grid | ImageLike | None = None) -> Field:
        """Read a transform of any kind as a field; see `read_transform`.

        Args:
            path: A displacement field as `register` writes it, an ITK transform, or a field of Learn2Reg.
            like: The fixed image or its grid, needed where the file does not say on which grid it lies.

        Raises:
            UserError: The file is missing, damaged or no transform, needs `like`, or does not fit it.
        """
        return cls(*read_transform(path, None if like is None else _grid_of(like)))

    def write(self, path: str | Path) -> None:
        """Write the field; the name of the file chooses the format, see `write_transform`.

        Raises:
            UserError: The file cannot be written.
        """
        write_transform(self.vectors, self.grid, path)

    def to_itk(self) -> Any:
        """Return the field as a SimpleITK DisplacementFieldTransform, in mm (LPS)."""
        return sitk.DisplacementFieldTransform(displacement_to_itk(self.vectors, self.grid, np.float64))

    def warp(
        self,
        image: ImageLike,
        *,
        like: Grid | ImageLike | None = None,
        labels: bool = False,
        spacing: Spacing | None = None,
        outside: float | str = 0.0,
    ) -> Image:
        """Warp an image: result(x) = image(x + u(x)), positions in mm.

        As in ITK, intensities are interpolated linearly and are `outside` beyond the image. Label maps are warped
        label by label (`spatial.warp_labels`).

        Args:
            image: The image or label map, on any grid.
            like: Grid of the result, or an image on it; that of the field by default.
            labels: True if `image` is a label map.
            spacing: Distance in mm between the voxels of an array.
            outside: The value beyond the image, or `minimum` for its smallest one. Label maps have 0 there.

        Returns:
            The warped image; float32, or of the label map's type.

        Raises:
            UserError: The image or `outside` cannot be used, or image, field and `like` differ in dimension.
        """
        source = image if isinstance(image, Image) else as_image(image, spacing, labels=labels)
        onto = self.grid if like is None else _grid_of(like)
        self._require_same_dims(source, onto)
        field = self.resample(onto, outside="zeros")._tensor(np.float32)
        dtype = source.array.dtype if labels else np.float32
        beyond = _fill_value(source, outside)
        fill = 0.0 if labels else beyond
        voxels = torch.from_numpy(source.array.astype(np.int64 if labels else np.float32))[None, None]
        if fill:
            voxels = voxels - fill

        def warped(layers: slice) -> Any:
            moved = identity(onto.shape, field, layers) + field[..., layers]
            positions = affine(moved, *onto.index_map(source.grid))
            values = sample_labels(voxels, positions) if labels else sample(voxels, positions, outside="zeros")
            return (values + fill if fill else values)[0, 0].numpy().astype(dtype)

        return Image(by_slabs(onto.shape, warped), onto, source.name)

    def warp_points(self, points: Any) -> Doubles:
        """Move points with the image that they were set in: return y with y + u(y) = p.

        This is the inverse of the map φ, found at the points alone by the fixed-point iteration of
        `spatial.invert`.

        Args:
            points: p (n, d) in mm, in the space of the moving image.

        Returns:
            y (n, d) in mm, in the space of the grid; NaN where the field folds or ends, so that no y maps to p.

        Raises:
            UserError: The points do not have one coordinate for each axis.
        """
        points = np.asarray(points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != self.grid.dims:
            raise UserError(f"points: have the shape {points.shape}; give (n, {self.grid.dims})", argument="points")
        field = self._tensor(np.float64)
        start = torch.from_numpy(self.grid.index(points).T.copy())
        start = start.reshape(1, self.grid.dims, -1, *[1] * (self.grid.dims - 1))
        found = start.clone()
        for _ in range(POINT_ITERATIONS):
            target = start - sample(field, found, outside="zeros")
            error = (target - found).abs().amax(1, keepdim=True)
            found = 0.5 * found + 0.5 * target
            if float(error.max()) < POINT_TOLERANCE:
                break
        error = (found + sample(field, found, outside="zeros") - start).abs().amax(1, keepdim=True)
        found = found.masked_fill(error > POINT_ACCEPTED, torch.nan)
        return self.grid.physical(found.reshape(self.grid.dims, -1).T.numpy())

    def resample(self, grid: Grid, *, outside: Outside = "border") -> Field:
        """Resample the field linearly onto another grid of the same space.

        Args:
            grid: The new grid.
            outside: What lies beyond the field: its edge (`border`) or no displacement (`zeros`).

        Returns:
            The field in voxels of the new grid, float32.
        """
        if self.grid.same_as(grid):
            return Field(np.ascontiguousarray(self.vectors, dtype=np.float32), grid)
        like = torch.empty(0, dtype=torch.float32)

        def resampled(layers: slice) -> Any:
            return self._at(identity(grid.shape, like, layers), grid, outside)[0].numpy()

        return Field(by_slabs(grid.shape, resampled), grid)

    def compose(self, other: Field) -> Field:
        """Return the field of x ↦ φ(φ_other(x)), on the grid of `other`.

        u(x) = u_other(x) + u_self(x + u_other(x)), positions in mm: an image warped by this field and then by
        `other` is the image warped by `field.compose(other)`, sampled once. The two may lie on different grids.

        Raises:
            UserError: The fields differ in dimension.
        """
        self._require_same_dims(other, other.grid)
        second = other._tensor(np.float64)
        whole = second + self._at(identity(other.grid.shape, second) + second, other.grid, "zeros")
        return Field(whole[0].numpy().astype(np.result_type(self.vectors, other.vectors)), other.grid)

    def inverse(self) -> Field:
        """Return the inverse field v on the same grid, x + u(x) + v(x + u(x)) = x, by fixed-point iteration.

        See `spatial.invert`, damped by 0.5. The field's edge is continued outside the grid. Where the field folds
        there is no inverse, and the values are finite but mean nothing.
        """
        inverse = invert(self._tensor(np.float64), damping=INVERSION_DAMPING)
        return replace(self, vectors=inverse[0].numpy().astype(self.vectors.dtype))

    def _tensor(self, dtype: DTypeLike) -> Tensor:
        """Return the vectors as a tensor (1, d, *shape)."""
        return torch.from_numpy(np.ascontiguousarray(self.vectors, dtype=dtype))[None]

    def _at(self, positions: Tensor, grid: Grid, outside: Outside) -> Tensor:
        """Return the displacements (1, d, *shape) in voxels of another grid, at positions in voxels of it."""
        field = torch.from_numpy(np.ascontiguousarray(self.vectors)).to(positions)[None]
        found = sample(field, affine(positions, *grid.index_map(self.grid)), outside=outside)
        turn = np.linalg.inv(grid.matrix) @ self.grid.matrix  # voxels of one grid to voxels of the other
        return affine(found, turn, np.zeros(grid.dims))

    def _require_same_dims(self, other: Image | Field, onto: Grid) -> None:
        if not other.grid.dims == self.grid.dims == onto.dims:
            name = other.name if isinstance(other, Image) else "field"
            raise UserError(
                f"{name}: has {other.grid.dims} dimensions, the displacement {self.grid.dims} and the grid to warp "
                f"onto {onto.dims}; they must be the same"
            )


def warp_image(
    image: ImageLike,
    transform: Field | str | Path,
    *,
    like: Grid | ImageLike | None = None,
    labels: bool = False,
    outside: float | str = 0.0,
    spacing: Spacing | None = None,
) -> Image:
    """Warp an image by a field or a saved transform; see `Field.warp` and `Field.read`.

    Args:
        image: A path, an `Image`, an image of SimpleITK, ITK or nibabel, or an array or tensor [x, y(, z)].
        transform: A field, such as `registration.field`, or the file of a transform.
        like: Grid of the result, or an image on it; that of the field by default.
        labels: True if `image` is a label map.
        outside: The value beyond the image, or `minimum` for its smallest one. Label maps have 0 there.
        spacing: Distance in mm between the voxels of an array.

    Raises:
        UserError: A file cannot be used, or image, transform and `like` differ in dimension.

    Examples:
        >>> import numpy as np
        >>> import heteroreg as hr
        >>> field = hr.Field(np.full((2, 4, 4), 1.0), hr.Grid.of_shape((4, 4)))
        >>> int(hr.warp(np.eye(4), field, spacing=1).array.trace())
        3
    """
    onto = None if like is None else _grid_of(like)
    field = transform if isinstance(transform, Field) else Field.read(transform, like=onto)
    return field.warp(image, like=onto, labels=labels, outside=outside, spacing=spacing)


def _fill_value(image: Image, outside: float | str) -> float:
    if outside == "minimum":
        return float(image.array.min())
    try:
        value = float(outside)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"outside: {outside} is neither a number nor `minimum`", argument="outside")
    return value


def _grid_of(like: Grid | ImageLike) -> Grid:
    if isinstance(like, Grid):
        return like
    if isinstance(like, str | Path):
        return read_grid(like)
    if is_array(like):
        raise UserError("like: an array has no grid; give a `Grid`, an `Image` or a path", argument="like")
    return as_image(like).grid
