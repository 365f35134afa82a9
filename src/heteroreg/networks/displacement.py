"""The result of a displacement estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from heteroreg.spatial import integrate, resize_displacement, smooth
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
    correlation: float = 0.0,
    kernel: float = 0.0,
) -> Displacement:
    """Halve a velocity, unless it is that coarse already, integrate it both ways, and resample to full resolution.

    With a kernel, the halved velocity is smoothed first. That removes fast changes in space; the penalty λ‖∇v‖²
    shrinks slow ones too.

    Args:
        velocity: (N, d, *any) in voxels of its own grid.
        shape: The full resolution.
        int_steps: Squarings.
        log_variance: log σ_z² (N, d, *any), in voxels² of the halved velocity, where it is estimated; `tempered`
            is applied to it.
        sampled: Integrates one sample of N(velocity, σ_z²), drawn before the integration, instead of the mean. The
            noise comes from PyTorch's own generator of the device.
        correlation: Over how many voxels of the halved velocity the noise of a sample is alike; see `correlated`.
        kernel: SD of a Gaussian, in voxels of the halved velocity; 0 leaves the velocity as it is.
    """
    coarse = [(n + 1) // 2 for n in shape]
    mean = smooth(resize_displacement(velocity, coarse), kernel)
    if log_variance is None:
        return Displacement(mean, *integrated(mean, shape, int_steps))
    log_variance = tempered(log_variance)
    if list(log_variance.shape[2:]) != coarse:
        mode = INTERPOLATION[len(coarse)]
        log_variance = F.interpolate(log_variance, size=coarse, mode=mode, align_corners=True)
    drawn = sample_of(mean, log_variance, correlation) if sampled else mean
    return Displacement(mean, *integrated(drawn, shape, int_steps), log_variance)


def tempered(raw: Tensor) -> Tensor:
    """Return the logarithm of 1 + ELU(raw): log σ² = raw below 0, and σ² = 1 + raw above.

    A variance that is the exponential of what a network says goes up by orders of magnitude in a few updates, and
    one such gradient keeps Adam's steps small for hundreds of updates after. Above 1 voxel, where no estimate
    should end, it grows linearly instead; value and slope are continuous.

    Args:
        raw: What the network says, any shape.
    """
    return torch.where(raw > 0, torch.log1p(raw.clamp(min=0)), raw)


def sample_of(mean: Tensor, log_variance: Tensor, correlation: float) -> Tensor:
    """Return a sample of the distribution, with noise from PyTorch's own generator of the device."""
    noise = torch.randn_like(mean)
    return reparameterised(mean, log_variance, correlated(noise, [correlation] * (noise.ndim - 2)))


def correlated(noise: Tensor, lengths: Sequence[float]) -> Tensor:
    """Correlate independent noise in space; each value keeps the variance 1.

    Errors of a displacement are smooth. Independent noise is not: it averages out over a region, so that nothing
    that is summed over one, such as a volume, seems uncertain. Along each axis with a length L the noise is
    multiplied by the matrix of a Gaussian of width L/√2 whose rows have norm 1. Within the grid, two values at a
    distance r are then correlated by exp(-r²/2L²); at its border the variance is 1 all the same.

    Args:
        noise: (N, C, *shape), independent and of variance 1.
        lengths: L in voxels along the last axes, one for each of them that is to be correlated; 0 leaves it alone.
    """
    for axis, length in zip(range(noise.ndim - len(lengths), noise.ndim), lengths, strict=True):
        if length > 0:
            index = torch.arange(noise.shape[axis], device=noise.device, dtype=noise.dtype)
            # exp(-d²/2w²) with w = L/√2.
            matrix = torch.exp(-((index[:, None] - index) / length).square())
            matrix = matrix / matrix.norm(dim=1, keepdim=True)
            end = noise.ndim - 1
            noise = (noise.movedim(axis, end) @ matrix.T).movedim(end, axis)
    return noise


def reparameterised(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Return a sample of N(μ, σ_z²), μ + σ_z·ε: differentiable in both (Kingma & Welling, ICLR 2014).

    Args:
        mean: μ (N, d, *coarse).
        log_variance: log σ_z², the same shape.
        noise: ε, standard normal numbers of the same shape.
    """
    return mean + torch.exp(0.5 * log_variance) * noise


def integrated(velocity: Tensor, shape: Sequence[int], int_steps: int) -> tuple[Tensor, Tensor]:
    """Return the forward and the backward displacement (N, d, *shape) of a velocity (N, d, *coarse)."""
    # One pass for both directions: the integral of -v is the inverse of that of v.
    both = resize_displacement(integrate(torch.cat([velocity, -velocity]), int_steps), shape)
    n = velocity.shape[0]  # `len` would be a fixed number in an exported graph
    return both[:n], both[n:]
