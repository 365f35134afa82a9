"""Scores of a noise map: calibration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from heteroreg.system.arrays import Doubles

LEVELS: Doubles = np.arange(1, 20) / 20
SMALLEST_NOISE_SD = 1e-6


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
