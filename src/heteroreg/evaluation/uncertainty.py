"""How well a predicted noise tells where the residual is large."""

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
SMALLEST_SD = 1e-6


@dataclass(frozen=True)
class Sparsification:
    """Mean squared error of the pixels that are left once a share of them is removed.

    Attributes:
        fraction: The share removed, 0 to 0.99.
        mse: The most uncertain removed first.
        oracle: The largest true error removed first: no order can do better.
        random: Removed at random, in expectation: the same at every share.
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


def sparsification(squared_error: NDArray[Any], uncertainty: NDArray[Any]) -> Sparsification | None:
    """The sparsification curve of a predicted uncertainty (Ilg et al., ECCV 2018), in units of squared error.

    At the share f, round(f·n) of n pixels are removed, at most n - 1. Pixels of equal uncertainty have no
    order: they count with their mean error, which is the expectation over all orders. A constant uncertainty
    thus gives exactly the random line.

    Args:
        squared_error: The true squared error of each pixel, any shape.
        uncertainty: The predicted uncertainty of each, the same shape; only its order counts.

    Returns:
        The curves at the shares 0, 0.01, …, 0.99; None where there are no pixels.
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
    """Mean of what is left when the last of the errors are removed, at each fraction."""
    n = ascending.size
    left = np.maximum(n - np.round(FRACTIONS * n).astype(int), 1)
    return np.asarray(np.cumsum(ascending)[left - 1] / left)


def coverage(residual: NDArray[Any], sd: NDArray[Any], level: float) -> float:
    """The share of residuals inside the central interval that a Gaussian noise of this sd predicts.

    |r| ≤ z·σ with z = Φ⁻¹((1 + level) / 2). A calibrated sd gives back the level.

    Args:
        residual: Of each pixel.
        sd: The predicted standard deviation of each, in the same unit.
        level: 0 to 1.

    Returns:
        0 to 1; NaN where there are no pixels.
    """
    if residual.size == 0:
        return math.nan
    return float(np.mean(np.abs(residual) <= ndtri((1 + level) / 2) * sd))


def expected_calibration_error(residual: NDArray[Any], sd: NDArray[Any]) -> float:
    """Mean over the levels 5, 10, …, 95 % of |coverage(level) - level| (after Kuleshov et al., ICML 2018)."""
    return float(np.mean([abs(coverage(residual, sd, level) - level) for level in LEVELS]))


def gaussian_nll(residual: NDArray[Any], sd: NDArray[Any]) -> float:
    """Mean of ½ (log 2πσ² + r²/σ²), the negative log-likelihood of the residuals, in nats.

    It depends on the unit of the residual. An sd below 1e-6 is taken as 1e-6, so that the value is finite.
    """
    if residual.size == 0:
        return math.nan
    sd = np.maximum(np.asarray(sd, dtype=np.float64), SMALLEST_SD)
    return float(np.mean(0.5 * np.log(2 * np.pi * sd**2) + 0.5 * (residual / sd) ** 2))


def foreground(moved: NDArray[Any], fixed: NDArray[Any]) -> NDArray[np.bool_]:
    """Where either image is not zero."""
    return np.asarray((moved != 0) | (fixed != 0))
