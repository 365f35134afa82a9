"""VoxelMorph: the paper's first displacement estimator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from heteroreg.networks.convolution import CONVOLUTIONS
from heteroreg.networks.displacement import Displacement
from heteroreg.networks.unet import UNet
from heteroreg.spatial import integrate, resize_displacement


class VoxelMorph(nn.Module):
    """A stationary velocity field from a U-Net, integrated to a displacement and its inverse.

    The velocity is halved in resolution, integrated by scaling and squaring and brought back (Dalca et al.,
    MedIA 2019). 109 k parameters in 2D, 327 k in 3D.

    Args:
        dims: 2 or 3.
        int_steps: Squarings; 0 takes the velocity as the displacement (the backward one is then its negative,
            not its inverse).
        head_sd: Standard deviation of the initial weights of the last convolution. The paper has 1e-5;
            a network that starts further from the identity converges sooner.
    """

    coarse = False

    def __init__(self, dims: int, int_steps: int = 7, head_sd: float = 1e-5) -> None:
        super().__init__()
        self.dims = dims
        self.int_steps = int_steps
        self.unet = UNet(dims, coarse=self.coarse)
        self.head = CONVOLUTIONS[dims](self.unet.features, dims, 3, padding=1)
        nn.init.normal_(self.head.weight, std=head_sd)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, moving: Tensor, fixed: Tensor) -> Displacement:
        """The displacement between two images (N, 1, *shape), scaled to [0, 1], at least 16 voxels an axis.

        Raises:
            ValueError: The images differ in shape or are smaller.
        """
        check_images(moving, fixed, self.dims)
        features = self.unet(torch.cat([moving, fixed], dim=1))
        # Positions need more digits than bf16 has: from here on float32, whatever the U-Net ran in.
        with torch.autocast(features.device.type, enabled=False):
            velocity = self.head(features.to(self.head.weight.dtype))
            return displacement_of(velocity, moving.shape[2:], self.int_steps)


class HalfVoxelMorph(VoxelMorph):
    """VoxelMorph whose last convolutions have half the resolution, which the velocity has anyway.

    The same layers, but for the features of full resolution, which are not joined: 105 k parameters in 2D,
    314 k in 3D.
    """

    coarse = True


def displacement_of(velocity: Tensor, shape: Sequence[int], int_steps: int) -> Displacement:
    """Halves a velocity, unless it is so coarse already, integrates it both ways, and brings it to full resolution.

    Args:
        velocity: (N, d, *any) in voxels of its own grid.
        shape: The full resolution.
        int_steps: Squarings.
    """
    coarse = resize_displacement(velocity, [(n + 1) // 2 for n in shape])
    # One pass for both directions: the integral of -v is the inverse of that of v.
    both = resize_displacement(integrate(torch.cat([coarse, -coarse]), int_steps), shape)
    forward, backward = both.chunk(2)
    return Displacement(velocity=coarse, forward=forward, backward=backward)


def check_images(first: Tensor, second: Tensor, dims: int) -> None:
    """Raises ValueError unless both are (N, 1, *shape) of one shape with `dims` axes of 16 voxels or more."""
    if first.shape != second.shape or first.ndim != dims + 2 or first.shape[1] != 1 or min(first.shape[2:]) < 16:
        raise ValueError(
            f"expected two images (N, 1, *shape) of one shape, with {dims} axes of at least 16 voxels; "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
