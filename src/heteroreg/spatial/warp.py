"""Sampling images at displaced positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Interpolation = Literal["linear", "nearest"]
Outside = Literal["border", "zeros"]


def identity(shape: Sequence[int], like: Tensor, layers: slice | None = None) -> Tensor:
    """Return the position of every voxel: (1, d, *shape), channel i holds the index along axis i.

    Args:
        shape: Shape of the volume.
        like: A tensor with the type and the device to use.
        layers: The positions of these layers along the last axis alone.
    """
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    if layers is not None:
        axes[-1] = axes[-1][layers]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def sample(image: Tensor, positions: Tensor, mode: Interpolation = "linear", outside: Outside = "border") -> Tensor:
    """Sample an image at given positions.

    Args:
        image: (N, C, *shape).
        positions: (N, d, *out) in voxels of the image, channel i along axis i; N may be 1 on either side.
        mode: Linear interpolation, or the nearest voxel.
        outside: Values beyond the image. `border`: the nearest voxel of its edge. `zeros`: 0 from half a voxel
            beyond the centres of the outer voxels, where an image ends in ITK.

    Returns:
        (N, C, *out); NaN where a position is NaN.

    Raises:
        ValueError: The positions do not have one channel for each axis.
    """
    shape = image.shape[2:]
    if positions.shape[1] != len(shape):
        raise ValueError(
            f"positions need {len(shape)} channels, one for each axis of the image {tuple(shape)}; "
            f"got {tuple(positions.shape)}"
        )
    axes = [positions[:, i] * unit(n) - 1 for i, n in enumerate(shape)]
    values = _interpolate(image, axes, mode)
    if outside == "zeros":
        for i, n in enumerate(shape):
            position = positions[:, i : i + 1]
            values = values * ((position >= -0.5) & (position <= n - 0.5))
    return values


def warp(
    image: Tensor, displacement: Tensor, mode: Interpolation = "linear", outside: Outside = "border"
) -> Tensor:
    """Warp an image by a displacement: moved(x) = image(x + u(x)).

    Args:
        image: (N, C, *shape).
        displacement: u (N, d, *shape) in voxels.
        mode: As in `sample`.
        outside: As in `sample`.

    Returns:
        The moved image (N, C, *shape).
    """
    shape = image.shape[2:]
    if outside == "zeros" or displacement.shape[1] != len(shape):
        return sample(image, identity(displacement.shape[2:], displacement) + displacement, mode, outside)
    # Identity and displacement in one pass, in the units of the sampling.
    starts = corners(displacement.shape[2:], shape, displacement)
    axes = [torch.add(starts[i], displacement[:, i], alpha=unit(n)) for i, n in enumerate(shape)]
    return _interpolate(image, axes, mode)


def unit(voxels: int) -> float:
    """Return the length of a voxel in the units of `grid_sample` with align_corners=True.

    An axis reaches from -1, the centre of its first voxel, to 1, that of its last one. An axis of one voxel has
    only the position 0.
    """
    return 2 / max(voxels - 1, 1)


def corners(shape: Sequence[int], of: Sequence[int], like: Tensor) -> list[Tensor]:
    """Return the positions of the voxels of `shape` along each axis, in the units of an image of shape `of`.

    Returns:
        For each axis a tensor that broadcasts to (N, *shape).
    """
    dims = len(shape)
    return [
        (torch.arange(n, dtype=like.dtype, device=like.device) * unit(m) - 1).view(-1, *[1] * (dims - 1 - i))
        for i, (n, m) in enumerate(zip(shape, of, strict=True))
    ]


def _interpolate(image: Tensor, axes: Sequence[Tensor], mode: Interpolation) -> Tensor:
    """Sample an image at positions given by axis, each (N, *out) in units of `unit`, as (N, C, *out)."""
    grid = torch.stack(list(reversed(axes)), dim=1)  # grid_sample wants the last axis first
    batch = max(image.shape[0], grid.shape[0])
    # A diverged training has NaN positions, where PyTorch's backward pass in 2D reads invalid memory.
    lost = grid.isnan().any(1, keepdim=True)
    grid = grid.masked_fill(lost, 0).expand(batch, *grid.shape[1:]).movedim(1, -1)
    name = "bilinear" if mode == "linear" else "nearest"
    values = F.grid_sample(
        image.expand(batch, *image.shape[1:]),
        grid.to(image.dtype),
        mode=name,
        padding_mode="border",
        align_corners=True,
    )
    return values.masked_fill(lost, torch.nan)


def warp_labels(labels: Tensor, displacement: Tensor) -> Tensor:
    """Warp a label map: each label's mask is warped linearly, and the strongest label wins.

    The edges are smoother than with the nearest voxel, and no new labels arise as by interpolating their numbers.
    Beyond the label map is label 0. Labels are warped one at a time, so memory does not grow with their number.

    Args:
        labels: Whole numbers (N, 1, *shape).
        displacement: (N, d, *shape) in voxels.

    Returns:
        The moved label map (N, 1, *shape), of the type that `labels` has.
    """
    return sample_labels(labels, identity(displacement.shape[2:], displacement) + displacement)


def sample_labels(labels: Tensor, positions: Tensor) -> Tensor:
    """Sample a label map as `warp_labels` does, at positions (N, d, *out) in its voxels."""
    best = torch.zeros_like(positions[:, :1])  # label 0, until one has a larger share
    result = best.to(labels.dtype)
    for label in torch.unique(labels):
        mask = (labels == label).to(positions.dtype)
        share = sample(mask, positions, outside="zeros")  # 0 beyond for every label: that stays background
        result = torch.where(share > best, label, result)
        best = torch.maximum(share, best)
    return result
