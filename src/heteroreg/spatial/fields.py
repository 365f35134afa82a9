"""Displacements put together, turned round and brought to another resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from heteroreg.spatial.warp import warp

INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The displacement of x ↦ φ₁(φ₂(x)) with φ = id + u: u(x) = u₂(x) + u₁(x + u₂(x)).

    An image warped by `first` and then by `second` is the image warped by `compose(first, second)`.

    Args:
        first: u₁ (N, d, *shape) in voxels.
        second: u₂ (N, d, *shape) in voxels.
    """
    return second + warp(first, second)


def invert(displacement: Tensor, iterations: int = 50, tolerance: float = 1e-3, damping: float = 0.0) -> Tensor:
    """The inverse of a displacement by fixed-point iteration: v ← δ·v - (1 - δ)·u(x + v), from v = -u.

    Converges to u⁻¹ where the slopes of u lie between -1, where it folds, and (1 + δ)/(1 - δ): 1 without damping
    (Chen et al., Med. Phys. 2008), 3 with δ = 0.5. Where u folds there is no inverse: the values there are finite,
    no larger than the largest of u along each axis, and mean nothing.

    Args:
        displacement: u (N, d, *shape) in voxels.
        iterations: At most so many.
        tolerance: Stops when no voxel moves by more, in voxels.
        damping: δ, from 0 to below 1.
    """
    inverse = -displacement
    for _ in range(iterations):
        previous, inverse = inverse, damping * inverse - (1 - damping) * warp(displacement, inverse)
        if float((inverse - previous).abs().max()) < tolerance:
            break
    return inverse


def resize_displacement(displacement: Tensor, shape: Sequence[int]) -> Tensor:
    """A displacement on a finer or coarser grid over the same extent, in voxels of the new grid.

    With the corner voxels kept in place, n voxels become m with positions scaled by (m - 1)/(n - 1); so are
    the displacements along that axis.

    Args:
        displacement: (N, d, *old) in voxels.
        shape: The new shape.

    Returns:
        (N, d, *shape) in voxels of the new grid.
    """
    old = displacement.shape[2:]
    if tuple(old) == tuple(shape):
        return displacement
    factors = [(new - 1) / max(n - 1, 1) for new, n in zip(shape, old, strict=True)]
    # Filled on the device: copying a list there would make a GPU wait.
    scale = torch.stack([displacement.new_full((), factor) for factor in factors])
    resized = F.interpolate(displacement, size=tuple(shape), mode=INTERPOLATION[len(old)], align_corners=True)
    return resized * scale.view(1, -1, *[1] * len(old))
