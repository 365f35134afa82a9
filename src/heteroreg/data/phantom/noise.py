"""Noise of known standard deviation, uneven in space and dependent on the signal.

Nothing here knows of the phantom: an array goes in, and its noise comes out, in the array's own units.
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
GRAIN = (1.1, 0.7)  # size of a speckle, across and along the beam, in voxels (standard deviation of a Gaussian)
RAYLEIGH_MEAN = np.sqrt(np.pi) / 2  # of |z| where E|z|² = 1
RAYLEIGH_SD = np.sqrt(1 - np.pi / 4)
FULL_SPECKLE = 0.5  # below 0.5227, the ratio of sd to mean of a Rayleigh distribution: above, values turn negative


@dataclass(frozen=True)
class NoiseModel:
    """What noise does to one image.

    Attributes:
        kind: `gaussian`, `rician` or `speckle`.
        signal: What the detector would see without noise: for speckle after attenuation, 0 outside the sector.
        sigma: gaussian: standard deviation of the noise; rician: of each of the two channels; speckle: of the
            product of signal and speckle.
    """

    kind: str
    signal: Floats
    sigma: Floats

    @property
    def sd(self) -> Floats:
        """Standard deviation of the noisy image in each voxel: exact, not an estimate."""
        return rician_sd(self.signal, self.sigma) if self.kind == "rician" else self.sigma

    def draw(self, rng: np.random.Generator) -> Floats:
        """One noisy image."""
        if self.kind == "gaussian":
            return np.asarray(self.signal + self.sigma * rng.standard_normal(self.signal.shape))
        if self.kind == "rician":
            real, imaginary = rng.standard_normal((2, *self.signal.shape))
            return np.asarray(np.hypot(self.signal + self.sigma * real, self.sigma * imaginary))
        return np.asarray(self.signal + self.sigma * speckle(rng, self.signal.shape))


def random_noise(
    clean: Floats, rng: np.random.Generator, *, kind: str = "gaussian", strength: float = 1.0
) -> NoiseModel:
    """Noise for an image, scaled to its intensity range R (from the minimum to the 99.5th percentile).

    With g a smooth random map from 0 to 1 and s the signal above its minimum over R:
    gaussian, rician: σ = strength · R · (0.02 + 0.16 g) · (0.4 + 0.6 s);
    speckle: σ = signal · min(strength · (0.15 + 0.2 g + 0.15 depth), 0.5), where the signal is the image,
    attenuated by exp(−0.7 depth) and zero outside the sector.

    Args:
        clean: The image without noise, (x, y) or (x, y, z), not negative for rician and speckle. The probe of
            an echo image is at the middle of the side y = 0.
        rng: Where the map g comes from.
        kind: `gaussian`, `rician` or `speckle`.
        strength: A factor on σ; 0 is no noise.

    Raises:
        UserError: An unknown kind, or a negative strength.
    """
    if kind not in NOISE_KINDS:
        raise UserError(f"--noise {kind}: unknown; use {', '.join(NOISE_KINDS)}")
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


def require_strength(value: float, option: str = "--strength") -> None:
    """Checks a factor on noise or artefacts.

    Raises:
        UserError: It is negative or not finite.
    """
    if not 0 <= value < float("inf"):
        raise UserError(f"{option} {value}: must not be negative; 0 is none, 1 the usual")


def add_noise(
    clean: Floats, rng: np.random.Generator, *, kind: str = "gaussian", strength: float = 1.0
) -> tuple[Floats, Floats]:
    """A noisy image and the standard deviation of its noise; see `random_noise`."""
    noise = random_noise(clean, rng, kind=kind, strength=strength)
    return noise.draw(rng), noise.sd


def intensity_range(image: Floats) -> float:
    """From the minimum to the 99.5th percentile, so that a few bright voxels do not count; 1 if constant."""
    span = float(np.percentile(image, 99.5) - image.min())
    return span if span > 0 else 1.0


def rician_sd(signal: Floats, sigma: Floats) -> Floats:
    """Standard deviation of |ν + σ(n₁ + i·n₂)| with n₁, n₂ ~ N(0, 1): of the magnitude of an MR signal.

    var = 2σ² + ν² − (π/2)·σ²·L(−q)², q = ν²/2σ², with the Laguerre polynomial of degree ½
    L(−q) = e^{−q/2}·[(1 + q)·I₀(q/2) + q·I₁(q/2)] (Gudbjartsson & Patz, MRM 34, 1995).

    Args:
        signal: ν, not negative.
        sigma: σ, not negative; where it is 0 the result is 0.
    """
    safe = np.where(sigma > 0, sigma, 1.0)
    ratio = signal / safe
    q = np.minimum(ratio, 1e4) ** 2 / 2
    laguerre = (1 + q) * special.ive(0, q / 2) + q * special.ive(1, q / 2)
    variance = 2 + 2 * q - np.pi / 2 * laguerre**2
    # Beyond 300 the two large terms leave only rounding; the series there is 1 − 1/(4q).
    variance = np.where(ratio > 300, 1 - 1 / (4 * np.maximum(q, 1.0)), variance)
    return np.asarray(np.where(sigma > 0, safe * np.sqrt(np.maximum(variance, 0.0)), 0.0))


def speckle(rng: np.random.Generator, shape: Sequence[int]) -> Floats:
    """Speckle of mean 0 and sd 1: the amplitude of a smoothed complex Gaussian field, shifted and scaled."""
    width = (*GRAIN, GRAIN[0])[: len(shape)]
    unit = np.zeros(tuple(shape))
    unit.flat[0] = 1.0
    kernel = ndimage.gaussian_filter(unit, width, mode="wrap")
    norm = np.sqrt(2 * np.sum(kernel**2))  # of a filtered complex field with E|z|² = 2
    real, imaginary = (ndimage.gaussian_filter(f, width, mode="wrap") for f in rng.standard_normal((2, *shape)))
    return np.asarray((np.hypot(real, imaginary) / norm - RAYLEIGH_MEAN) / RAYLEIGH_SD)


def sector(shape: Sequence[int]) -> tuple[NDArray[np.bool_], Floats]:
    """The field of view of an echo probe at the middle of the side y = 0.

    Args:
        shape: (x, y) or (x, y, z); in 3D the sector is a cone.

    Returns:
        Whether each voxel is inside (40° to either side, to the far end of the image), and its distance from
        the probe as a share of the image's depth.
    """
    axes = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (n - 1) for n in shape], indexing="ij")
    depth = axes[1] + 0.5 + 0.02
    sideways = np.sqrt(sum(a**2 for i, a in enumerate(axes) if i != 1))
    distance = np.hypot(sideways, depth)
    return (np.arctan2(sideways, depth) < np.deg2rad(40)) & (distance < 1.02), distance
