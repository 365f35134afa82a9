"""Variance estimators: the noise in each voxel of the residual."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heteroreg.networks.backbone import FEATURES, Backbone
from heteroreg.networks.convolution import POOLINGS, Convolution, convolutions, last, output_layer
from heteroreg.networks.unet import UNet, channels_last, crop_to, pad_to_multiple
from heteroreg.networks.voxelmorph import check_images
from heteroreg.spatial.fields import INTERPOLATION

# A variance outside these bounds means nothing on images in [0, 1], and its inverse would overflow.
MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -14.0, 4.0
HEAD_SD = 1e-5  # initial weights of the last convolution


class UNetMap(nn.Module):
    """Estimator of one value for each voxel of two images: the displacement estimator's U-Net.

    Args:
        dims: 2 or 3.
        initial: The value that it starts from.
        backbone: Maps the two images as channels, (N, 2, *shape), to features (N, C, *shape). Left out, the U-Net.
        features: How many features that are, C.
    """

    def __init__(
        self, dims: int, initial: float, backbone: nn.Module | None = None, features: int = FEATURES
    ) -> None:
        super().__init__()
        self.dims = dims
        self.unet = (
            UNet(dims, final=(32, 16, features)) if backbone is None else Backbone(backbone, features, full=True)
        )
        self.head = output_layer(dims, features, 1, HEAD_SD, initial)

    def values(self, moved: Tensor, fixed: Tensor) -> Tensor:
        """Return (N, 1, *shape) for two images (N, 1, *shape), in the precision of the weights."""
        check_images(moved, fixed, self.dims)
        features = self.unet(torch.cat([moved, fixed], dim=1))
        with torch.autocast(features.device.type, enabled=False):
            values: Tensor = self.head(features.to(self.head.weight.dtype))
            return values


class UNetVariance(UNetMap):
    """The paper's variance estimator h_φ: the displacement estimator's U-Net with one output channel.

    Args:
        dims: 2 or 3.
        initial: Log-variance that it starts from.
        backbone: Another network in the place of the U-Net: maps (N, 2, *shape) to features (N, C, *shape).
        features: How many features that are, C.
    """

    def __init__(
        self, dims: int, initial: float = 0.0, backbone: nn.Module | None = None, features: int = FEATURES
    ) -> None:
        super().__init__(dims, initial, backbone, features)

    def forward(self, moved: Tensor, fixed: Tensor) -> Tensor:
        """Return log σ̂_I² (N, 1, *shape) of the residual between two images (N, 1, *shape)."""
        return _bounded(self.values(moved, fixed))


class CoarseVariance(nn.Module):
    """A variance estimator with a coarse map.

    The residual that it learns from holds misregistration as well as noise. Misregistration is sharp in space
    and noise levels mostly are not: predicted on a coarse grid, the variance follows the noise, and the
    weights do not turn training away from the very edges that still have to move. Three convolutions with
    pooling and a linear interpolation: it costs a fraction of the U-Net.

    Args:
        dims: 2 or 3.
        levels: Poolings; the log-variance has 1/2^levels of the resolution.
        initial: Log-variance that it starts from; -4 is a standard deviation of 0.14 on images in [0, 1].
    """

    def __init__(self, dims: int, levels: int = 3, initial: float = -4.0) -> None:
        super().__init__()
        self.dims = dims
        self.levels = levels
        self.layers = nn.ModuleList(
            Convolution(dims, before, after) for before, after in ((2, 16), (16, 32), (32, 32))
        )
        self.head = output_layer(dims, 32, 1, HEAD_SD, initial)
        channels_last(self, dims)

    def forward(self, moved: Tensor, fixed: Tensor) -> Tensor:
        """Return log σ̂_I² (N, 1, *shape) of the residual between two images (N, 1, *shape)."""
        check_images(moved, fixed, self.dims)
        shape = moved.shape[2:]
        features = pad_to_multiple(torch.cat([moved, fixed], dim=1), 2**self.levels)
        padded = features.shape[2:]
        features = last(features)
        for level in range(self.levels):
            if level < len(self.layers):
                features = convolutions(self.layers)[level].pooled(features)
            else:
                features = POOLINGS[self.dims](features, 2)
        for layer in self.layers[self.levels :]:
            features = layer(features)
        with torch.autocast(features.device.type, enabled=False):
            coarse = self.head(features.to(self.head.weight.dtype))
            fine = F.interpolate(coarse, size=padded, mode=INTERPOLATION[self.dims], align_corners=False)
            return _bounded(crop_to(fine, shape))


def _bounded(log_variance: Tensor) -> Tensor:
    return log_variance.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)
