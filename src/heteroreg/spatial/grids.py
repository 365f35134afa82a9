"""Positions and maps brought from one grid to another."""

from __future__ import annotations

import torch
from torch import Tensor

from heteroreg.data.grid import Grid
from heteroreg.spatial.warp import identity, sample
from heteroreg.system.arrays import Doubles
from heteroreg.system.slabs import by_slabs


def affine(positions: Tensor, matrix: Doubles, offset: Doubles) -> Tensor:
    """Return A · x + b for positions (N, d, *shape)."""
    turn = torch.from_numpy(matrix).to(positions)
    shift = torch.from_numpy(offset).to(positions).view(1, -1, *[1] * (positions.ndim - 2))
    return torch.einsum("ij,nj...->ni...", turn, positions) + shift


def resample_map(values: Tensor, grid: Grid, like: Grid) -> Tensor:
    """Resample a scalar map (1, 1, *shape) linearly, its edge continued outside, to (1, 1, *like.shape)."""
    if grid.same_as(like):
        return values

    def at(layers: slice) -> Tensor:
        return sample(values, affine(identity(like.shape, values, layers), *like.index_map(grid)))

    return torch.from_numpy(by_slabs(like.shape, at))
