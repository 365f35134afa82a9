"""Composition, inversion and resizing of displacements."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from heteroreg.spatial.warp import warp

INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Return the displacement of x ↦ φ₁(φ₂(x)) with φ = id + u: u(x) = u₂(x) + u₁(x + u₂(x)).

    An image warped by `first` and then by `second` is the image warped by `compose(first, second)`.

    Args:
        first: u₁ (N, d, *shape) in voxels.
        second: u₂ (N, d, *shape) in voxels.
    """
    return second + warp(first, second)


def invert(displacement: Tensor, iterations: int = 50, tolerance: float = 1e-3, damping: float = 0.0) -> Tensor:
    """Invert a displacement by fixed-point iteration: v ← δ·v - (1 - δ)·u(x + v), from v = -u.

    Converges to u⁻¹ where the slopes of u lie between -1, where it folds, and (1 + δ)/(1 - δ): 1 without damping
    (Chen et al., Med. Phys. 2008), 3 with δ = 0.5. Where u folds it has no inverse: the values there are finite, no
    larger than the largest of u along each axis, and meaningless.

    Args:
        displacement: u (N, d, *shape) in voxels.
        iterations: Largest number of iterations.
        tolerance: Stop when no value changes by more, in voxels.
        damping: δ, from 0 to below 1.
    """
    inverse = -displacement
    for _ in range(iterations):
        previous, inverse = inverse, damping * inverse - (1 - damping) * warp(displacement, inverse)
        if float((inverse - previous).abs().max()) < tolerance:
            break
    return inverse


def resize_displacement(displacement: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize a displacement to a finer or coarser grid over the same extent, in voxels of the new grid.

    The corner voxels stay in place: where n voxels become m, positions and displacements along that axis are
    scaled by (m - 1)/(n - 1).

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
    # Filled on the device: copying a list would make a GPU wait.
    scale = torch.stack([displacement.new_full((), factor) for factor in factors])
    resized = F.interpolate(displacement, size=tuple(shape), mode=INTERPOLATION[len(old)], align_corners=True)
    return resized * scale.view(1, -1, *[1] * len(old))
