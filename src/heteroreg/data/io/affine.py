"""Affine transforms of space, such as a previous alignment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.io.transforms import read_itk_transform
from heteroreg.system.arrays import Doubles
from heteroreg.system.errors import UserError

# A smaller determinant means a mirrored or nearly flattened volume.
SMALLEST_DETERMINANT = 1e-3


@dataclass(frozen=True)
class Affine:
    """T(x) = A·x + b in mm (LPS), from points of fixed to points of moving, the convention of ITK.

    Attributes:
        matrix: A, flattened row by row.
        offset: b in mm.
    """

    matrix: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def dims(self) -> int:
        """Number of axes."""
        return len(self.offset)

    @property
    def linear(self) -> Doubles:
        """The matrix A (d, d)."""
        return np.asarray(self.matrix, dtype=float).reshape(self.dims, self.dims)

    def require_dims(self, dims: int, name: str) -> None:
        """Check that the transform has the dimension of an image.

        Raises:
            UserError: It has another one; the message begins with `name`.
        """
        if self.dims != dims:
            raise UserError(
                f"{name}: has {dims} dimensions, but the initial alignment has {self.dims}; use another one"
            )

    def place(self, image: Image) -> Image:
        """Return the image at its aligned position: the voxel at p(i) moves to T⁻¹(p(i)).

        Its axes may no longer be at right angles. Sampling it at x equals sampling the image at T(x).
        """
        grid, inverse = image.grid, np.linalg.inv(self.linear)
        matrix = inverse @ grid.matrix
        spacing = np.linalg.norm(matrix, axis=0)
        placed = Grid(
            grid.shape,
            tuple(spacing.tolist()),
            tuple((inverse @ (np.asarray(grid.origin) - np.asarray(self.offset))).tolist()),
            tuple((matrix / spacing).ravel().tolist()),
        )
        return replace(image, grid=placed)

    def in_voxels(self, grid: Grid) -> tuple[Doubles, Doubles]:
        """Return the same map for indices of a grid, i ↦ B·i + c."""
        inverse, origin = np.linalg.inv(grid.matrix), np.asarray(grid.origin)
        offset = self.linear @ origin + np.asarray(self.offset) - origin
        return inverse @ self.linear @ grid.matrix, inverse @ offset


def read_affine(path: str | Path) -> Affine:
    """Read an affine transform (translation, rigid, similarity, affine, or a composition) from an ITK file.

    Args:
        path: `.tfm`, `.txt`, `.h5` or `.mat`, as elastix, ANTs, Slicer and SimpleITK write them.

    Raises:
        UserError: The file is missing or damaged, or its transform is not affine, mirrors, or flattens.
    """
    path = Path(path)
    found = read_itk_transform(path)
    if found.images is None:
        raise UserError(
            f"{path}: is not affine ({found.name}); align with an affine transform, and apply a deformation with "
            "`heteroreg warp`"
        )
    offset = np.asarray(found.images[0], dtype=np.float64)
    return _checked(path, np.asarray(found.images[1:] - offset, dtype=np.float64).T, offset)


def _checked(path: Path, matrix: Doubles, offset: Doubles) -> Affine:
    if not (np.isfinite(matrix).all() and np.isfinite(offset).all()):
        raise UserError(f"{path}: has NaN or infinite values; make the alignment again")
    determinant = float(np.linalg.det(matrix))
    if determinant < SMALLEST_DETERMINANT:
        raise UserError(
            f"{path}: mirrors or flattens space (determinant {determinant:.3g}); make the alignment again"
        )
    return Affine(tuple(matrix.ravel().tolist()), tuple(offset.tolist()))
