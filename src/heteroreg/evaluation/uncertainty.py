"""Scores of a noise map: sparsification and calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.special import ndtri

from heteroreg.system.arrays import Doubles

FRACTIONS: Doubles = np.arange(100) / 100
LEVELS: Doubles = np.arange(1, 20) / 20
SMALLEST_NOISE_SD = 1e-6


@dataclass(frozen=True)
class Sparsification:
    """Mean squared error of the pixels that remain after a share of them is removed.

    Attributes:
        fraction: The share removed, 0 to 0.99.
        mse: The most uncertain pixels are removed first.
        oracle: The largest true errors are removed first: no order does better.
        random: Expectation for removal at random: the same at every share.
    """

    fraction: Doubles
    mse: Doubles
    oracle: Doubles
    random: Doubles

    @property
    def ause(self) -> float:
        """Area between the curve and the oracle; 0 is perfect."""
        return float(trapezoid(self.mse - self.oracle, self.fraction))

    @property
    def aurg(self) -> float:
        """Area between random removal and the curve; above 0 is better than chance."""
        return float(trapezoid(self.random - self.mse, self.fraction))


def sparsification_curve(squared_error: NDArray[Any], uncertainty: NDArray[Any]) -> Sparsification | None:
    """Return the sparsification curve of a predicted uncertainty (Ilg et al., ECCV 2018), as squared errors.

    At the share f, round(f·n) of n pixels are removed, at most n - 1. Pixels of equal uncertainty count with their
    mean error, the expectation over all their orders. A constant uncertainty gives exactly the random line.

    Args:
        squared_error: The true squared error of each pixel, any shape.
        uncertainty: The predicted uncertainty of each, the same shape; only its order counts.

    Returns:
        The curves at the shares 0, 0.01, …, 0.99; None without pixels.
    """
    error = np.asarray(squared_error, dtype=np.float64).ravel()
    if error.size == 0:
        return None
    _, group = np.unique(np.asarray(uncertainty).ravel(), return_inverse=True)
    size = np.bincount(group)
    mean = np.bincount(group, weights=error) / size
    mse = _left(np.repeat(mean, size))  # groups are in rising order of uncertainty
    oracle = _left(np.sort(error))
    return Sparsification(FRACTIONS, mse, oracle, np.full_like(FRACTIONS, error.mean()))


def _left(ascending: Doubles) -> Doubles:
    """Return the mean of the errors that remain when the last of them are removed, at each fraction."""
    n = ascending.size
    left = np.maximum(n - np.round(FRACTIONS * n).astype(int), 1)
    return np.asarray(np.cumsum(ascending)[left - 1] / left)


def coverage(residual: NDArray[Any], sd: NDArray[Any], level: float) -> float:
    """Return the share of residuals inside the central interval that a Gaussian noise of this sd predicts.

    |r| ≤ z·σ with z = Φ⁻¹((1 + level) / 2). A calibrated sd gives back the level.

    Args:
        residual: The residual of each pixel.
        sd: The predicted standard deviation of each pixel, in the same unit.
        level: 0 to 1.

    Returns:
        0 to 1; NaN without pixels.
    """
    if residual.size == 0:
        return math.nan
    return float(np.mean(np.abs(residual) <= ndtri((1 + level) / 2) * sd))


def expected_calibration_error(residual: NDArray[Any], sd: NDArray[Any]) -> float:
    """Return the mean of |coverage(level) - level| over the levels 5, 10, …, 95 % (Kuleshov et al., ICML 2018)."""
    return float(np.mean([abs(coverage(residual, sd, level) - level) for level in LEVELS]))


def noise_nll(residual: NDArray[Any], sd: NDArray[Any]) -> float:
    """Return the mean of ½ (log 2πσ² + r²/σ²), the negative log-likelihood of the residuals, in nats.

    The value depends on the unit of the residual. An sd below 1e-6 is taken as 1e-6, so that it is finite.
    """
    if residual.size == 0:
        return math.nan
    sd = np.maximum(np.asarray(sd, dtype=np.float64), SMALLEST_NOISE_SD)
    return float(np.mean(0.5 * np.log(2 * np.pi * sd**2) + 0.5 * (residual / sd) ** 2))


def foreground_mask(
    moved: NDArray[Any], fixed: NDArray[Any], background: tuple[float, float] | None = None
) -> NDArray[np.bool_]:
    """Return the voxels where either image is not background.

    The background of an image is its smallest value, so that the mask, and all scores in it, stay the same if a
    constant is added to the intensities.

    Args:
        moved: The moved image, or a slice of it.
        fixed: The fixed image, or a slice.
        background: The background of the whole moved and fixed image; by default the smallest values here.
    """
    low = (moved.min(), fixed.min()) if background is None else background
    return np.asarray((moved != low[0]) | (fixed != low[1]))
