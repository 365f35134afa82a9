"""The error estimator: how far a displacement may be wrong, learned from known warps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from heteroreg.networks.convolution import output_layer
from heteroreg.networks.unet import UNet
from heteroreg.spatial.fields import INTERPOLATION
from heteroreg.system.arrays import Floats
from heteroreg.training.schedule import generator

# Bounds of log σ̂_e² in mm²: 0.01 mm to 55 mm.
MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -9.0, 8.0
BETA = 0.5  # of the β-NLL
LEARNING_RATE, WARM_UP, CLIP = 2e-3, 0.1, 1.0


class ErrorEstimator(nn.Module):
    """A U-Net at half resolution that maps the features of a registration to the log-variance of its error.

    Args:
        dims: 2 or 3.
        inputs: Channels of the input; see `Features.channels`.
    """

    def __init__(self, dims: int, inputs: int) -> None:
        super().__init__()
        self.dims, self.inputs = dims, inputs
        self.unet = UNet(dims, inputs, final=(32, 16), coarse=True)
        self.head = output_layer(dims, self.unet.features, 1, 1e-3)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("sd", torch.ones(inputs))

    def forward(self, channels: Tensor) -> Tensor:
        """Return log σ̂_e² (N, 1, *shape) in mm², the variance along any one direction.

        Args:
            channels: (N, C, *shape).
        """
        shape, expand = channels.shape[2:], (1, -1, *[1] * self.dims)
        features = self.unet((channels - self.mean.view(expand)) / self.sd.view(expand))  # type: ignore[operator]
        coarse = self.head(features)
        fine = F.interpolate(coarse, size=shape, mode=INTERPOLATION[self.dims], align_corners=False)
        return fine.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)


@dataclass(frozen=True)
class KnownErrors:
    """Registrations of known warps.

    Attributes:
        channels: (N, C, *shape), see `Features.channels`.
        error: û - u* (N, d, *shape) in mm.
        weight: (N, *shape): True where the error counts.
        pair: Index of the pair that each was made of (N,).
    """

    channels: NDArray[np.float16]
    error: NDArray[np.float16]
    weight: NDArray[np.bool_]
    pair: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.channels)


def beta_nll(log_variance: Tensor, error: Tensor, weight: Tensor, beta: float = BETA) -> Tensor:
    """Return the β-NLL of an isotropic Gaussian error: ⌊σ^2β⌋·½(log σ² + |e|²/(d·σ²)), averaged where it counts.

    ⌊·⌋ stops the gradient (Seitzer et al., ICLR 2022). It is 0 where no voxel counts.

    Args:
        log_variance: log σ² (N, 1, *shape).
        error: e (N, d, *shape).
        weight: (N, 1, *shape).
        beta: β; 0 is the plain negative log-likelihood.
    """
    squared = error.square().mean(dim=1, keepdim=True)
    nll = 0.5 * (log_variance + squared * (-log_variance).exp())
    nll = nll * (beta * log_variance.detach()).exp()
    return (nll * weight).sum() / weight.sum().clamp(min=1)


def learn(
    known: KnownErrors,
    steps: int,
    *,
    batch_size: int = 8,
    seed: int = 0,
    device: torch.device | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> ErrorEstimator:
    """Train an error estimator on known errors.

    Args:
        known: The known errors.
        steps: Number of updates.
        batch_size: Slices or volumes per update.
        seed: Random seed.
        device: Where to compute; the CPU by default.
        report: Called with the number of updates done.

    Returns:
        The estimator, in evaluation mode on the CPU.
    """
    device = device or torch.device("cpu")
    dims, inputs = known.error.shape[1], known.channels.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ErrorEstimator(dims, inputs)
    some = known.channels[:: max(1, len(known) // 200)].astype(np.float32)
    axes = (0, *range(2, some.ndim))
    model.mean.copy_(torch.from_numpy(some.mean(axes)))  # type: ignore[operator]
    model.sd.copy_(torch.from_numpy(some.std(axes) + 1e-3))  # type: ignore[operator]
    counts = known.weight[:, None].astype(np.float32)
    start = float((known.error.astype(np.float32) ** 2 * counts).sum() / max(dims * counts.sum(), 1))
    assert model.head.bias is not None
    nn.init.constant_(model.head.bias, math.log(max(start, 1e-3)))
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for step in range(steps):
        rate = min(1.0, (step + 1) / (WARM_UP * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate
        random = generator(seed, 11, step)
        chosen = torch.randint(len(known), (batch_size,), generator=random).sort().values.numpy()
        channels, error, weight = (
            torch.from_numpy(np.ascontiguousarray(array[chosen], dtype=np.float32))
            for array in (known.channels, known.error, known.weight)
        )
        flips = [axis + 2 for axis in range(dims) if torch.rand((), generator=random) < 0.5]
        channels = _flipped(channels, flips, first=3).to(device)
        error, weight = error.flip(flips).to(device), weight[:, None].flip(flips).to(device)
        loss = beta_nll(model(channels), error, weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        report(step + 1)
    return model.cpu().eval()


def _flipped(channels: Tensor, axes: Sequence[int], first: int) -> Tensor:
    """Flip channels; the components of the displacement, from channel `first` on, along these axes change sign."""
    flipped = channels.flip(list(axes)) if axes else channels
    for axis in axes:
        component = first + axis - 2
        flipped[:, component] = -flipped[:, component]
    return flipped


@torch.inference_mode()
def error_sd(model: ErrorEstimator, channels: Floats, batch_size: int = 8) -> Floats:
    """Return σ̂_e (N, *shape) in mm for the features of a registration (N, C, *shape)."""
    parts = [
        model(torch.from_numpy(np.ascontiguousarray(channels[first : first + batch_size], dtype=np.float32)))
        for first in range(0, len(channels), batch_size)
    ]
    return np.asarray((0.5 * torch.cat(parts)).exp()[:, 0].numpy())
