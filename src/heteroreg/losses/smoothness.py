"""Roughness of a velocity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def smoothness(velocity: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return ‖∇v‖²: the mean of squared forward differences, averaged over the axes, times 2.

    The factor is the published one: the velocity lies on a grid of half the resolution. λ multiplies this.

    Args:
        velocity: v (N, d, *shape) in voxels.
        weight: Weight of each place (k·N, 1, *fine), on the grid of the images; 1 everywhere by default. The
            velocity belongs to both directions of a pair: of k maps of each, one after the other, the mean counts.
            It is averaged over the area of each voxel of the velocity's grid.

    Returns:
        A scalar; an axis of one voxel counts 0.
    """
    if weight is not None:
        weight = weight.unflatten(0, (-1, len(velocity))).mean(0)
        weight = F.interpolate(weight, size=velocity.shape[2:], mode="area")
    return 2 * roughness(velocity, weight)


def roughness(field: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean of squared forward differences, averaged over the axes.

    Args:
        field: (N, C, *shape).
        weight: (N, 1, *shape). Between two voxels, where their difference lies, the mean of theirs counts.

    Returns:
        A scalar; an axis of one voxel counts 0.
    """
    terms = []
    for axis in range(2, field.ndim):
        if field.shape[axis] > 1:
            square = field.diff(dim=axis).square()
            if weight is not None:
                square = (
                    square
                    * (weight.narrow(axis, 0, square.shape[axis]) + weight.narrow(axis, 1, square.shape[axis]))
                    / 2
                )
            terms.append(square.mean())
    return torch.stack(terms).sum() / (field.ndim - 2) if terms else field.sum() * 0
