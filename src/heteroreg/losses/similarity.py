"""Squared and robust error between two images."""

from __future__ import annotations

from torch import Tensor


def mean_squared_error(moved: Tensor, fixed: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return E_Ω[w · (I_f - Î_f)²], the mean over all voxels of all images.

    Args:
        moved: Î_f (N, 1, *shape).
        fixed: I_f (N, 1, *shape).
        weight: w (N, 1, *shape); 1 by default.

    Returns:
        A scalar.
    """
    error = (fixed - moved).square()
    return error.mean() if weight is None else (weight * error).mean()


def charbonnier(moved: Tensor, fixed: Tensor, scale: float = 0.1) -> Tensor:
    """Return E_Ω[2ε²(√(1 + (I_f - Î_f)²/ε²) - 1)]: squared error near 0, absolute error far from it.

    Where the residual is much smaller than ε it is the squared error, so that λ means about the same; beyond, it
    grows as 2ε|I_f - Î_f|, and what does not fit at all pulls no more than what is off by ε (Charbonnier et al.,
    IEEE Trans. Image Process. 1997).

    Args:
        moved: Î_f (N, 1, *shape).
        fixed: I_f (N, 1, *shape).
        scale: ε.

    Returns:
        A scalar.
    """
    ratio = ((fixed - moved) / scale).square()
    # √(1 + q) - 1 without the cancellation of nearly equal numbers where q is small.
    return 2 * scale**2 * (ratio / (1 + (1 + ratio).sqrt())).mean()
