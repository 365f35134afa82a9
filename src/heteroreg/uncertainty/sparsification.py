"""Sparsification: the error of what remains when the most uncertain part is removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from heteroreg.system.arrays import Doubles

FRACTIONS: Doubles = np.arange(100) / 100


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
