"""VoxelMorph: the paper's first displacement estimator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heteroreg.networks.backbone import FEATURES, Backbone
from heteroreg.networks.base import DisplacementNetwork
from heteroreg.networks.convolution import output_layer
from heteroreg.networks.displacement import Displacement
from heteroreg.networks.unet import UNet

# Where the estimate of log σ_z² begins.
LOG_VARIANCE_SD, LOG_VARIANCE_BIAS = 1e-10, -10.0


class VoxelMorph(DisplacementNetwork):
    """A stationary velocity field from a U-Net, integrated to a displacement and its inverse.

    The velocity is halved in resolution, integrated by scaling and squaring and brought back (Dalca et al.,
    MedIA 2019). 109 k parameters in 2D, 327 k in 3D. Any other network can take the place of the U-Net:

        backbone = monai.networks.nets.BasicUNet(spatial_dims=2, in_channels=2, out_channels=16)
        network = VoxelMorph(dims=2, backbone=backbone)

    Args:
        dims: 2 or 3.
        int_steps: Squarings; 0 takes the velocity as the displacement (the backward one is then its negative,
            not its inverse).
        head_sd: Standard deviation of the initial weights of the last convolution. The paper has 1e-5;
            a network that starts further from the identity converges sooner.
        uncertain: A second head estimates log σ_z² of the velocity. In training the displacement is then that of
            one sample of N(velocity, σ_z²), otherwise that of the mean.
        correlation: Over how many voxels of the velocity the noise of a sample is alike; see `correlated`.
        backbone: Maps the two images as channels, (N, 2, *shape), to features (N, C, *grid), on a grid of any
            resolution; what sizes it takes is its own affair. Left out, the U-Net of VoxelMorph.
        features: How many features that are, C.
        kernel: SD of the Gaussian that smooths the velocity, in its voxels.
    """

    coarse = False

    def __init__(
        self,
        dims: int,
        int_steps: int = 7,
        head_sd: float = 1e-5,
        uncertain: bool = False,
        correlation: float = 0.0,
        backbone: nn.Module | None = None,
        features: int = FEATURES,
        kernel: float = 0.0,
    ) -> None:
        super().__init__(dims, int_steps, correlation, kernel)
        # By the name that the checkpoints know, whatever it is.
        self.unet = (
            UNet(dims, final=(32, 16, features), coarse=self.coarse)
            if backbone is None
            else Backbone(backbone, features)
        )
        self.head = output_layer(dims, features, dims, head_sd)
        self.log_variance_head = log_variance_head(dims, features) if uncertain else None

    def forward(self, moving: Tensor, fixed: Tensor) -> Displacement:
        """Return the displacement between two images (N, 1, *shape), scaled to [0, 1], at least 16 voxels an axis.

        Raises:
            ValueError: The images differ in shape or are smaller, or the backbone gives other features.
        """
        check_images(moving, fixed, self.dims)
        features = self.unet(torch.cat([moving, fixed], dim=1))
        # Positions need more digits than bf16 has: from here on float32, whatever the features are in.
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.head.weight.dtype)
            log_variance = None if self.log_variance_head is None else self.log_variance_head(features)
            return self._displacement(self.head(features), moving.shape[2:], log_variance)


class HalfVoxelMorph(VoxelMorph):
    """VoxelMorph whose last convolutions have half the resolution, which the velocity has anyway.

    The same layers, but for the features of full resolution, which are not joined: 105 k parameters in 2D,
    314 k in 3D.
    """

    coarse = True


def log_variance_head(dims: int, features: int) -> nn.Module:
    """Return the convolution that estimates log σ_z² (N, d, *shape) of a velocity from features.

    It begins with next to no variance: weights N(0, 1e-10), bias -10 (Dalca et al., MedIA 2019).
    """
    return output_layer(dims, features, dims, LOG_VARIANCE_SD, LOG_VARIANCE_BIAS)


def check_images(first: Tensor, second: Tensor, dims: int) -> None:
    """Raise ValueError unless both are (N, 1, *shape) of one shape with `dims` axes of 16 voxels or more."""
    if first.shape != second.shape or first.ndim != dims + 2 or first.shape[1] != 1 or min(first.shape[2:]) < 16:
        raise ValueError(
            f"expected two images (N, 1, *shape) of one shape, with {dims} axes of at least 16 voxels; "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
