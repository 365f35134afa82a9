"""Smooth random functions of position: cubic B-splines on a lattice of random numbers.

They can be evaluated at any position, so that a motion carries a texture along without interpolation error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from heteroreg.system.arrays import Floats

REACH = 100.0  # half the width of the lattice; beyond it the function is mirrored
MEAN_SQUARE = 151 / 315  # mean over a cell of the sum of squares of the four cubic B-spline weights


@dataclass(frozen=True)
class Spline:
    """f(p) = Σₖ cₖ Πᵢ B₃(pᵢ / h − kᵢ), with B₃ the cubic B-spline.

    Attributes:
        coefficients: The lattice c, one axis for each axis of the position.
        step: Distance h between the nodes.
    """

    coefficients: Floats
    step: float

    def __call__(self, points: Floats) -> Floats:
        """Return the values at `points` (d, …)."""
        middle = (np.asarray(self.coefficients.shape) - 1) / 2
        index = points / self.step + middle.reshape(-1, *[1] * (points.ndim - 1))
        return np.asarray(
            ndimage.map_coordinates(self.coefficients, index, order=3, mode="mirror", prefilter=False)
        )


def texture(rng: np.random.Generator, dims: int, step: float) -> Spline:
    """Return a random function of mean 0 and variance 1 with details about `step` wide."""
    nodes = 2 * int(np.ceil(REACH / step)) + 1
    return Spline(rng.standard_normal((nodes,) * dims) / MEAN_SQUARE ** (dims / 2), step)


def bumps(rng: np.random.Generator, dims: int, step: float, amplitude: float) -> Spline:
    """Return a random function within ±amplitude with slopes of at most 2 · amplitude / step along each axis.

    The weights of a B-spline are positive and sum to 1, and its derivative is the spline of the differences of
    neighbouring coefficients; hence the bounds.
    """
    nodes = 2 * int(np.ceil(REACH / step)) + 1
    return Spline(rng.uniform(-amplitude, amplitude, (nodes,) * dims), step)


def smooth_map(rng: np.random.Generator, shape: Sequence[int], cells: float = 4.0) -> Floats:
    """Return a smooth random array with minimum 0 and maximum 1 and about `cells` bumps along its longest axis."""
    step = max(shape) / cells
    sizes = [int(np.ceil(n / step)) + 4 for n in shape]
    points = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij"))
    values = Spline(rng.standard_normal(sizes), step)(points)
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low))
