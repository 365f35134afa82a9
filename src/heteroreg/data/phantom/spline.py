"""Smooth random functions of position: cubic B-splines over a lattice of random numbers.

They are functions, not images: they can be evaluated anywhere, so that a texture is carried by a motion without
any interpolation error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from heteroreg.system.arrays import Floats

REACH = 100.0  # half the width of the region that a lattice covers; beyond it the function is mirrored
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
        """The values at `points` (d, …)."""
        middle = (np.asarray(self.coefficients.shape) - 1) / 2
        index = points / self.step + middle.reshape(-1, *[1] * (points.ndim - 1))
        return np.asarray(
            ndimage.map_coordinates(self.coefficients, index, order=3, mode="mirror", prefilter=False)
        )


def texture(rng: np.random.Generator, dims: int, step: float) -> Spline:
    """A random function of mean 0 and variance 1 whose detail is about `step` wide."""
    nodes = 2 * int(np.ceil(REACH / step)) + 1
    return Spline(rng.standard_normal((nodes,) * dims) / MEAN_SQUARE ** (dims / 2), step)


def bumps(rng: np.random.Generator, dims: int, step: float, amplitude: float) -> Spline:
    """A random function with values in ±amplitude and a slope of at most 2 · amplitude / step along each axis.

    The bounds hold since the weights of a B-spline are positive and sum to 1, and its derivative is the spline
    of the differences of neighbouring coefficients.
    """
    nodes = 2 * int(np.ceil(REACH / step)) + 1
    return Spline(rng.uniform(-amplitude, amplitude, (nodes,) * dims), step)


def smooth_map(rng: np.random.Generator, shape: Sequence[int], cells: float = 4.0) -> Floats:
    """A smooth random array from 0 to 1, both attained, with about `cells` bumps along its longest axis."""
    step = max(shape) / cells
    sizes = [int(np.ceil(n / step)) + 4 for n in shape]
    points = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij"))
    values = Spline(rng.standard_normal(sizes), step)(points)
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low))
