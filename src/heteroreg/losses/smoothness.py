"""How rough a velocity is."""

from __future__ import annotations

import torch
from torch import Tensor


def smoothness(velocity: Tensor) -> Tensor:
    """‖∇v‖²: the mean of squared forward differences, averaged over the axes, times 2.

    The factor is the published one: the velocity lies on a grid of half the resolution. λ multiplies this.

    Args:
        velocity: v (N, d, *shape) in voxels.

    Returns:
        A scalar; an axis of one voxel counts 0.
    """
    dims = velocity.shape[1]
    terms = [velocity.diff(dim=2 + axis).square().mean() for axis in range(dims) if velocity.shape[2 + axis] > 1]
    return 2 * torch.stack(terms).sum() / dims if terms else velocity.sum() * 0
