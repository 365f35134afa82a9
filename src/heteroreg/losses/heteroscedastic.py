"""Noise that varies in space: its likelihood, and the weights that follow from it.

Zhang et al., "Heteroscedastic Uncertainty Estimation Framework for Unsupervised Registration", MICCAI 2024.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Keep = Literal["mean", "energy"]

# The smallest signal² that counts, so that the logarithm of a zero image is finite. 1e-4 is 1 % of the range.
SMALLEST_POWER = 1e-4


def gaussian_nll(moved: Tensor, fixed: Tensor, log_variance: Tensor, beta: float = 0.0) -> Tensor:
    """Return the (β-)negative log-likelihood E_Ω[⌊σ̂^{2β}⌋ · ((I_f - Î_f)²/σ̂² + log σ̂²)].

    β = 0 is the Gaussian likelihood. β = 0.5 keeps voxels of large variance from being neglected (Seitzer et
    al., ICLR 2022; the variance loss of the paper, eq. 4). ⌊·⌋ carries no gradient.

    Args:
        moved: Î_f (N, 1, *shape).
        fixed: I_f (N, 1, *shape).
        log_variance: log σ̂² (N, 1, *shape).
        beta: β in [0, 1].

    Returns:
        A scalar.
    """
    likelihood = (fixed - moved).square() * torch.exp(-log_variance) + log_variance
    if beta:
        likelihood = torch.exp(beta * log_variance.detach()) * likelihood
    return likelihood.mean()


def foreground(moved: Tensor, fixed: Tensor) -> Tensor:
    """Return the mask of voxels where either image is not zero; all voxels if both images are zero everywhere."""
    mask = (moved != 0) | (fixed != 0)
    spatial = tuple(range(1, mask.ndim))
    return mask | ~mask.any(dim=spatial, keepdim=True)


def local_power(image: Tensor, radius: int = 4) -> Tensor:
    """Return the mean of I² over a window of 2 · radius + 1 voxels an axis: the signal's power nearby."""
    pool = F.avg_pool2d if image.ndim == 4 else F.avg_pool3d
    return pool(image.square(), 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)


def relative_weight(
    log_variance: Tensor, mask: Tensor, gamma: float, power: Tensor | None = None, keep: Keep = "mean"
) -> Tensor:
    """Return weights (P/σ̂²)^γ, brought to one scale over the foreground of each image.

    The scale decides what λ, the balance between data and smoothness, means. `mean` divides by the mean weight,
    so that E[w] = 1. Then λ is that of MSE only where noise and motion are in the same places: the voxels that
    move have the largest residuals, so they get weights below 1, and the smoothness the upper hand. `energy`
    divides by the mean weight of the residual, so that E[w · σ̂²] = E[σ̂²]: the expected data term stays as
    large as with MSE, and with it λ what it was. Computed in logarithms, so that no image makes it overflow.

    Args:
        log_variance: log σ̂² (N, 1, *shape).
        mask: The foreground (N, 1, *shape), not empty in any image. The weight is 1 outside.
        gamma: γ, the confidence in the estimate; 0 gives weight 1 everywhere.
        power: P, the signal's power (N, 1, *shape): the fixed image squared as in the paper (eq. 3), or its
            local mean. Left out, it is 1: the weight is then relative precision alone.
        keep: What the weighting leaves as it is with MSE.

    Returns:
        (N, 1, *shape), without gradient.
    """
    log_weight = -log_variance.detach()
    if power is not None:
        log_weight = log_weight + (power.detach() + SMALLEST_POWER).log()
    weight = _relative(gamma * log_weight, mask)
    share = mask.to(weight.dtype) if keep == "mean" else _relative(log_variance.detach(), mask)
    scale = _total(weight * share) / _total(share)
    return torch.where(mask, weight / scale, torch.ones_like(weight))


def _relative(logarithm: Tensor, mask: Tensor) -> Tensor:
    """Return exp of a map over its largest value in the mask of each image; 0 outside the mask."""
    inside = logarithm.masked_fill(~mask, -torch.inf)
    return torch.exp(inside - inside.amax(dim=tuple(range(1, mask.ndim)), keepdim=True))


def _total(values: Tensor) -> Tensor:
    return values.sum(dim=tuple(range(1, values.ndim)), keepdim=True)


def reference_weight(fixed: Tensor, log_variance: Tensor, gamma: float) -> Tensor:
    """Return T((I_f/⌊σ̂_I⌋)^{2γ}) as published: min-max over the whole batch, then a sigmoid.

    Every weight lies in [0.5, 0.731], so the data term counts about half of what it counts with MSE. A
    constant map, on which the published form gives NaN, becomes 0.5.

    Args:
        fixed: I_f (N, 1, *shape), in [0, 1].
        log_variance: log σ̂_I² (N, 1, *shape).
        gamma: γ.

    Returns:
        (N, 1, *shape), without gradient.
    """
    ratio = (fixed.detach().square() * torch.exp(-log_variance.detach())).pow(gamma)
    low, high = ratio.min(), ratio.max()
    return torch.sigmoid((ratio - low) / (high - low).clamp(min=torch.finfo(ratio.dtype).tiny))
