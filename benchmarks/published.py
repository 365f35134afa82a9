"""The training schedule as published, written from its description: the reference for the speed of heteroreg.

Zhang et al., MICCAI 2024. Every iteration has two phases, and each phase runs both networks forward in both
directions:

1. The displacement estimator learns: L_θ = E[T((I_f/⌊σ̂_I⌋)^{2γ}) · (I_f - Î_f)²], 0.5 for each direction, plus
   λ‖∇v‖²; backward; a step of Adam.
2. The variance estimator learns: L_φ = E[⌊σ̂_I^{2β}⌋ · ((I_f - ⌊Î_f⌋)²/σ̂_I² + log σ̂_I²)], 0.5 for each
   direction; backward; a step of Adam.

float32, tensors with the channels first, a call for each direction of the variance estimator and of the
integration. Where the description leaves a choice, the cheaper one is taken, so that the comparison errs in favour
of the published schedule: the estimator that does not learn in a phase keeps nothing for a backward pass, the
identity grids are made once, and a batch is one pass unless `parts` cuts it. Nothing here uses heteroreg, so that
it does not get faster with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOL: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
STEPS = 7  # squarings
RATE, SMOOTHNESS, GAMMA, BETA = 1e-4, 0.01, 0.5, 0.5


def block(dims: int, inputs: int, outputs: int) -> nn.Sequential:
    """A convolution of width 3 and LeakyReLU 0.2."""
    return nn.Sequential(CONVOLUTION[dims](inputs, outputs, 3, padding=1), nn.LeakyReLU(0.2))


class UNet(nn.Module):
    """The U-Net of VoxelMorph, with a last convolution to `outputs` channels that starts near zero.

    Encoder 16-32-32-32 with max-pooling, decoder 32-32-32-32 with nearest neighbours, 32-16-16 at full
    resolution. The sides of the image must be multiples of 16.
    """

    def __init__(self, dims: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(block(dims, a, b) for a, b in ((2, 16), (16, 32), (32, 32), (32, 32)))
        self.pool = MAX_POOL[dims](2)
        self.up = nn.ModuleList(block(dims, a, 32) for a in (32, 64, 64, 64))
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        self.last = nn.Sequential(block(dims, 48, 32), block(dims, 32, 16), block(dims, 16, 16))
        self.head = CONVOLUTION[dims](16, outputs, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-5)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, outputs, *shape) of two images (N, 1, *shape)."""
        features = torch.cat([first, second], dim=1)
        skips = []
        for layer in self.down:
            features = layer(features)
            skips.append(features)
            features = self.pool(features)
        for layer in self.up:
            features = torch.cat([self.grow(layer(features)), skips.pop()], dim=1)
        output: Tensor = self.head(self.last(features))
        return output


class Warp(nn.Module):
    """moved(x) = image(x + u(x)), u in voxels, for images of one shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        axes = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
        self.grid: Tensor
        self.register_buffer("grid", torch.stack(axes)[None])
        self.shape = shape

    def forward(self, image: Tensor, displacement: Tensor) -> Tensor:
        """(N, C, *shape) of an image (N, C, *shape) and a displacement (N, d, *shape)."""
        positions = self.grid + displacement
        scaled = [2 * positions[:, axis] / (n - 1) - 1 for axis, n in enumerate(self.shape)]
        grid = torch.stack(scaled[::-1], dim=-1)
        moved: Tensor = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return moved


@dataclass(frozen=True)
class Fields:
    """A velocity (N, d, *coarse) and the displacements (N, d, *shape) that it integrates to, in voxels."""

    velocity: Tensor
    forward: Tensor
    backward: Tensor


class DisplacementEstimator(nn.Module):
    """Velocity of a U-Net at half resolution, integrated in both directions and upsampled."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.coarse = tuple(n // 2 for n in shape)
        self.unet = UNet(len(shape), len(shape))
        self.warp = Warp(self.coarse)

    def forward(self, moving: Tensor, fixed: Tensor) -> Fields:
        """Return the displacements between two images (N, 1, *shape)."""
        velocity = self._resize(self.unet(moving, fixed), self.coarse)
        forward, backward = (self._resize(self.integrate(v), self.shape) for v in (velocity, -velocity))
        return Fields(velocity, forward, backward)

    def integrate(self, velocity: Tensor) -> Tensor:
        """Scaling and squaring."""
        displacement: Tensor = velocity / 2**STEPS
        for _ in range(STEPS):
            displacement = displacement + self.warp(displacement, displacement)
        return displacement

    def _resize(self, field: Tensor, shape: tuple[int, ...]) -> Tensor:
        mode = LINEAR[len(shape)]
        resized = F.interpolate(field, size=shape, mode=mode, align_corners=True)
        factors = [(new - 1) / (old - 1) for new, old in zip(shape, field.shape[2:], strict=True)]
        return resized * resized.new_tensor(factors).view(1, -1, *[1] * len(shape))


def weight(fixed: Tensor, log_variance: Tensor) -> Tensor:
    """T((I_f/σ̂_I)^{2γ}): min-max over the batch, then a sigmoid."""
    ratio = (fixed**2 / torch.exp(log_variance)) ** GAMMA
    return torch.sigmoid((ratio - ratio.min()) / (ratio.max() - ratio.min()))


def beta_nll(moved: Tensor, fixed: Tensor, log_variance: Tensor) -> Tensor:
    """E[⌊σ̂^{2β}⌋ · ((I_f - Î_f)²/σ̂² + log σ̂²)]."""
    variance = torch.exp(log_variance)
    return (variance.detach() ** BETA * ((fixed - moved) ** 2 / variance + log_variance)).mean()


def roughness(velocity: Tensor) -> Tensor:
    """‖∇v‖²: squared forward differences, their mean over the axes, times 2."""
    dims = velocity.shape[1]
    return 2 * sum((velocity.diff(dim=2 + axis).square().mean() for axis in range(dims)), torch.zeros(())) / dims


class Published:
    """Both estimators with their optimisers, as published.

    Args:
        shape: Shape of the images; multiples of 16.
        parts: Passes that a batch is cut into; the paper has 2 of 4.
    """

    def __init__(self, shape: tuple[int, ...], parts: int = 1) -> None:
        self.displacement = DisplacementEstimator(shape)
        self.variance = UNet(len(shape), 1)
        self.warp = Warp(shape)
        self.parts = parts
        self.displacement_optimizer = torch.optim.Adam(self.displacement.parameters(), lr=RATE)
        self.variance_optimizer = torch.optim.Adam(self.variance.parameters(), lr=RATE)

    def step(self, moving: Tensor, fixed: Tensor) -> tuple[float, float]:
        """An iteration on a batch (N, 1, *shape): both phases. Returns L_θ and L_φ."""
        losses = []
        phases = (
            (self.displacement_loss, self.displacement_optimizer),
            (self.variance_loss, self.variance_optimizer),
        )
        for loss_of, optimizer in phases:
            optimizer.zero_grad()
            total = 0.0
            for part in zip(moving.chunk(self.parts), fixed.chunk(self.parts), strict=True):
                loss = loss_of(*part) / self.parts
                torch.autograd.backward(loss)
                total += float(loss.detach())
            optimizer.step()
            losses.append(total)
        return losses[0], losses[1]

    def mse_step(self, moving: Tensor, fixed: Tensor) -> float:
        """An iteration of the published MSE baseline: the displacement estimator alone, weight 1."""
        self.displacement_optimizer.zero_grad()
        fields = self.displacement(moving, fixed)
        forward: Tensor = ((fixed - self.warp(moving, fields.forward)) ** 2).mean()
        backward: Tensor = ((moving - self.warp(fixed, fields.backward)) ** 2).mean()
        loss = 0.5 * forward + 0.5 * backward + SMOOTHNESS * roughness(fields.velocity)
        torch.autograd.backward(loss)
        self.displacement_optimizer.step()
        return float(loss.detach())

    def displacement_loss(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """L_θ of a batch (N, 1, *shape)."""
        fields = self.displacement(moving, fixed)
        moved_forward = self.warp(moving, fields.forward)
        moved_backward = self.warp(fixed, fields.backward)
        with torch.no_grad():
            weight_forward = weight(fixed, self.variance(moved_forward, fixed))
            weight_backward = weight(moving, self.variance(moved_backward, moving))
        forward = (weight_forward * (fixed - moved_forward) ** 2).mean()
        backward = (weight_backward * (moving - moved_backward) ** 2).mean()
        loss: Tensor = 0.5 * forward + 0.5 * backward + SMOOTHNESS * roughness(fields.velocity)
        return loss

    def variance_loss(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """L_φ of a batch (N, 1, *shape)."""
        with torch.no_grad():
            fields = self.displacement(moving, fixed)
            moved_forward = self.warp(moving, fields.forward)
            moved_backward = self.warp(fixed, fields.backward)
        forward = beta_nll(moved_forward, fixed, self.variance(moved_forward, fixed))
        backward = beta_nll(moved_backward, moving, self.variance(moved_backward, moving))
        return 0.5 * forward + 0.5 * backward

    @torch.no_grad()
    def register(self, moving: Tensor, fixed: Tensor) -> tuple[Fields, Tensor, Tensor]:
        """Fields and log-variances of one pair (1, 1, *shape), both networks, both directions."""
        fields = self.displacement(moving, fixed)
        forward = self.variance(self.warp(moving, fields.forward), fixed)
        backward = self.variance(self.warp(fixed, fields.backward), moving)
        return fields, forward, backward
