"""From a velocity to a displacement."""

from __future__ import annotations

from torch import Tensor

from heteroreg.spatial.warp import warp


def integrate(velocity: Tensor, steps: int) -> Tensor:
    """Integrates a stationary velocity over unit time by scaling and squaring.

    exp(v): u₀ = v / 2ⁿ, then n times u ← u + u ∘ (id + u). The result is a diffeomorphism if v is smooth, and
    exp(-v) is its inverse (Arsigny et al., MICCAI 2006).

    Args:
        velocity: v (N, d, *shape) in voxels.
        steps: n; 0 takes the velocity as the displacement.

    Returns:
        The displacement (N, d, *shape) in voxels.
    """
    displacement = velocity * 0.5**steps
    for _ in range(steps):
        displacement = displacement + warp(displacement, displacement)
    return displacement
