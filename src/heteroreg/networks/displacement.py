"""What a displacement estimator returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from heteroreg.spatial import integrate, resize_displacement
from heteroreg.spatial.fields import INTERPOLATION


class Displacement(NamedTuple):
    """A displacement between two images. A named tuple, since distributed training looks into those.

    Attributes:
        velocity: (N, d, *coarse) in voxels of its own, possibly coarser, grid; what the smoothness is asked of.
            Where the network is uncertain, the mean μ of the distribution N(μ, σ_z²).
        forward: (N, d, *shape) in voxels: warps moving onto fixed. In training of an uncertain network the integral
            of one sample of the distribution, otherwise that of `velocity`.
        backward: (N, d, *shape) in voxels: warps fixed onto moving, the integral of the negative of the same.
        velocity_log_variance: log σ_z² (N, d, *coarse), in voxels² of the grid of `velocity`; None where the
            network predicts none.
    """

    velocity: Tensor
    forward: Tensor
    backward: Tensor
    velocity_log_variance: Tensor | None = None


def displacement_of(
    velocity: Tensor,
    shape: Sequence[int],
    int_steps: int,
    log_variance: Tensor | None = None,
    *,
    sampled: bool = False,
) -> Displacement:
    """Halves a velocity, unless it is so coarse already, integrates it both ways, and brings it to full resolution.

    Args:
        velocity: (N, d, *any) in voxels of its own grid.
        shape: The full resolution.
        int_steps: Squarings.
        log_variance: log σ_z² (N, d, *any), in voxels² of the halved velocity, where it is estimated.
        sampled: Integrates one sample of N(velocity, σ_z²), drawn before the integration, instead of the mean. The
            noise comes from PyTorch's own generator of the device.
    """
    coarse = [(n + 1) // 2 for n in shape]
    mean = resize_displacement(velocity, coarse)
    if log_variance is None:
        return Displacement(mean, *integrated(mean, shape, int_steps))
    if list(log_variance.shape[2:]) != coarse:
        mode = INTERPOLATION[len(coarse)]
        log_variance = F.interpolate(log_variance, size=coarse, mode=mode, align_corners=True)
    drawn = reparameterised(mean, log_variance, torch.randn_like(mean)) if sampled else mean
    return Displacement(mean, *integrated(drawn, shape, int_steps), log_variance)


def reparameterised(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """A sample of N(μ, σ_z²), μ + σ_z·ε: differentiable in both (Kingma & Welling, ICLR 2014).

    Args:
        mean: μ (N, d, *coarse).
        log_variance: log σ_z², the same shape.
        noise: ε, standard normal numbers of the same shape.
    """
    return mean + torch.exp(0.5 * log_variance) * noise


def integrated(velocity: Tensor, shape: Sequence[int], int_steps: int) -> tuple[Tensor, Tensor]:
    """The forward and the backward displacement (N, d, *shape) of a velocity (N, d, *coarse)."""
    # One pass for both directions: the integral of -v is the inverse of that of v.
    both = resize_displacement(integrate(torch.cat([velocity, -velocity]), int_steps), shape)
    forward, backward = both.chunk(2)
    return forward, backward
