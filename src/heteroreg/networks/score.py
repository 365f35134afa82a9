"""A scorer: how far does each voxel have a counterpart in the other image?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heteroreg.networks.convolution import output_layer
from heteroreg.networks.unet import UNet
from heteroreg.networks.variance import HEAD_SD
from heteroreg.networks.voxelmorph import check_images


class UNetScore(nn.Module):
    """The scorer of AdaCS: the U-Net of the variance estimator with a sigmoid.

    Args:
        dims: 2 or 3.
        initial: Logit of the score that it starts from; 2 is a score of 0.88.
    """

    def __init__(self, dims: int, initial: float = 2.0) -> None:
        super().__init__()
        self.dims = dims
        self.unet = UNet(dims)
        self.head = output_layer(dims, self.unet.features, 1, HEAD_SD, initial)

    def forward(self, moved: Tensor, fixed: Tensor) -> Tensor:
        """Ŝ (N, 1, *shape) in [0, 1] of two images (N, 1, *shape)."""
        check_images(moved, fixed, self.dims)
        features = self.unet(torch.cat([moved, fixed], dim=1))
        with torch.autocast(features.device.type, enabled=False):
            return torch.sigmoid(self.head(features.to(self.head.weight.dtype)))
