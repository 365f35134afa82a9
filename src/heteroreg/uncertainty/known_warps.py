"""Pairs with a known displacement, made of the images of a real pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from heteroreg.spatial import integrate, resize_displacement, warp
from heteroreg.spatial.fields import compose
from heteroreg.system.arrays import Floats
from heteroreg.training.occlusion import occlude

# Widths of the random velocities in voxels of the image, and their largest SD as a share of the width.
WIDTHS, STEEPEST = (6.0, 12.0, 24.0), 0.2
LARGEST_SHARE = 1.2  # of the pair's own displacement
LARGEST_RESIDUAL = 1.3  # factor of another pair's residual
GAMMA, GAMMAS = 0.3, (0.7, 1.4)  # share of the pairs with another contrast; range of the exponent
PATCHED, PATCHES = 0.3, 1.0  # share of the pairs with patches; mean number of patches
INT_STEPS = 7


@dataclass(frozen=True)
class KnownPair:
    """A fixed image made of a moving one by a known displacement.

    Attributes:
        fixed: (N, *shape) in [0, 1], the slices of a stack or one volume.
        displacement: u* (N, d, *shape) in voxels: fixed(x) is moving(x + u*(x)) with a mismatch.
    """

    fixed: Floats
    displacement: Floats


def known_pair(
    moving: Floats, displacement: Floats, residuals: Floats, random: np.random.Generator, strength: float = 1.0
) -> KnownPair:
    """Make a fixed image of which the displacement is known.

    The displacement is u* = (s·û) ∘ exp(w): a share s in [0, 1.2] of the pair's own displacement û after a smooth
    random one. The fixed image is moving(x + u*(x)) + r, where r is the residual of another pair, so that the
    mismatch of the images is that of real pairs. Some get another contrast or patches as well. (Eppenhof & Pluim,
    2018, learn the error of a registration from known warps.)

    Args:
        moving: (N, *shape) in [0, 1].
        displacement: û (N, d, *shape) in voxels.
        residuals: fixed - moved of other pairs (M, *shape).
        random: The source of randomness.
        strength: Factor of the random warps; 1 moves a voxel by some 2 voxels.
    """
    dims, count = moving.ndim - 1, len(moving)
    images = torch.from_numpy(np.ascontiguousarray(moving))[:, None]
    own = torch.from_numpy(np.ascontiguousarray(displacement)) * float(random.uniform(0, LARGEST_SHARE))
    u = compose(own, random_displacement(moving.shape[1:], count, random, strength))
    fixed = warp(images, u)
    if random.random() < GAMMA:
        fixed = fixed.clamp(0, 1) ** float(random.uniform(*GAMMAS))
    fixed = fixed + torch.from_numpy(_residual(residuals, count, dims, random))[:, None]
    fixed = fixed.clamp(0, 1)
    if random.random() < PATCHED:
        fixed = occlude(fixed, PATCHES, int(random.integers(2**31)), 0)
    return KnownPair(fixed[:, 0].numpy(), u.numpy())


def random_displacement(
    shape: Sequence[int], count: int, random: np.random.Generator, strength: float = 1.0
) -> Tensor:
    """Return smooth random diffeomorphisms (N, d, *shape) in voxels, alike in neighbouring slices.

    Args:
        shape: Voxels along each axis.
        count: N: the slices of a stack, or 1.
        random: The source of randomness.
        strength: Factor of their SD.
    """
    dims, coarse = len(shape), [(n + 1) // 2 for n in shape]
    velocity = np.zeros((count, dims, *coarse), dtype=np.float32)
    for width in WIDTHS:
        noise = random.standard_normal((count, dims, *coarse)).astype(np.float32)
        smooth = ndimage.gaussian_filter(noise, (1.5 if count > 1 else 0, 0, *[width / 2] * dims), mode="wrap")
        sd = float(smooth.std()) or 1.0
        velocity += smooth / sd * np.float32(strength * random.uniform(0, STEEPEST * width / 2))
    return resize_displacement(integrate(torch.from_numpy(velocity), INT_STEPS), shape)


def _residual(residuals: Floats, count: int, dims: int, random: np.random.Generator) -> Floats:
    """Draw the residual of another pair, flipped at random and scaled."""
    first = int(random.integers(len(residuals)))
    chosen = residuals[(first + np.arange(count)) % len(residuals)]
    axes = tuple(axis + 1 for axis in range(dims) if random.random() < 0.5)
    drawn = np.flip(chosen, axes) * np.float32(random.uniform(0, LARGEST_RESIDUAL))
    return np.ascontiguousarray(drawn, dtype=np.float32)
