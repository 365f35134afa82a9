"""Scores of the displacement and of the predicted maps, with and without a known truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from heteroreg.data.grid import Grid
from heteroreg.spatial import warp
from heteroreg.system.arrays import Doubles

DISPLACEMENT_LEVELS = (68, 95)


def end_point_error(displacement: NDArray[Any], true_displacement: NDArray[Any], grid: Grid) -> Doubles:
    """Return |u(x) - u*(x)| in mm for each voxel.

    All axes count, even the one across slices for a model that moves voxels only within them.

    Args:
        displacement: u (d, *shape) in voxels of the grid.
        true_displacement: u* (d, *shape), likewise.
        grid: Gives the spacing.

    Returns:
        (*shape).
    """
    spacing = np.asarray(grid.spacing).reshape(-1, *[1] * grid.dims)
    difference = (np.asarray(displacement, dtype=np.float64) - true_displacement) * spacing
    return np.asarray(np.linalg.norm(difference, axis=0))


def expected_noise_sd(
    fixed_sd: NDArray[Any], moving_sd: NDArray[Any] | None, displacement: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the standard deviation of the noise in fixed - moved for a perfect registration.

    The noises of both images are independent: √(σ_f(x)² + σ_m(x + u(x))²), with linear interpolation of the moving
    image's map. The smoothing of the noise by the interpolation of the moving image is neglected.

    Args:
        fixed_sd: σ_f (*shape), true noise of the fixed image.
        moving_sd: σ_m on the same grid; None where the moving image has no noise.
        displacement: u (d, *shape) in voxels, the true one where it is known.
    """
    variance = np.asarray(fixed_sd, dtype=np.float64) ** 2
    if moving_sd is not None:
        moved = warp(_tensor(moving_sd)[None, None], _tensor(displacement)[None])[0, 0].numpy()
        variance = variance + moved**2
    return np.asarray(np.sqrt(variance))


def noise_agreement(predicted: NDArray[Any], true: NDArray[Any]) -> dict[str, float]:
    """Compare a predicted standard deviation of the noise with the true one.

    Args:
        predicted: One value for each pixel, any shape.
        true: The same shape and unit.

    Returns:
        `noise_correlation`: Pearson's correlation. `noise_rank_correlation`: Spearman's, which asks for the
        order alone. `noise_ratio`: median of predicted / true where the true one is above 0; 1 is right.
        NaN where not defined: fewer than two pixels, or a constant map.
    """
    predicted = np.asarray(predicted, dtype=np.float64).ravel()
    true = np.asarray(true, dtype=np.float64).ravel()
    noisy = true > 0
    return {
        "noise_correlation": _pearson(predicted, true),
        "noise_rank_correlation": _pearson(stats.rankdata(predicted), stats.rankdata(true)),
        "noise_ratio": float(np.median(predicted[noisy] / true[noisy])) if noisy.any() else math.nan,
    }


def displacement_agreement(sd: NDArray[Any], error: NDArray[Any], dims: int) -> dict[str, float]:
    """Compare a predicted standard deviation of the displacement with its true error.

    Taken as that of a Gaussian error, equal along each of d axes, σ̂_z (an RMS length) says |e|² ~ σ̂_z²/d · χ²_d. So
    |e| ≤ σ̂_z·√(q/d) with q the quantile of χ²_d holds for the share of voxels that the level names, if it is right.

    Args:
        sd: σ̂_z in mm, one value for each voxel, any shape.
        error: |e|, the end-point error in mm, the same shape.
        dims: d, the axes along which voxels can move.

    Returns:
        `displacement_sd_correlation`: Pearson's correlation of σ̂_z and |e|. `displacement_sd_ratio`: RMS of σ̂_z
        over that of |e|; 1 is right. `displacement_coverage_68` and `displacement_coverage_95`: the share of voxels
        whose error lies within the interval of that level. NaN where not defined: no voxels, a constant map, no
        error.
    """
    sd = np.asarray(sd, dtype=np.float64).ravel()
    error = np.asarray(error, dtype=np.float64).ravel()
    true = _rms(error)
    values = {
        "displacement_sd_correlation": _pearson(sd, error),
        "displacement_sd_ratio": _rms(sd) / true if true > 0 else math.nan,
    }
    for level in DISPLACEMENT_LEVELS:
        bound = sd * math.sqrt(stats.chi2.ppf(level / 100, dims) / dims)
        inside = float(np.mean(error <= bound)) if error.size else math.nan
        values[f"displacement_coverage_{level}"] = inside
    return values


def displacement_sd_size(sd: NDArray[Any]) -> dict[str, float]:
    """Return the mean of a predicted standard deviation of the displacement, and its coefficient of variation.

    Args:
        sd: σ̂_z in mm, any shape.

    Returns:
        `displacement_sd_mean`, in mm. `displacement_sd_cv`: standard deviation of the map over its mean; near 0
        the map is constant and does not localise errors. NaN without voxels, or with a mean of 0.
    """
    sd = np.asarray(sd, dtype=np.float64).ravel()
    mean = float(sd.mean()) if sd.size else math.nan
    return {"displacement_sd_mean": mean, "displacement_sd_cv": float(sd.std()) / mean if mean > 0 else math.nan}


def _rms(values: Doubles) -> float:
    return math.sqrt(float(np.mean(values**2))) if values.size else math.nan


def _pearson(a: Doubles, b: Doubles) -> float:
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
