"""TransMorph: the paper's second displacement estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heteroreg.networks.base import DisplacementNetwork
from heteroreg.networks.convolution import CONVOLUTIONS, exact_if_small, output_layer
from heteroreg.networks.displacement import Displacement, sample_of
from heteroreg.networks.swin import Swin
from heteroreg.networks.unet import channels_last, crop_to, pad_to_multiple
from heteroreg.networks.voxelmorph import check_images, log_variance_head
from heteroreg.spatial import smooth
from heteroreg.spatial.fields import INTERPOLATION

MEANS = {2: F.avg_pool2d, 3: F.avg_pool3d}
FULL = 16  # features at full resolution, which the published head takes


class NormalisedConvolution(nn.Module):
    """A convolution of width 3 that keeps the shape, instance normalisation and LeakyReLU 0.01.

    The normalisation takes away what a bias would add: the convolution has none.

    Args:
        dims: 2 or 3.
        inputs: Features that it takes.
        outputs: Features that it gives.
    """

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.convolution = CONVOLUTIONS[dims](inputs, outputs, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, outputs, *shape) of features (N, inputs, *shape), of two voxels or more."""
        with exact_if_small(features.shape[2:], features.device):
            convolved = self.convolution(features)
        with torch.autocast(features.device.type, enabled=False):
            # One feature in each group, which is instance normalisation, in whatever layout the features have.
            normed = F.group_norm(convolved.to(self.convolution.weight.dtype), self.outputs)
            return F.leaky_relu(normed, 0.01)


class Upward(nn.Module):
    """A step of the decoder: twice the resolution by linear interpolation, a skip joined, two convolutions.

    Args:
        dims: 2 or 3.
        inputs: Features from below.
        outputs: Features of the skip, and those that it gives.
    """

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mode = INTERPOLATION[dims]
        self.layers = nn.Sequential(
            NormalisedConvolution(dims, inputs + outputs, outputs), NormalisedConvolution(dims, outputs, outputs)
        )

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Return (N, outputs, *shape) of features (N, inputs, *shape / 2) and a skip (N, outputs, *shape)."""
        upsampled = F.interpolate(features, size=skip.shape[2:], mode=self.mode, align_corners=False)
        result: Tensor = self.layers(torch.cat([upsampled, skip], dim=1))
        return result


class TransMorph(DisplacementNetwork):
    """A Swin transformer with a convolutional decoder, at the paper's size.

    Chen et al., *TransMorph: Transformer for unsupervised medical image registration*, MedIA 2022. The transformer
    sees both images in patches of 4 voxels; two convolutions see them at full and half resolution. Images of any
    size are padded at the far ends to a multiple of the coarsest token by repeating the edge. 31.0 M parameters
    in 2D, 46.9 M in 3D.

    As published, the output is the displacement itself, and its negative the backward one, which is no inverse:
    that is `int_steps=0`. Otherwise the output is a velocity, halved in resolution and integrated both ways as in
    `VoxelMorph`. The roughness of either is in voxels per voxel of its own grid: λ means the same.

    Args:
        dims: 2 or 3.
        int_steps: Squarings; 0 takes the output as the displacement.
        head_sd: Standard deviation of the initial weights of the last convolution, 1e-5 in the paper.
        uncertain: A second head estimates log σ_z² of the output, as in `VoxelMorph`.
        correlation: Over how many voxels of the output the noise of a sample is alike.
        kernel: SD of the Gaussian that smooths the output, in its voxels.
    """

    embed: ClassVar[int] = 96
    depths: ClassVar[Sequence[int]] = (2, 2, 4, 2)
    heads: ClassVar[Sequence[int]] = (4, 4, 8, 8)
    window: ClassVar[Mapping[int, int]] = {2: 8, 3: 8}
    drop_path: ClassVar[float] = 0.3
    coarse: ClassVar[bool] = False

    def __init__(
        self,
        dims: int,
        int_steps: int = 7,
        head_sd: float = 1e-5,
        uncertain: bool = False,
        correlation: float = 0.0,
        kernel: float = 0.0,
    ) -> None:
        super().__init__(dims, int_steps, correlation, kernel)
        self.encoder = Swin(dims, 2, 4, self.embed, self.depths, self.heads, self.window[dims], self.drop_path)
        # The skips that the convolutions give, from the coarsest.
        convolved = [self.embed // 2] if self.coarse else [self.embed // 2, FULL]
        self.skips = nn.ModuleList(NormalisedConvolution(dims, 2, width) for width in convolved)
        # A skip has as many features as what comes out beside it.
        widths = [*reversed(self.encoder.features), *convolved]
        self.decoder = nn.ModuleList(Upward(dims, below, above) for below, above in pairwise(widths))
        self.head = output_layer(dims, widths[-1], dims, head_sd)
        self.log_variance_head = log_variance_head(dims, widths[-1]) if uncertain else None
        channels_last(self, dims)

    def forward(self, moving: Tensor, fixed: Tensor) -> Displacement:
        """Return the displacement between two images (N, 1, *shape), scaled to [0, 1], at least 16 voxels an axis.

        Raises:
            ValueError: The images differ in shape or are smaller.
        """
        check_images(moving, fixed, self.dims)
        shape = moving.shape[2:]
        features = self._features(torch.cat([moving, fixed], dim=1))
        # Positions need more digits than bf16 has: from here on float32, whatever the rest ran in.
        with torch.autocast(features.device.type, enabled=False):
            output = self.head(features)
            log_variance = None if self.log_variance_head is None else self.log_variance_head(features)
            if self.int_steps or self.coarse:
                return self._displacement(output, shape, log_variance)
            drawn = output = smooth(output, self.kernel)
            if log_variance is not None and self.training:
                drawn = sample_of(output, log_variance, self.correlation)
            return Displacement(output, drawn, -drawn, log_variance)

    def _features(self, images: Tensor) -> Tensor:
        """Return features (N, C, *shape), or half of the shape rounded up, of images (N, 2, *shape)."""
        shape = [(n + 1) // 2 if self.coarse else n for n in images.shape[2:]]
        images = pad_to_multiple(images, self.encoder.multiple)
        features, *skips = reversed(self.encoder(images))
        inputs = [MEANS[self.dims](images, 2), images]
        seen = inputs[: len(self.skips)]  # the coarse network takes the first alone
        skips += [layer(sight) for layer, sight in zip(self.skips, seen, strict=True)]
        for layer, skip in zip(self.decoder, skips, strict=True):
            features = layer(features, skip)
        return crop_to(features, shape)


class SmallTransMorph(TransMorph):
    """TransMorph that two cores can train: fewer stages, blocks and features, ending at half the resolution.

    The velocity has half the resolution anyway, and the convolutions at the full one take more time than all the
    rest. 0.8 M parameters in 2D, 1.2 M in 3D.
    """

    embed = 32
    depths = (2, 2, 2)
    heads = (2, 4, 8)
    window: ClassVar[Mapping[int, int]] = {2: 8, 3: 4}
    drop_path = 0.1
    coarse = True
