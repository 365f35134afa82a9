"""Regulariser of the displacement variance."""

from __future__ import annotations

from torch import Tensor


def spread_penalty(log_variance: Tensor, alpha: float) -> Tensor:
    """Return α·E[σ_z² - log σ_z²], the term that the paper adds to the displacement loss (its σ_z variant).

    By itself least where σ_z² = 1. The data term, computed on a sample, grows with the variance wherever the images
    tell the displacement. The balance of both is the estimate: σ_z² = α/(α + c) where the data term grows by
    c·σ_z².

    Args:
        log_variance: log σ_z² (N, d, *shape) of the velocity, in voxels² of its grid.
        alpha: α.

    Returns:
        A scalar.
    """
    return alpha * (log_variance.exp() - log_variance).mean()
