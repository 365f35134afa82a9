"""Divergence of a distribution of velocities from a smooth prior: the regulariser of VoxelMorph-diff.

Dalca, Balakrishnan, Guttag and Sabuncu, "Unsupervised learning of probabilistic diffeomorphic registration for
images and surfaces", MedIA 2019, eq. 9.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from heteroreg.losses.smoothness import smoothness

# σ_I, the standard deviation of the noise that VoxelMorph-diff takes every image to have, of intensities in [0, 1].
IMAGE_SD = 0.02


def grid_degree(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return D, the number of neighbours of each voxel of a grid: 2·d inside, one less for each border it lies at.

    Args:
        shape: Voxels along each of d axes; an axis of one voxel has no neighbours.
        like: Gives type and device.

    Returns:
        (1, 1, *shape).
    """
    degree = like.new_zeros(1, 1, *shape)
    for axis, n in enumerate(shape):
        index = torch.arange(n, device=like.device)
        neighbours = (index > 0).to(like.dtype) + (index < n - 1).to(like.dtype)
        degree = degree + neighbours.view(-1, *[1] * (len(shape) - 1 - axis))
    return degree


def variance_divergence(log_variance: Tensor, smoothness_weight: float) -> Tensor:
    """Return the part of the divergence that concerns the variance: ½·d·mean(λ·D·σ_z² - log σ_z²).

    Least where σ_z² = 1/(λ·D): a stiffer prior allows less spread, most of it at the border.

    Args:
        log_variance: log σ_z² (N, d, *shape) of the velocity, in voxels² of its grid.
        smoothness_weight: λ.

    Returns:
        A scalar.
    """
    dims = log_variance.shape[1]
    degree = grid_degree(log_variance.shape[2:], log_variance)
    return 0.5 * dims * (smoothness_weight * degree * log_variance.exp() - log_variance).mean()


def mean_divergence_weight(dims: int, smoothness_weight: float) -> float:
    """Return the weight of `smoothness` of the mean velocity in the divergence, d·λ/8.

    The divergence has ½·d·λ·½·(mean over the axes of mean((∂μ)²)), and `smoothness` is twice that mean.
    """
    return dims * smoothness_weight / 8


def scaled_variance_divergence(log_variance: Tensor, smoothness: float) -> Tensor:
    """Return `variance_divergence` times σ_I².

    The published loss is MSE/σ_I² + KL. Times σ_I² it has the same optimum, and the learning rate, the clipping of
    the gradient and the size of the loss are those of the other methods.
    """
    return IMAGE_SD**2 * variance_divergence(log_variance, smoothness)


def scaled_mean_weight(dims: int, smoothness: float) -> float:
    """Return `mean_divergence_weight` times σ_I²; see `scaled_variance_divergence`."""
    return IMAGE_SD**2 * mean_divergence_weight(dims, smoothness)


def kullback_leibler(mean: Tensor, log_variance: Tensor, smoothness_weight: float) -> Tensor:
    """Return KL(q‖p) up to a constant, for q = N(μ, diag σ_z²) and a prior p whose precision is λ(D - A).

    D - A is the Laplacian of the voxels' grid, so that the prior asks for smooth velocities alone:

        ½·d·[ mean(λ·D·σ_z² - log σ_z²) + λ·½·mean over the axes of mean((∂μ)²) ]

    Args:
        mean: μ (N, d, *shape), in voxels.
        log_variance: log σ_z², the same shape.
        smoothness_weight: λ.

    Returns:
        A scalar.
    """
    roughness = mean_divergence_weight(mean.shape[1], smoothness_weight) * smoothness(mean)
    return variance_divergence(log_variance, smoothness_weight) + roughness
