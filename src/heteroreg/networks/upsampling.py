"""A convolution over upsampled features, at a fraction of the work."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
TRANSPOSED = {2: F.conv_transpose2d, 3: F.conv_transpose3d}
CONVOLVED = {2: F.conv2d, 3: F.conv3d}


def convolve_joined(coarse: Tensor, fine: Tensor, layer: nn.Conv2d | nn.Conv3d) -> Tensor:
    """The convolution of coarse features, upsampled by nearest neighbours, joined with fine ones.

    The same as `layer(cat([interpolate(coarse, scale_factor=2), fine]))` but for rounding. A kernel of width 3
    sees only two coarse voxels along each axis of an upsampled image, so that its weights can be added up
    beforehand: w₃ ↦ w₄(t) = w₃(t) + w₃(t - 1), with which a transposed convolution of stride 2 does the rest.
    That takes (2/3)^d of the multiplications, and neither the upsampled nor the joined features are ever made:
    on CPUs the convolution takes half the time, in 3D with half the memory.

    Args:
        coarse: (N, A, *shape / 2).
        fine: (N, B, *shape).
        layer: A convolution of width 3 and padding 1 that takes A + B features.

    Returns:
        (N, features, *shape).
    """
    dims, inner = coarse.ndim - 2, coarse.shape[1]
    kernel = layer.weight[:, :inner]
    for axis in range(dims):
        before = [0, 0] * (dims - 1 - axis) + [1, 0]
        after = [0, 0] * (dims - 1 - axis) + [0, 1]
        kernel = F.pad(kernel, before) + F.pad(kernel, after)
    # What is transposed has its kernel turned round.
    kernel = kernel.transpose(0, 1).flip(*range(2, dims + 2)).contiguous(memory_format=CHANNELS_LAST[dims])
    result: Tensor = TRANSPOSED[dims](coarse, kernel, stride=2, padding=1)
    return result.add_(CONVOLVED[dims](fine, layer.weight[:, inner:], layer.bias, padding=1))
