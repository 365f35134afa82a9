"""Noise that differs from place to place: its likelihood, and the weights that follow from it.

Zhang et al., "Heteroscedastic Uncertainty Estimation Framework for Unsupervised Registration", MICCAI 2024.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# The smallest signal² that counts, so that the logarithm of a zero image is finite. 1e-4 is 1 % of the range.
EPSILON = 1e-4


def gaussian_nll(moved: Tensor, fixed: Tensor, log_variance: Tensor, beta: float = 0.0) -> Tensor:
    """The (β-)negative log-likelihood E_Ω[⌊σ̂^{2β}⌋ · ((I_f - Î_f)²/σ̂² + log σ̂²)].

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
    """Where either image is not zero, as a boolean tensor; all of an image where both are zero everywhere."""
    mask = (moved != 0) | (fixed != 0)
    spatial = tuple(range(1, mask.ndim))
    return mask | ~mask.any(dim=spatial, keepdim=True)


def local_power(image: Tensor, radius: int = 4) -> Tensor:
    """The mean of I² over a window of 2 · radius + 1 voxels an axis: the signal's power nearby."""
    pool = F.avg_pool2d if image.ndim == 4 else F.avg_pool3d
    return pool(image.square(), 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)


def relative_weight(log_variance: Tensor, mask: Tensor, gamma: float, power: Tensor | None = None) -> Tensor:
    """Weights (P/σ̂²)^γ, brought to mean 1 over the foreground of each image.

    With mean 1 the balance between data and smoothness, λ, means what it means with MSE. Computed in
    logarithms, so that no image makes it overflow.

    Args:
        log_variance: log σ̂² (N, 1, *shape).
        mask: The foreground (N, 1, *shape), not empty in any image. The weight is 1 outside.
        gamma: γ, the confidence in the estimate; 0 gives weight 1 everywhere.
        power: P, the signal's power (N, 1, *shape): the fixed image squared as in the paper (eq. 3), or its
            local mean. Left out, it is 1: the weight is then relative precision alone.

    Returns:
        (N, 1, *shape), without gradient.
    """
    log_weight = -log_variance.detach()
    if power is not None:
        log_weight = log_weight + (power.detach() + EPSILON).log()
    log_weight = (gamma * log_weight).masked_fill(~mask, -torch.inf)
    spatial = tuple(range(1, mask.ndim))
    largest = log_weight.amax(dim=spatial, keepdim=True)
    weight = torch.exp(log_weight - largest)
    mean = weight.sum(dim=spatial, keepdim=True) / mask.sum(dim=spatial, keepdim=True)
    return torch.where(mask, weight / mean, torch.ones_like(weight))


def reference_weight(fixed: Tensor, log_variance: Tensor, gamma: float) -> Tensor:
    """T((I_f/⌊σ̂_I⌋)^{2γ}) as published: min-max over the whole batch, then a sigmoid.

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
