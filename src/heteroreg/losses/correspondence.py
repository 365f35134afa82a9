"""AdaCS: squared error weighted by a learned score of correspondence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heteroreg.losses.base import Losses, Objective
from heteroreg.losses.precision import single
from heteroreg.losses.similarity import mean_squared_error
from heteroreg.losses.smoothness import roughness


def scorer_loss(score: Tensor, residual_square: Tensor, alpha: float, smoothing: float | Tensor) -> Tensor:
    """Return E_Ω[Ŝ · r²] + α · E_Ω[(1 - Ŝ)²] + m · ‖∇Ŝ‖².

    The first term takes weight from what does not fit, the second keeps all from losing it. With m = 0 the best
    score is 1 - r²/(2α): a voxel whose residual reaches √(2α) counts nothing. With m, it is that map smoothed
    over about √(m/α) voxels.

    Args:
        score: Ŝ (N, 1, *shape) in [0, 1].
        residual_square: r² = (I_f - Î_f)² (N, 1, *shape).
        alpha: α.
        smoothing: m; ‖∇Ŝ‖² is the mean of squared forward differences, averaged over the axes.

    Returns:
        A scalar.
    """
    return (score * residual_square + alpha * (1 - score).square()).mean() + smoothing * roughness(score)


class AdaCS(Objective):
    """Adaptive correspondence scoring: squared error weighted by a learned score of each voxel.

    The displacement estimator minimises E_Ω[⌊Ŝ⌋ · (I_f - Î_f)²], the scorer its own loss (`scorer_loss`) of the
    residual, in which the moved image is a constant: neither gives the other a gradient. Zhang et al., "Adaptive
    Correspondence Scoring for Unsupervised Medical Image Registration", ECCV 2024, arXiv 2312.00837.

    m, the weight of the score's smoothness, follows the mean residual E|I_f - Î_f| by a running mean: while
    little fits, which is misregistration and no fault of the images, the score has to be smooth; the better
    they match, the finer it may be. This is our reading of the paper's momentum, whose constants are chosen here.

    Args:
        scorer: Maps (moved, fixed), each (N, 1, *shape) in [0, 1], to Ŝ (N, 1, *shape) in [0, 1].
        alpha: α. The default gives a voxel weight 0 where the residual is about a third of the range of
            intensities, and a residual of 0.1, noise, weight 0.9.
        momentum: Share of m that one batch leaves as it was.
        smoothing: m in the beginning.
    """

    smoothing: Tensor

    def __init__(
        self, scorer: nn.Module, alpha: float = 0.05, momentum: float = 0.99, smoothing: float = 0.05
    ) -> None:
        super().__init__()
        self.scorer = scorer
        self.alpha, self.momentum = alpha, momentum
        # A buffer: it belongs to the state from which a training goes on.
        self.register_buffer("smoothing", torch.tensor(smoothing))

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:
        """Return the losses of a batch (N, 1, *shape); `variance` is that of the scorer."""
        still = moved.detach()
        score = self.scorer(still, fixed)
        residual = single(fixed) - single(still)
        if self.training:
            self.smoothing.lerp_(residual.abs().mean().to(self.smoothing.dtype), 1 - self.momentum)
        weight = score.detach() if weighted else None
        return Losses(
            displacement=mean_squared_error(moved, fixed, weight),
            # A copy of m: the next batch changes it in place.
            variance=scorer_loss(score, residual.square(), self.alpha, self.smoothing.clone()),
            weight=weight,
        )
