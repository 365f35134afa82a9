"""How unlike two images are."""

from __future__ import annotations

from torch import Tensor


def mean_squared_error(moved: Tensor, fixed: Tensor, weight: Tensor | None = None) -> Tensor:
    """E_Ω[w · (I_f - Î_f)²], the mean over all voxels of all images.

    Args:
        moved: Î_f (N, 1, *shape).
        fixed: I_f (N, 1, *shape).
        weight: w (N, 1, *shape); 1 where it is left out.

    Returns:
        A scalar.
    """
    error = (fixed - moved).square()
    return error.mean() if weight is None else (weight * error).mean()
