"""How a displacement changes volumes."""

from __future__ import annotations

import torch
from torch import Tensor


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """det(I + ∇u): the local change of volume; 0 or less where the map folds.

    Central differences inside, one-sided ones at the border. Grids with different spacings along their axes
    need no correction: the determinant is the same in voxels as in mm.

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
        rows.append(slope)
    jacobian = torch.stack(rows, dim=2).movedim((1, 2), (-2, -1))
    determinant: Tensor = torch.linalg.det(jacobian + torch.eye(dims, dtype=jacobian.dtype, device=jacobian.device))
    return determinant
