"""Penalty for a displacement that leads out of the image."""

from __future__ import annotations

import torch
from torch import Tensor

# Positions may leave the image by this share of its size: tissue enters and leaves the field of view.
MARGIN = 0.1
# Displacements are smooth, so every fourth voxel along each axis is enough.
STRIDE = 4


def outside(displacement: Tensor, margin: float = MARGIN) -> Tensor:
    """Return E_x[Σ_i (e_i/n_i)²], the squared distance beyond the margin around the image.

    e_i is by how many voxels the position x + u(x) is farther out than `margin`·n_i along axis i, and n_i the
    size of the image. It is exactly 0, with the gradient 0, where no position is that far out.

    An intensity difference rewards a displacement that shifts everything out of the image: the repeated border
    is then compared with the fixed image's own background, and no gradient leads back. The mean over the valid
    overlap alone rewards it too, as long as some background is left to overlap. This term leads back.

    Args:
        displacement: u (N, d, *shape) in voxels.
        margin: Share of the size that costs nothing.

    Returns:
        A scalar.
    """
    shape = displacement.shape[2:]
    some = displacement
    for axis in range(2, displacement.ndim):
        some = some[(slice(None),) * axis + (slice(None, None, STRIDE),)]
    total = some.new_zeros(())
    for axis, size in enumerate(shape):
        index = torch.arange(0, size, STRIDE, dtype=some.dtype, device=some.device)
        position = some[:, axis] + index.view(-1, *[1] * (len(shape) - 1 - axis))
        beyond = torch.relu(-position) + torch.relu(position - (size - 1)) - margin * size
        total = total + (torch.relu(beyond) / size).square().mean()
    return total
