"""Local normalised cross-correlation: images are similar if they are linearly related in every small window."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heteroreg.losses.precision import single

WINDOW = 9
VARIANCE_EPSILON = 1e-5


def local_correlation(
    moved: Tensor, fixed: Tensor, window: int = WINDOW, epsilon: float = VARIANCE_EPSILON
) -> Tensor:
    """Return E_Ω[cc], the mean of the squared local correlation, in [0, 1].

    With sums over the window about x, and the means taken over the same window,

        cc(x) = (Σ(Î_f - mean Î_f)(I_f - mean I_f))² / (Σ(Î_f - mean Î_f)² · Σ(I_f - mean I_f)² + ε)

    (Balakrishnan et al., VoxelMorph, TMI 2019, eq. 6; ε as in its implementation, on the sums.) At the border a
    window ends with the image: sums and means are over the voxels inside, so that adding a constant to an image
    or scaling it changes nothing there either. Where an image is constant, cc is 0.

    Args:
        moved: Î_f (N, 1, *shape).
        fixed: I_f (N, 1, *shape).
        window: Voxels of the window along each axis; odd.
        epsilon: ε, which keeps flat windows from dividing by 0.

    Returns:
        A scalar.
    """
    with torch.autocast(moved.device.type, enabled=False):
        moved, fixed = single(moved), single(fixed)
        inside = box_sum(moved.new_ones(1, 1, *moved.shape[2:]), window)
        # Two calls: what belongs to the fixed image alone needs no gradient.
        moved_sum, moved_square, product = box_sum(
            torch.cat([moved, moved.square(), moved * fixed], dim=1), window
        ).split(1, dim=1)
        fixed_sum, fixed_square = box_sum(torch.cat([fixed, fixed.square()], dim=1), window).split(1, dim=1)
        fixed_mean = fixed_sum / inside
        covariance = product - moved_sum * fixed_mean
        # Rounding can make the variance of a flat window negative.
        moved_variance = (moved_square - moved_sum.square() / inside).clamp(min=0)
        fixed_variance = (fixed_square - fixed_sum * fixed_mean).clamp(min=0)
        correlation: Tensor = covariance.square() / (moved_variance * fixed_variance + epsilon)
        return correlation.mean()


def box_sum(images: Tensor, window: int) -> Tensor:
    """Return the sum over a window about each voxel; voxels outside the image count as 0.

    One axis after the other, each a product with a matrix that has ones in a band about its diagonal: matrix
    products are so fast that this takes a third of the time of pooling, at sizes up to some hundred voxels.

    Args:
        images: (N, C, *shape).
        window: Voxels of the window along each axis; odd.

    Returns:
        (N, C, *shape).
    """
    shape = images.shape
    for axis in range(2, len(shape)):
        index = torch.arange(shape[axis], device=images.device)
        band = ((index[:, None] - index).abs() <= window // 2).to(images.dtype)
        after = math.prod(shape[axis + 1 :])
        if axis == len(shape) - 1:
            images = images @ band
        else:
            images = (band @ images.reshape(-1, shape[axis], after)).reshape(shape)
    return images
