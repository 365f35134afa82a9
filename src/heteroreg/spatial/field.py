"""Displacements applied to images and label maps, across grids."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.spatial import identity, sample
from heteroreg.spatial.warp import Outside, sample_labels
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError

# Of the search for a point, in voxels: where it ends, and what is still taken for found.
POINT_ITERATIONS, POINT_TOLERANCE, POINT_ACCEPTED = 200, 1e-6, 1e-3


def warp_image(
    image: Image, displacement: Floats, grid: Grid, like: Grid | None = None, *, labels: bool = False
) -> Image:
    """Warps an image by a displacement field: result(x) = image(x + u(x)), positions in mm.

    As ITK does it: 0 outside the image, no displacement outside the field, linear interpolation of intensities.
    Label maps are warped label by label (`spatial.warp_labels`).

    Args:
        image: The image or label map, on any grid.
        displacement: u (d, *shape) in voxels of `grid`.
        grid: Where the field lies.
        like: The grid of the result; that of the field if left out.
        labels: Whether `image` is a label map.

    Returns:
        The warped image on `like`; float32, or of the label map's type.

    Raises:
        UserError: Image, field and grid differ in dimension.
    """
    like = like or grid
    if not image.grid.dims == grid.dims == like.dims:
        raise UserError(
            f"{image.name}: has {image.grid.dims} dimensions, the displacement {grid.dims} and the grid to warp "
            f"onto {like.dims}; they must be the same"
        )
    field = resample_displacement(displacement, grid, like, outside="zeros")
    start = identity(like.shape, field)
    positions = affine(start + field, *like.index_map(image.grid))
    if labels:
        values = sample_labels(torch.from_numpy(image.array.astype(np.int64))[None, None], positions)
    else:
        values = sample(torch.from_numpy(image.array.astype(np.float32))[None, None], positions, outside="zeros")
    return Image(values[0, 0].numpy().astype(image.array.dtype if labels else np.float32), like, image.name)


def warp_points(points: Floats, displacement: Floats, grid: Grid) -> NDArray[np.float64]:
    """Where the points of an image lie once the image is warped: y with y + u(y) = p.

    The fixed-point iteration of `spatial.invert`, at the points alone. Outside the field nothing moves, as in
    `warp_image`.

    Args:
        points: p (n, d) in mm, in the space of the image that is warped.
        displacement: u (d, *shape) in voxels of `grid`.
        grid: Where the field lies.

    Returns:
        y (n, d) in mm, in the space of the grid; NaN where there is none: the field folds there, or ends.

    Raises:
        ValueError: The points have another number of coordinates than the grid has axes.
    """
    if points.shape[1:] != (grid.dims,):
        raise ValueError(f"points must have the shape (n, {grid.dims}); got {points.shape}")
    field = torch.from_numpy(np.ascontiguousarray(displacement, dtype=np.float64))[None]
    start = torch.from_numpy(grid.index(np.asarray(points, dtype=np.float64)).T.copy())
    start = start.reshape(1, grid.dims, -1, *[1] * (grid.dims - 1))
    found = start.clone()
    for _ in range(POINT_ITERATIONS):
        target = start - sample(field, found, outside="zeros")
        error = (target - found).abs().amax(1, keepdim=True)
        found = 0.5 * found + 0.5 * target
        if float(error.max()) < POINT_TOLERANCE:
            break
    error = (found + sample(field, found, outside="zeros") - start).abs().amax(1, keepdim=True)
    found = found.masked_fill(error > POINT_ACCEPTED, torch.nan)
    return grid.physical(found.reshape(grid.dims, -1).T.numpy())


def resample_displacement(displacement: Floats, grid: Grid, like: Grid, outside: Outside = "border") -> Tensor:
    """A displacement field on another grid of the same space.

    Args:
        displacement: (d, *shape) in voxels of `grid`.
        grid: Where the field lies.
        like: Where it is wanted.
        outside: Beyond the field: its edge (`border`) or no displacement (`zeros`).

    Returns:
        (1, d, *like.shape) in voxels of `like`, float32.
    """
    field = torch.from_numpy(np.ascontiguousarray(displacement, dtype=np.float32))[None]
    if grid.same_as(like):
        return field
    positions = affine(identity(like.shape, field), *like.index_map(grid))
    turn = np.linalg.inv(like.matrix) @ grid.matrix  # voxels of one grid to voxels of the other
    return affine(sample(field, positions, outside=outside), turn, np.zeros(grid.dims))


def resample_map(values: Tensor, grid: Grid, like: Grid) -> Tensor:
    """A scalar map (1, 1, *shape) on another grid, linear, its edge continued outside: (1, 1, *like.shape)."""
    if grid.same_as(like):
        return values
    return sample(values, affine(identity(like.shape, values), *like.index_map(grid)))


def affine(positions: Tensor, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Tensor:
    """A · x + b for positions (N, d, *shape)."""
    turn = torch.from_numpy(matrix).to(positions)
    shift = torch.from_numpy(offset).to(positions).view(1, -1, *[1] * (positions.ndim - 2))
    return torch.einsum("ij,nj...->ni...", turn, positions) + shift
