"""Gaussian smoothing."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW_SDS = 3.0  # from the centre of the window to its end, in SDs


def smooth(values: Tensor, sd: float) -> Tensor:
    """Convolve with a Gaussian along each axis of space; the edges are repeated outside.

    Args:
        values: (N, C, *shape).
        sd: SD of the Gaussian in voxels; 0 returns the values as they are.

    Examples:
        >>> spike = torch.zeros(1, 1, 9, 9)
        >>> spike[..., 4, 4] = 1
        >>> round(float(smooth(spike, 1.0).sum()), 4), round(float(smooth(spike, 1.0).max()), 3)
        (1.0, 0.159)
    """
    if sd == 0:
        return values
    dims = values.ndim - 2
    convolve = F.conv2d if dims == 2 else F.conv3d
    reach = math.ceil(WINDOW_SDS * sd)
    places = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    window = torch.exp(-0.5 * (places / sd).square())
    window = window / window.sum()
    shape = values.shape
    found = values.flatten(0, 1)[:, None]
    for axis in range(dims):
        pads = [reach if k == axis else 0 for k in reversed(range(dims)) for _ in range(2)]
        length = [-1 if k == axis else 1 for k in range(dims)]
        found = convolve(F.pad(found, pads, mode="replicate"), window.view(1, 1, *length))
    return found.view(shape)
