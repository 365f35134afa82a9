"""The fine noise map: log-variance of the residual at full resolution, from the voxels around each one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heteroreg.system.arrays import Floats
from heteroreg.system.memory import load_ndimage
from heteroreg.training.schedule import generator

# SDs in voxels of the Gaussian windows of the residual, of its high frequencies, of the image and of its gradient.
RESIDUAL, HIGH, IMAGE, GRADIENT = (1, 2, 4, 8, 16), (2, 4, 8, 16), (1, 2, 4), (1, 2)
INPUTS = len(RESIDUAL) + len(HIGH) + len(IMAGE) + len(GRADIENT)
WINDOW_REACH = 3.0  # of a window, in SDs
SMALLEST = 1e-7  # variance of images in [0, 1] that keeps logarithms finite
# Bounds of log σ² of images in [0, 1]: 0.1 % of the range, about the step of 10 bits, to e.
MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -13.8, 2.0
HIDDEN = 32
STEPS, VOXELS, LEARNING_RATE = 1500, 8192, 3e-3
MOST_RESIDUALS = 2_000_000  # voxels that are learned from, over all pairs


class NoiseEstimator(nn.Module):
    """A perceptron that maps what surrounds a voxel to the log-variance of its residual, fixed - moved.

    It never sees the voxel itself: with the residual of the voxel as an input, its square would be the best
    prediction of its variance, and the map a copy of the residual.

    Attributes:
        scale: Factor of σ, such that its 68 % intervals hold on the patients of the calibration.
    """

    mean: Tensor
    sd: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(INPUTS, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(0.2)
        )
        self.head = nn.Linear(HIDDEN, 1)
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("sd", torch.ones(INPUTS))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Return log σ² (…) of images in [0, 1].

        Args:
            features: (…, C), see `noise_features`.
        """
        found: Tensor = self.head(self.layers((features - self.mean) / self.sd))
        return found[..., 0].clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)


def noise_features(moved: Floats, fixed: Floats) -> Floats:
    """Return what surrounds each voxel (N, *shape, C): residuals, their high frequencies, image and gradient.

    With the residual r = fixed - moved, G a Gaussian window without its centre, and h the second difference of r
    along every axis, in units of white noise:

        log G_s * r²,  log G_s * h² (without all h that contain the voxel),  G_s * a,  log |∇ G_s * a|

    for the windows of the module, with a the mean of both images. White noise is in h in full, what a wrong
    displacement leaves is smooth and hardly in it.

    Args:
        moved: N slices of a stack, or one volume (N, *shape), in [0, 1].
        fixed: Likewise.
    """
    ndimage = load_ndimage()
    moved, fixed = (np.asarray(image, dtype=np.float32) for image in (moved, fixed))
    residual, image = fixed - moved, (fixed + moved) / 2
    axes = range(1, residual.ndim)
    high = residual
    for axis in axes:
        high = ndimage.correlate1d(high, np.array([-1, 2, -1]) / math.sqrt(6), axis, mode="nearest")
    parts = [np.log(_around(residual**2, s, 0) + SMALLEST) for s in RESIDUAL]
    parts += [np.log(_around(high**2, s, 1) + SMALLEST) for s in HIGH]
    means = {s: _around(image, s, 0) for s in IMAGE}
    parts += means.values()
    ones = np.ones_like(image[:1])
    for s in GRADIENT:
        # Outside the image lies the mean around the voxel: a copy of the edge would hold the voxel itself.
        slopes = (_window(image, s, axis) - means[s] * _window(ones, s, axis) for axis in axes)
        parts.append(0.5 * np.log(sum(slope**2 for slope in slopes) + SMALLEST))
    return np.stack(parts, axis=-1).astype(np.float32, copy=False)


def _window(images: Floats, sd: float, derivative: int = 0) -> Floats:
    """Convolve with a Gaussian, or its derivative along an axis, that is cut at `WINDOW_REACH`; 0 lies outside."""
    ndimage = load_ndimage()
    order = [int(axis == derivative > 0) for axis in range(images.ndim)]
    sds = (0, *[sd] * (images.ndim - 1))
    return np.asarray(ndimage.gaussian_filter(images, sds, order, mode="constant", truncate=WINDOW_REACH))


def _around(images: Floats, sd: float, without: int) -> Floats:
    """Return the mean in a Gaussian window without the voxels up to `without` from its centre along each axis."""
    ndimage = load_ndimage()
    reach = int(WINDOW_REACH * sd + 0.5)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
    hole = (window / window.sum())[reach - without : reach + without + 1]

    def ring(values: Floats) -> Floats:
        inner = values
        for axis in range(1, values.ndim):
            inner = ndimage.correlate1d(inner, hole, axis, mode="constant")
        return _window(values, sd) - inner

    weight = ring(np.ones((1, *images.shape[1:]), dtype=np.float64))
    return np.asarray(np.maximum(ring(images.astype(np.float64)), 0) / np.maximum(weight, 1e-6), dtype=np.float32)


@dataclass(frozen=True)
class Residuals:
    """Residuals of registrations, and what surrounds each.

    Attributes:
        features: (M, C), see `noise_features`.
        residual: fixed - moved (M,) of images in [0, 1].
        patient: The patient of each (M,).
    """

    features: NDArray[np.float32]
    residual: NDArray[np.float32]
    patient: NDArray[np.str_]


def sampled(moved: Floats, fixed: Floats, count: int, seed: Sequence[int]) -> tuple[Floats, Floats]:
    """Draw voxels of a registered pair, and return their features (M, C) and residuals (M,).

    Args:
        moved: (N, *shape) in [0, 1].
        fixed: Likewise.
        count: Number of voxels, at most all.
        seed: Random seed.
    """
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(moved.size, min(count, moved.size), replace=False))
    size = moved[0].size
    features, residuals = [], []
    for number in np.unique(chosen // size):  # one slice after the other, to save memory
        part = chosen[chosen // size == number] - number * size
        own = slice(number, number + 1)
        features.append(noise_features(moved[own], fixed[own]).reshape(size, -1)[part])
        residuals.append((fixed[own] - moved[own]).ravel()[part].astype(np.float32))
    return np.concatenate(features), np.concatenate(residuals)


def learn_noise(
    known: Residuals,
    scale: Callable[[NDArray[np.float64], NDArray[np.str_]], float],
    *,
    steps: int = STEPS,
    seed: int = 0,
    report: Callable[[int], None] = lambda _: None,
) -> NoiseEstimator:
    """Train a noise estimator by the Gaussian likelihood of the residuals, ½(log σ² + r²/σ²).

    Args:
        known: The residuals.
        scale: Returns the factor of σ from |r|/σ (M,) and the patients (M,).
        steps: Number of updates.
        seed: Random seed.
        report: Called with the number of updates done.

    Returns:
        The estimator, in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NoiseEstimator()
    features, residual = torch.from_numpy(known.features), torch.from_numpy(known.residual)
    model.mean.copy_(features.mean(dim=0))
    model.sd.copy_(features.std(dim=0) + 1e-3)
    nn.init.constant_(model.head.bias, math.log(float(residual.double().square().mean()) + SMALLEST))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / steps)
        chosen = torch.randint(len(residual), (VOXELS,), generator=generator(seed, 12, step))
        log_variance = model(features[chosen])
        loss = 0.5 * (log_variance + residual[chosen].square() * (-log_variance).exp()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        report(step + 1)
    sd = _sd(model.eval(), known.features)
    model.scale.fill_(scale(np.abs(known.residual) / sd.astype(np.float64), known.patient))
    return model


def noise_sd(model: NoiseEstimator, moved: Floats, fixed: Floats) -> Floats:
    """Return σ̂ of fixed - moved (N, *shape) for images in [0, 1]; see `noise_features`."""
    parts = [_sd(model, noise_features(moved[n : n + 1], fixed[n : n + 1])) for n in range(len(moved))]
    return np.concatenate(parts)


@torch.inference_mode()
def _sd(model: NoiseEstimator, features: Floats) -> Floats:
    flat = torch.from_numpy(features).reshape(-1, features.shape[-1])
    found = torch.cat([(0.5 * model(part)).exp() for part in flat.split(1 << 18)]) * model.scale
    return np.asarray(found.reshape(features.shape[:-1]).numpy())
