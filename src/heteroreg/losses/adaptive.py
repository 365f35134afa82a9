"""Weights from the current residual, for the data term (AdaFrame) or the smoothness (AdaReg)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heteroreg.losses.base import Losses, Objective
from heteroreg.losses.heteroscedastic import foreground
from heteroreg.losses.precision import single
from heteroreg.losses.similarity import mean_squared_error

TINY = 1e-7


def adaframe_weight(moved: Tensor, fixed: Tensor, a0: float = 0.1, b0: float = 10.0) -> Tensor:
    """Return the weight of AdaFrame, small where the residual is large among those of its image.

    With r = |I_f - Î_f|, and its mean μ and standard deviation s over the foreground of each image,

        w = 1 - sigmoid(a · (r - μ)/(s + 1e-7) - b),  a = a0/(μ + 1e-7),  b = b0 · (1 - cos πμ)

    While nothing fits, μ is large: a is small and b large, and all voxels count alike. The better the images
    match, the steeper is the step from weight 1 to weight 0 (Wong et al., "An Adaptive Framework for Learning
    Unsupervised Depth Completion", RA-L 2021).

    Args:
        moved: Î_f (N, 1, *shape) in [0, 1].
        fixed: I_f (N, 1, *shape) in [0, 1].
        a0: a₀.
        b0: b₀.

    Returns:
        (N, 1, *shape) in [0, 1], without gradient.
    """
    residual = _residual(moved, fixed)
    mask = foreground(moved, fixed)
    mean = _mean(residual, mask)
    deviation = _mean((residual - mean).square(), mask).sqrt()
    standardised = (residual - mean) / (deviation + TINY)
    steepness, shift = a0 / (mean + TINY), b0 * (1 - (math.pi * mean).cos())
    return torch.sigmoid(shift - steepness * standardised)


def adareg_weight(moved: Tensor, fixed: Tensor, c: float = 50.0) -> Tensor:
    """Return the weight of the smoothness in AdaReg, small where the residual is large.

    With r = |I_f - Î_f| and its mean over the foreground of each image, α(x) = exp(-c · r(x) · mean r). While
    little fits, the data decide; the better the images match, the nearer to 1 is α (Wong and Soatto, "Bilateral
    Cyclic Constraint and Adaptive Regularization for Unsupervised Monocular Depth Prediction", CVPR 2019).

    Args:
        moved: Î_f (N, 1, *shape) in [0, 1].
        fixed: I_f (N, 1, *shape) in [0, 1].
        c: c.

    Returns:
        (N, 1, *shape) in [0, 1], without gradient.
    """
    residual = _residual(moved, fixed)
    return torch.exp(-c * residual * _mean(residual, foreground(moved, fixed)))


def _residual(moved: Tensor, fixed: Tensor) -> Tensor:
    """Return |I_f - Î_f| without gradient."""
    return (single(fixed.detach()) - single(moved.detach())).abs()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the mask of each image (N, 1, …)."""
    axes = tuple(range(1, values.ndim))
    return (values * mask).sum(dim=axes, keepdim=True) / mask.sum(dim=axes, keepdim=True)


class AdaFrame(Objective):
    """E_Ω[w · (I_f - Î_f)²] with w from the residual itself; see `adaframe_weight`.

    Args:
        a0: a₀.
        b0: b₀.
    """

    def __init__(self, a0: float = 0.1, b0: float = 10.0) -> None:
        super().__init__()
        self.a0, self.b0 = a0, b0

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:
        """Return the loss of a batch (N, 1, *shape)."""
        weight = adaframe_weight(moved, fixed, self.a0, self.b0) if weighted else None
        return Losses(mean_squared_error(moved, fixed, weight), weight=weight)


class AdaReg(Objective):
    """E_Ω[(I_f - Î_f)²], with a smoothness that counts less where the residual is large; see `adareg_weight`.

    Args:
        c: c.
    """

    def __init__(self, c: float = 50.0) -> None:
        super().__init__()
        self.c = c

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:
        """Return the loss of a batch (N, 1, *shape)."""
        weight = adareg_weight(moved, fixed, self.c) if weighted else None
        return Losses(mean_squared_error(moved, fixed), smoothness_weight=weight)
