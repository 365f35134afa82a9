"""Jacobian determinant of a displacement."""

from __future__ import annotations

import torch
from torch import Tensor


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Return det(I + ∇u): the local change of volume; 0 or less where the map folds.

    Differences are central inside and one-sided at the border. Anisotropic spacing needs no correction: the
    determinant is the same in voxels and in mm.

    Args:
        displacement: u (N, d, *shape) in voxels.

    Returns:
        (N, *shape).
    """
    dims = displacement.shape[1]
    rows = []
    for axis in range(dims):
        # An axis of one voxel has no slope.
        flat = displacement.shape[2 + axis] < 2
        (slope,) = (torch.zeros_like(displacement),) if flat else torch.gradient(displacement, dim=2 + axis)
        slope[:, axis] += 1
        rows.append(list(slope.unbind(1)))
    return _determinant(rows)


def _determinant(rows: list[list[Tensor]]) -> Tensor:
    """Expand the determinant of small matrices of maps along the first row: faster than factorising."""
    if len(rows) == 1:
        return rows[0][0]
    terms = [
        entry * _determinant([row[:column] + row[column + 1 :] for row in rows[1:]])
        for column, entry in enumerate(rows[0])
    ]
    return torch.stack([-term if column % 2 else term for column, term in enumerate(terms)]).sum(0)
