"""Objectives: map (moved, fixed) to the losses of the two estimators, in any training loop."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from heteroreg.losses.base import Losses, Objective
from heteroreg.losses.correlation import VARIANCE_EPSILON, WINDOW, local_correlation
from heteroreg.losses.heteroscedastic import (
    Keep,
    foreground,
    gaussian_nll,
    local_power,
    reference_weight,
    relative_weight,
)
from heteroreg.losses.information import BINS, mutual_information
from heteroreg.losses.similarity import charbonnier, mean_squared_error

Normalisation = Literal["relative", "balanced", "reference"]
Signal = Literal["none", "fixed", "local"]


class MeanSquaredError(Objective):
    """Mean squared error, E_Ω[(I_f - Î_f)²]: assumes the same noise everywhere.

    Examples:
        >>> import torch
        >>> MeanSquaredError()(torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), 2.0)).displacement
        tensor(4.)
    """

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:  # noqa: ARG002
        """Return the loss of a batch (N, 1, *shape)."""
        return Losses(mean_squared_error(moved, fixed))


class Charbonnier(Objective):
    """Robust loss, linear in large residuals; see `charbonnier`.

    Args:
        scale: ε.
    """

    def __init__(self, scale: float = 0.1) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:  # noqa: ARG002
        """Return the loss of a batch (N, 1, *shape)."""
        return Losses(charbonnier(moved, fixed, self.scale))


class LocalCorrelation(Objective):
    """Local correlation loss, 1 - E_Ω[cc]; see `local_correlation`.

    Args:
        window: Voxels of the window along each axis; odd.
        epsilon: ε.
    """

    def __init__(self, window: int = WINDOW, epsilon: float = VARIANCE_EPSILON) -> None:
        super().__init__()
        self.window, self.epsilon = window, epsilon

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:  # noqa: ARG002
        """Return the loss of a batch (N, 1, *shape)."""
        return Losses(1 - local_correlation(moved, fixed, self.window, self.epsilon))


class MutualInformation(Objective):
    """Negative mutual information; see `mutual_information`.

    Args:
        bins: Bins of each image.
        ratio: Width of the Parzen window as a share of the distance of two bins.
    """

    def __init__(self, bins: int = BINS, ratio: float = 1.0) -> None:
        super().__init__()
        self.bins, self.ratio = bins, ratio

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:  # noqa: ARG002
        """Return the loss of a batch (N, 1, *shape)."""
        return Losses(-mutual_information(moved, fixed, self.bins, self.ratio))


class JointLikelihood(Objective):
    """The (β-)NLL, which trains displacement and variance estimator jointly.

    Args:
        variance_estimator: Maps (moved, fixed) to log σ̂_I².
        beta: β; 0 is the plain NLL.
    """

    def __init__(self, variance_estimator: nn.Module, beta: float = 0.0) -> None:
        super().__init__()
        self.variance_estimator = variance_estimator
        self.beta = beta

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:  # noqa: ARG002
        """Return the loss of a batch (N, 1, *shape); its gradient reaches both estimators."""
        log_variance = self.variance_estimator(moved, fixed)
        weight = ((self.beta - 1) * log_variance.detach()).exp()
        return Losses(gaussian_nll(moved, fixed, log_variance, self.beta), None, log_variance.detach(), weight)


class CollaborativeLoss(Objective):
    """The paper's contribution: two estimators that teach each other without sharing gradients.

    The displacement loss is E_Ω[T((P/⌊σ̂_I²⌋)^γ) · (I_f - Î_f)²], the variance loss the β-NLL of the residual,
    in which the moved image is a constant. One call of the variance estimator serves both, and one backward
    pass over the sum of both losses gives each estimator the gradient of its own loss alone:

        losses = objective(moved, fixed)
        (losses.displacement + 0.01 * smoothness(velocity) + losses.variance).backward()

    Args:
        variance_estimator: Maps (moved, fixed), each (N, 1, *shape) in [0, 1], to log σ̂_I² (N, 1, *shape).
        gamma: γ, the confidence in the noise estimate; chosen on validation pairs, see benchmarks/log.md.
        beta: β of the variance loss.
        normalisation: T. `relative`: mean 1 over the foreground of each image. `balanced`: such that the expected
            data term of each image is as large as with MSE. `reference`: as published.
        signal: P. `fixed`: I_f², as in the paper. `local`: its mean over a window. `none`: 1.

    Examples:
        >>> import torch
        >>> from heteroreg.networks import CoarseVariance
        >>> objective = CollaborativeLoss(CoarseVariance(dims=2))  # the defaults of the method `hetero`
        >>> losses = objective(*torch.rand(2, 1, 1, 32, 32))
        >>> losses.weight.shape, losses.variance.requires_grad
        (torch.Size([1, 1, 32, 32]), True)
    """

    def __init__(
        self,
        variance_estimator: nn.Module,
        gamma: float = 0.25,
        beta: float = 0.5,
        normalisation: Normalisation = "balanced",
        signal: Signal = "none",
    ) -> None:
        super().__init__()
        self.variance_estimator = variance_estimator
        self.gamma = gamma
        self.beta = beta
        self.normalisation = normalisation
        self.signal = signal

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:
        """Return the losses of a batch (N, 1, *shape); `weighted=False` takes weight 1, as in a warm start."""
        still = moved.detach()
        log_variance = self.variance_estimator(still, fixed)
        weight = self.weight(still, fixed, log_variance) if weighted else None
        return Losses(
            displacement=mean_squared_error(moved, fixed, weight),
            variance=gaussian_nll(still, fixed, log_variance, self.beta),
            log_variance=log_variance.detach(),
            weight=weight,
        )

    def weight(self, moved: Tensor, fixed: Tensor, log_variance: Tensor) -> Tensor:
        """Return the weight of each voxel (N, 1, *shape), without gradient."""
        if self.normalisation == "reference":
            return reference_weight(fixed, log_variance, self.gamma)
        power = None
        if self.signal != "none":
            power = fixed.square() if self.signal == "fixed" else local_power(fixed)
        keep: Keep = "mean" if self.normalisation == "relative" else "energy"
        return relative_weight(log_variance, foreground(moved, fixed), self.gamma, power, keep)
