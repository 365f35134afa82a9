"""A coarse-to-fine estimator: the velocity is refined from level to level of two feature pyramids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from heteroreg.networks.base import DisplacementNetwork
from heteroreg.networks.convolution import Convolution, last, output_layer
from heteroreg.networks.displacement import Displacement
from heteroreg.networks.unet import channels_last
from heteroreg.networks.voxelmorph import check_images, log_variance_head
from heteroreg.spatial import integrate, resize_displacement, warp

# Features of the levels from half the resolution downwards, by dimension.
PYRAMID_LEVELS: dict[int, tuple[int, ...]] = {2: (32, 32, 32, 32), 3: (16, 32, 32)}
# Squarings between levels, where the velocity is small or its integral is corrected by the next level.
LEVEL_STEPS = 4


class Pyramid(DisplacementNetwork):
    """A stationary velocity field, estimated from coarse to fine.

    One encoder sees each image alone, and gives features f_m and f_f at 1/2, 1/4, … of the resolution. From the
    coarsest level on, each level warps the moving features by the velocity so far and corrects it:

        v ← resize(v) + D(f_m ∘ exp(resize(v)), f_f, resize(v)),

    with two convolutions and a head D of its own. The last velocity has half the resolution, as that of VoxelMorph,
    so that the smoothness, the integration and the inverse mean the same. Large motion is found where it is a
    fraction of a voxel; fine levels only correct. 185 k parameters in 2D, 348 k in 3D. After feature pyramids such
    as PWC-Net (Sun et al., CVPR 2018) and RDP (Wang et al., IEEE TMI 2024).

    Args:
        dims: 2 or 3.
        int_steps: Squarings; 0 takes the velocity as the displacement.
        head_sd: Standard deviation of the initial weights of the heads.
        uncertain: A head of the last level estimates log σ_z² of the velocity, as in `VoxelMorph`.
        correlation: As in `VoxelMorph`.
        levels: Features of the levels, from half the resolution downwards; `PYRAMID_LEVELS` by default.
        first: Features at the full resolution, before the first level.
        decoder: Features of the two convolutions of each level.
        kernel: SD of the Gaussian that smooths the last velocity, in its voxels.
        passes: How often it goes through all levels; each pass begins with the velocity of the one before.
    """

    biased_heads = True

    def __init__(
        self,
        dims: int,
        int_steps: int = 7,
        head_sd: float = 1e-3,
        uncertain: bool = False,
        correlation: float = 0.0,
        levels: Sequence[int] | None = None,
        first: int = 16,
        decoder: int = 32,
        kernel: float = 0.0,
        passes: int = 1,
    ) -> None:
        super().__init__(dims, int_steps, correlation, kernel)
        self.passes = passes
        levels = PYRAMID_LEVELS[dims] if levels is None else levels
        self.entry = Convolution(dims, 1, first, stride=2)
        self.encoder = nn.ModuleList(
            nn.Sequential(
                Convolution(dims, before, after, stride=1 if level == 0 else 2), Convolution(dims, after, after)
            )
            for level, (before, after) in enumerate(pairwise([first, *levels]))
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(Convolution(dims, 2 * features + dims, decoder), Convolution(dims, decoder, decoder))
            for features in levels
        )
        self.heads = nn.ModuleList(output_layer(dims, decoder, dims, head_sd) for _ in levels)
        if not self.biased_heads:
            for head in self.heads:
                head.register_parameter("bias", None)
        self.log_variance_head = log_variance_head(dims, decoder) if uncertain else None
        channels_last(self, dims)

    def forward(self, moving: Tensor, fixed: Tensor) -> Displacement:
        """Return the displacement between two images (N, 1, *shape), scaled to [0, 1], at least 16 voxels an axis.

        Raises:
            ValueError: The images differ in shape or are smaller.
        """
        check_images(moving, fixed, self.dims)
        of_both = self._features(torch.cat([moving, fixed]))
        count = moving.shape[0]  # `len` would be a fixed number in an exported graph
        velocity: Tensor | None = None
        seen = moving
        for _ in range(self.passes):
            for level in reversed(range(len(of_both))):
                seen, velocity = self._refined(level, of_both[level], count, velocity)
        assert velocity is not None
        with torch.autocast(moving.device.type, enabled=False):
            head = self.log_variance_head
            log_variance = None if head is None else head(seen.to(velocity.dtype))
            return self._displacement(velocity, moving.shape[2:], log_variance)

    def _refined(self, level: int, of_both: Tensor, count: int, velocity: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the decoder's features of a level and the velocity after it, from the velocity before it.

        Args:
            level: The level; 0 is the finest.
            of_both: Features of the moving images, and then of the fixed ones (2N, C, *shape).
            count: The number of pairs N.
            velocity: The velocity of the level before (N, d, *shape); None at the coarsest.
        """
        return self._corrected(level, of_both[:count], of_both[count:], velocity)

    def _features(self, images: Tensor) -> list[Tensor]:
        """Return the features (N, C, *shape) of images at 1/2, 1/4, … of their resolution, rounded up."""
        features, found = self.entry(last(images)), []
        for layers in self.encoder:
            features = layers(features)
            found.append(features)
        return found

    def _corrected(
        self, level: int, of_moving: Tensor, of_fixed: Tensor, velocity: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the decoder's features of a level and the velocity that it corrects."""
        shape = of_fixed.shape[2:]
        head = cast("nn.Conv2d | nn.Conv3d", self.heads[level])
        # Positions need more digits than bf16 has.
        with torch.autocast(of_fixed.device.type, enabled=False):
            precision: Any = head.weight.dtype
            of_moving = of_moving.to(precision)
            if velocity is None:
                velocity = of_moving.new_zeros(()).expand(of_moving.shape[0], self.dims, *shape)
            else:
                velocity = resize_displacement(velocity, list(shape))
                of_moving = warp(of_moving, integrate(velocity, LEVEL_STEPS))
        seen = self.decoder[level](torch.cat([of_moving, of_fixed.to(precision), velocity], dim=1))
        with torch.autocast(of_fixed.device.type, enabled=False):
            seen = seen.to(precision)
            return seen, velocity + head(seen)


class SymmetricPyramid(Pyramid):
    """A pyramid whose velocity changes sign when the images are exchanged: v(m, f) = -v(f, m).

    Each level estimates its correction in both orders and takes half the difference,

        v ← resize(v) + [D(f_m ∘ exp(v), f_f, v) - D(f_f ∘ exp(-v), f_m, -v)] / 2,

    so that the displacement from f to m is the inverse of that from m to f, to the error of the integration, and
    equal images get none. Same parameters as `Pyramid` but for the biases of the heads, which cancel. log σ_z² is
    the mean of both orders.

    It takes the arguments of `Pyramid`.
    """

    biased_heads = False

    def _refined(self, level: int, of_both: Tensor, count: int, velocity: Tensor | None) -> tuple[Tensor, Tensor]:
        exchanged = torch.cat([of_both[count:], of_both[:count]])
        both_ways = None if velocity is None else torch.cat([velocity, -velocity])
        seen, after = self._corrected(level, of_both, exchanged, both_ways)
        return (seen[:count] + seen[count:]) / 2, (after[:count] - after[count:]) / 2
