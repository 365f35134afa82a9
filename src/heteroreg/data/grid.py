"""Grids: the positions of voxels in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heteroreg.system.arrays import Doubles

THICK = 3.0  # ratio of slice distance to pixel size from which a stack counts as 2D images
# ITK's space is LPS and NIfTI's is RAS: the first two axes point in opposite directions.
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, repr=False)
class Grid:
    """A regular grid of voxels in physical space, as ITK defines it.

    Index i is at p(i) = origin + direction · diag(spacing) · i, in mm, in the LPS frame. Axis k of an array is axis
    k of the grid: arrays are indexed [x, y, z], the order of NIfTI, not ITK's NumPy order [z, y, x].

    Attributes:
        shape: Voxels along each axis (2 or 3 axes).
        spacing: Distance between voxel centres along each axis, in mm.
        origin: Position of voxel 0, in mm.
        direction: Unit vectors of the axes as the columns of a matrix, flattened row by row.

    Examples:
        >>> grid = Grid.of_shape((64, 48), spacing=(1.5, 2.0))
        >>> grid.physical([2, 3]).tolist()
        [3.0, 6.0]
        >>> grid.with_spacing((3.0, 2.0)).shape
        (32, 48)
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    def __repr__(self) -> str:
        return f"Grid({self.summary})"

    @property
    def summary(self) -> str:
        """Shape and spacing in a few words."""
        spacing = "×".join(f"{step:.4g}" for step in self.spacing)
        return f"{'×'.join(map(str, self.shape))} voxels, {spacing} mm"

    @classmethod
    def of_shape(cls, shape: Sequence[int], spacing: Sequence[float] | float = 1.0) -> Grid:
        """Make a grid at the origin with axes along those of space.

        Args:
            shape: Voxels along each axis.
            spacing: Spacing in mm, one number or one for each axis.
        """
        dims = len(shape)
        values = tuple(np.broadcast_to(np.asarray(spacing, dtype=float), dims).tolist())
        return cls(tuple(map(int, shape)), values, (0.0,) * dims, tuple(np.eye(dims).ravel().tolist()))

    @property
    def dims(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def axes(self) -> Doubles:
        """The direction as a matrix (d, d) with unit vectors in its columns."""
        return np.asarray(self.direction, dtype=float).reshape(self.dims, self.dims)

    @property
    def matrix(self) -> Doubles:
        """The matrix direction · diag(spacing) (d, d), which converts a displacement in voxels to mm."""
        return np.asarray(self.axes * np.asarray(self.spacing))

    @property
    def orthogonal(self) -> bool:
        """True if the axes are at right angles, as ITK requires of an image."""
        return bool(np.allclose(self.axes.T @ self.axes, np.eye(self.dims), atol=1e-6))

    @property
    def thick_slices(self) -> bool:
        """True for a stack of 2D slices that lie far apart, and for a single slice."""
        return self.dims == 3 and (self.shape[2] == 1 or self.spacing[2] > THICK * max(self.spacing[:2]))

    @property
    def is_volume(self) -> bool:
        """True for a 3D image whose slices lie close together."""
        return self.dims == 3 and not self.thick_slices

    def nifti_affine(self) -> Doubles:
        """Return the matrix (4, 4) from indices of a 3D grid to mm in NIfTI's frame, RAS."""
        affine = np.eye(4)
        affine[:3, :3] = LPS_TO_RAS[:, None] * self.matrix
        affine[:3, 3] = LPS_TO_RAS * np.asarray(self.origin)
        return affine

    @classmethod
    def of_nifti_affine(cls, shape: Sequence[int], affine: Doubles) -> Grid:
        """Make the grid of an array from NIfTI's matrix (4, 4), from indices to mm in RAS.

        A 2D array gets a 2D grid, with the position in the plane that ITK gives it.

        Args:
            shape: Voxels along each axis; axes beyond the third get the spacing 1.
            affine: The matrix.
        """
        dims = len(shape)
        matrix, origin = np.eye(dims), np.zeros(dims)
        n = min(dims, 3)
        matrix[:n, :n] = LPS_TO_RAS[:n, None] * np.asarray(affine, dtype=float)[:n, :n]
        origin[:n] = LPS_TO_RAS[:n] * np.asarray(affine, dtype=float)[:n, 3]
        spacing = np.linalg.norm(matrix, axis=0)
        axes = matrix / np.where(spacing > 0, spacing, 1)
        return cls(
            tuple(map(int, shape)), tuple(spacing.tolist()), tuple(origin.tolist()), tuple(axes.ravel().tolist())
        )

    def physical(self, index: ArrayLike) -> Doubles:
        """Return the positions in mm of (fractional) indices, along the last axis of `index` (…, d)."""
        return np.asarray(np.asarray(index) @ self.matrix.T + np.asarray(self.origin))

    def index(self, physical: ArrayLike) -> Doubles:
        """Return the fractional indices of positions in mm, along the last axis of `physical` (…, d)."""
        return np.asarray((np.asarray(physical) - np.asarray(self.origin)) @ np.linalg.inv(self.matrix).T)

    def index_map(self, other: Grid) -> tuple[Doubles, Doubles]:
        """Return the affine map (A, b) from indices of this grid to those of another: j = A · i + b."""
        inverse = np.linalg.inv(other.matrix)
        return inverse @ self.matrix, inverse @ (np.asarray(self.origin) - np.asarray(other.origin))

    def same_as(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Return True if both grids have every voxel in the same place, within `tolerance` of a voxel."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(self.dims, -1).T
        offset = np.abs(self.physical(corners) - other.physical(corners)).max()
        return bool(offset <= tolerance * min(self.spacing))

    def moved_axes(self, axes: Sequence[int]) -> Grid:
        """Return the grid of an array whose axes are put in another order, each voxel in its place."""
        order = list(axes)
        return Grid(
            tuple(self.shape[axis] for axis in order),
            tuple(self.spacing[axis] for axis in order),
            self.origin,
            tuple(self.axes[:, order].ravel().tolist()),
        )

    def crop(self, start: Sequence[int], shape: Sequence[int]) -> Grid:
        """Return the grid of a block of `shape` voxels that begins at index `start` (negative: padding)."""
        origin = self.physical(np.asarray(start, dtype=float))
        return Grid(tuple(map(int, shape)), self.spacing, tuple(origin.tolist()), self.direction)

    def with_spacing(self, spacing: Sequence[float]) -> Grid:
        """Return the same field of view (outer edges of the outer voxels) at another spacing, in mm."""
        shape = [
            max(1, round(n * old / new)) for n, old, new in zip(self.shape, self.spacing, spacing, strict=True)
        ]
        # The centre of the field of view is kept.
        centre = self.physical((np.asarray(self.shape, dtype=float) - 1) / 2)
        offset = self.axes @ (np.asarray(spacing) * (np.asarray(shape, dtype=float) - 1) / 2)
        return Grid(tuple(shape), tuple(map(float, spacing)), tuple((centre - offset).tolist()), self.direction)
