"""Affine transforms of the space, such as an alignment that was made before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.io.transforms import read_itk_transform
from heteroreg.system.arrays import Doubles
from heteroreg.system.errors import UserError

# An alignment that shrinks a volume to a thousandth, or mirrors it, is none.
SMALLEST_DETERMINANT = 1e-3


@dataclass(frozen=True)
class Affine:
    """T(x) = A·x + b in mm (LPS), from points of fixed to points of moving, as ITK has it.

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
        """A (d, d)."""
        return np.asarray(self.matrix, dtype=float).reshape(self.dims, self.dims)

    def require_dims(self, dims: int, name: str) -> None:
        """Checks that it transforms the space of an image.

        Raises:
            UserError: It does not; `name` is that of the image.
        """
        if self.dims != dims:
            raise UserError(f"{name}: has {dims} dimensions, and the initial alignment {self.dims}")

    def place(self, image: Image) -> Image:
        """The image where it lies once it is aligned: the voxel at p(i) is at T⁻¹(p(i)).

        Its axes need not be at right angles any more. Sampling it at x is sampling the image at T(x).
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
        """The same map of indices of a grid: i ↦ B·i + c."""
        inverse, origin = np.linalg.inv(grid.matrix), np.asarray(grid.origin)
        offset = self.linear @ origin + np.asarray(self.offset) - origin
        return inverse @ self.linear @ grid.matrix, inverse @ offset


def read_affine(path: str | Path) -> Affine:
    """Reads an affine transform (translation, rigid, similarity, affine, or several of them) from an ITK file.

    Args:
        path: `.tfm`, `.txt`, `.h5` or `.mat`, as elastix, ANTs, Slicer and SimpleITK write them.

    Raises:
        UserError: The file is missing or damaged, or holds a transform that is not affine, or mirrors or flattens.
    """
    path = Path(path)
    found = read_itk_transform(path)
    if found.images is None:
        raise UserError(
            f"{path}: holds a transform that is not affine ({found.name}); align with an affine one, and apply a "
            "deformation with `heteroreg warp`"
        )
    offset = np.asarray(found.images[0], dtype=np.float64)
    return _checked(path, np.asarray(found.images[1:] - offset, dtype=np.float64).T, offset)


def _checked(path: Path, matrix: Doubles, offset: Doubles) -> Affine:
    if not (np.isfinite(matrix).all() and np.isfinite(offset).all()):
        raise UserError(f"{path}: holds NaN or infinite values; make the alignment again")
    determinant = float(np.linalg.det(matrix))
    if determinant < SMALLEST_DETERMINANT:
        raise UserError(
            f"{path}: mirrors space or flattens it (determinant {determinant:.3g}); make the alignment again"
        )
    return Affine(tuple(matrix.ravel().tolist()), tuple(offset.tolist()))
