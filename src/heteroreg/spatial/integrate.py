"""Integration of a velocity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from heteroreg.spatial.fields import compose
from heteroreg.spatial.warp import corners, unit

# Of the fixed-point iteration of `logarithm`.
ITERATIONS, DAMPING = 30, 0.5


def integrate(velocity: Tensor, steps: int) -> Tensor:
    """Integrate a stationary velocity over unit time by scaling and squaring.

    exp(v): u₀ = v / 2ⁿ, then n times u ← u + u ∘ (id + u). The result is a diffeomorphism if v is smooth, and
    exp(-v) is its inverse (Arsigny et al., MICCAI 2006).

    Args:
        velocity: v (N, d, *shape) in voxels.
        steps: n; 0 returns the velocity itself.

    Returns:
        The displacement (N, d, *shape) in voxels; NaN where the velocity is NaN or infinite.
    """
    if not steps:
        return velocity
    shape = velocity.shape[2:]
    # Non-finite values are masked once here, not in every squaring: sampling does not make new ones.
    lost = ~velocity.isfinite().all(1, keepdim=True)
    velocity = velocity.masked_fill(lost, 0)
    # In the units and axis order of `grid_sample`: a squaring is then one sum and one sampling, without copies.
    scales = [unit(n) * 0.5**steps for n in shape]
    flow = torch.stack([velocity[:, i] * scale for i, scale in reversed(list(enumerate(scales)))], dim=1)
    start = torch.stack(torch.broadcast_tensors(*reversed(corners(shape, shape, velocity))))
    for _ in range(steps):
        positions = (start + flow).movedim(1, -1)
        flow = flow + F.grid_sample(flow, positions, mode="bilinear", padding_mode="border", align_corners=True)
    axes = [flow[:, -1 - i] / unit(n) for i, n in enumerate(shape)]
    return torch.stack(axes, dim=1).masked_fill(lost, torch.nan)


def logarithm(displacement: Tensor, steps: int) -> Tensor:
    """Return a stationary velocity whose integral is near a displacement, the inverse of `integrate`.

    Fixed-point iteration: v ← v + δ·((id + u) ∘ exp(-v) - id), from v = 0. By the formula of Baker, Campbell and
    Hausdorff the bracket is u's own velocity less v, to first order. For each field the v with the smallest mean
    square of the bracket counts: not every displacement has a velocity, above all where it folds.

    Args:
        displacement: u (N, d, *shape) in voxels.
        steps: Squarings of the integration.

    Returns:
        v (N, d, *shape) in voxels.

    Examples:
        >>> shift = torch.full((1, 2, 9, 8), 2.0)
        >>> torch.allclose(logarithm(shift, 7), shift, atol=1e-4)
        True
    """
    velocity = best = torch.zeros_like(displacement)
    least = displacement.new_full((len(displacement), *[1] * (displacement.ndim - 1)), torch.inf)
    for _ in range(ITERATIONS):
        left = compose(displacement, integrate(-velocity, steps))
        size = left.square().flatten(1).mean(1).view_as(least)
        best = torch.where(size < least, velocity, best)
        least = torch.minimum(size, least)
        velocity = velocity + DAMPING * left
    return best
