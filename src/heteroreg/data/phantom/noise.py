"""Noise of known standard deviation that varies in space and depends on the signal.

These functions do not depend on the phantom. They take any array and return its noise, in the array's own units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from heteroreg.data.phantom.spline import smooth_map
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError

NOISE_KINDS = ("gaussian", "rician", "speckle")
GRAIN = (1.1, 0.7)  # size of a speckle across and along the beam, in voxels (standard deviation of a Gaussian)
RAYLEIGH_MEAN = np.sqrt(np.pi) / 2  # of |z| with E|z|² = 1
RAYLEIGH_SD = np.sqrt(1 - np.pi / 4)
FULL_SPECKLE = 0.5  # below 0.5227, the ratio of sd to mean of a Rayleigh distribution, so that no value is negative


@dataclass(frozen=True)
class NoiseModel:
    """The noise of an image.

    Attributes:
        kind: `gaussian`, `rician` or `speckle`.
        signal: The image without noise; for speckle attenuated with depth, and 0 outside the sector.
        sigma: Standard deviation of the noise (gaussian), of each of the two channels (rician), or of the
            product of signal and speckle (speckle).
    """

    kind: str
    signal: Floats
    sigma: Floats

    @property
    def sd(self) -> Floats:
        """Exact standard deviation of the noisy image in each voxel."""
        return rician_sd(self.signal, self.sigma) if self.kind == "rician" else self.sigma

    def draw(self, rng: np.random.Generator) -> Floats:
        """Draw a noisy image."""
        if self.kind == "gaussian":
            return np.asarray(self.signal + self.sigma * rng.standard_normal(self.signal.shape))
        if self.kind == "rician":
            real, imaginary = rng.standard_normal((2, *self.signal.shape))
            return np.asarray(np.hypot(self.signal + self.sigma * real, self.sigma * imaginary))
        return np.asarray(self.signal + self.sigma * speckle(rng, self.signal.shape))


def random_noise(
    clean: Floats, rng: np.random.Generator, *, kind: str = "gaussian", strength: float = 1.0
) -> NoiseModel:
    """Return noise for an image, scaled to its intensity range R (from the minimum to the 99.5th percentile).

    With g a smooth random map from 0 to 1 and s the signal above its minimum over R:
    gaussian, rician: σ = strength · R · (0.02 + 0.16 g) · (0.4 + 0.6 s);
    speckle: σ = signal · min(strength · (0.15 + 0.2 g + 0.15 depth), 0.5), where the signal is the image,
    attenuated by exp(−0.7 depth) and zero outside the sector.

    Args:
        clean: The image without noise, (x, y) or (x, y, z), not negative for rician and speckle. The probe of
            an echo image is at the middle of the side y = 0.
        rng: Source of the map g.
        kind: `gaussian`, `rician` or `speckle`.
        strength: Factor on σ; 0 is no noise.

    Raises:
        UserError: The kind is unknown, or the strength negative.
    """
    if kind not in NOISE_KINDS:
        raise UserError(f"noise: '{kind}' is unknown; use {', '.join(NOISE_KINDS)}", argument="noise")
    require_strength(strength)
    low = float(clean.min())
    span = intensity_range(clean)
    uneven = smooth_map(rng, clean.shape)
    if kind == "speckle":
        inside, depth = sector(clean.shape)
        signal = clean * np.exp(-0.7 * depth) * inside
        ratio = np.minimum(strength * (0.15 + 0.2 * uneven + 0.15 * depth), FULL_SPECKLE)
        return NoiseModel(kind, signal, signal * ratio)
    relative = np.clip((clean - low) / span, 0.0, 1.0)
    return NoiseModel(kind, clean, strength * span * (0.02 + 0.16 * uneven) * (0.4 + 0.6 * relative))


def require_strength(value: float, argument: str = "strength") -> None:
    """Check a factor on noise or artefacts.

    Raises:
        UserError: It is negative or not finite.
    """
    if not 0 <= value < float("inf"):
        raise UserError(f"{argument}: {value} must be 0 or more; 1 is the default", argument=argument)


def add_noise(
    clean: Floats, rng: np.random.Generator, *, kind: str = "gaussian", strength: float = 1.0
) -> tuple[Floats, Floats]:
    """Return a noisy image and the standard deviation of its noise; see `random_noise`."""
    noise = random_noise(clean, rng, kind=kind, strength=strength)
    return noise.draw(rng), noise.sd


def intensity_range(image: Floats) -> float:
    """Return the range from the minimum to the 99.5th percentile, robust to a few bright voxels; 1 if constant."""
    span = float(np.percentile(image, 99.5) - image.min())
    return span if span > 0 else 1.0


def rician_sd(signal: Floats, sigma: Floats) -> Floats:
    """Return the standard deviation of |ν + σ(n₁ + i·n₂)|, n₁, n₂ ~ N(0, 1): the magnitude of an MR signal.

    var = 2σ² + ν² − (π/2)·σ²·L(−q)², q = ν²/2σ², with the Laguerre polynomial of degree ½
    L(−q) = e^{−q/2}·[(1 + q)·I₀(q/2) + q·I₁(q/2)] (Gudbjartsson & Patz, MRM 34, 1995).

    Args:
        signal: ν, not negative.
        sigma: σ, not negative; the result is 0 where it is 0.
    """
    safe = np.where(sigma > 0, sigma, 1.0)
    ratio = signal / safe
    q = np.minimum(ratio, 1e4) ** 2 / 2
    laguerre = (1 + q) * special.ive(0, q / 2) + q * special.ive(1, q / 2)
    variance = 2 + 2 * q - np.pi / 2 * laguerre**2
    # Beyond 300 the two large terms cancel to rounding errors; the series is 1 − 1/(4q).
    variance = np.where(ratio > 300, 1 - 1 / (4 * np.maximum(q, 1.0)), variance)
    return np.asarray(np.where(sigma > 0, safe * np.sqrt(np.maximum(variance, 0.0)), 0.0))


def speckle(rng: np.random.Generator, shape: Sequence[int]) -> Floats:
    """Return speckle of mean 0 and sd 1: the scaled amplitude of a smoothed complex Gaussian field."""
    width = (*GRAIN, GRAIN[0])[: len(shape)]
    unit = np.zeros(tuple(shape))
    unit.flat[0] = 1.0
    kernel = ndimage.gaussian_filter(unit, width, mode="wrap")
    norm = np.sqrt(2 * np.sum(kernel**2))  # of a filtered complex field with E|z|² = 2
    real, imaginary = (ndimage.gaussian_filter(f, width, mode="wrap") for f in rng.standard_normal((2, *shape)))
    return np.asarray((np.hypot(real, imaginary) / norm - RAYLEIGH_MEAN) / RAYLEIGH_SD)


def sector(shape: Sequence[int]) -> tuple[NDArray[np.bool_], Floats]:
    """Return the field of view of an echo probe at the middle of the side y = 0.

    Args:
        shape: (x, y) or (x, y, z); in 3D the sector is a cone.

    Returns:
        A mask of the voxels inside (40° to either side, to the far end of the image), and their distance from the
        probe as a fraction of the image's depth.
    """
    axes = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (n - 1) for n in shape], indexing="ij")
    depth = axes[1] + 0.5 + 0.02
    sideways = np.sqrt(sum(a**2 for i, a in enumerate(axes) if i != 1))
    distance = np.hypot(sideways, depth)
    return (np.arctan2(sideways, depth) < np.deg2rad(40)) & (distance < 1.02), distance
