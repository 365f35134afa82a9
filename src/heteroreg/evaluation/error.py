"""Scores of the calibrated error of the displacement, against contours and against a known displacement."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from heteroreg.system.arrays import Doubles, Floats
from heteroreg.uncertainty.sparsification import Sparsification, sparsification_curve

ENCE_BINS = 10  # of the ENCE, with equally many points


def error_scores(error: Doubles, half_width: Floats, scales: Mapping[int, float]) -> dict[str, float]:
    """Compare intervals of the error with the true error of each point.

    Args:
        error: The error in mm, of one direction (M,).
        half_width: Half-width of the interval at the largest level in mm (M,).
        scales: For each level in percent its half-width as a share of that.

    Returns:
        `coverage_<level>`: share of the errors inside the interval. `mean`: mean size of the error. `width`: mean
        half-width at the largest level. `order`: Spearman's correlation of the half-width and the error. `ause`,
        `aurg` and `gain` of the squared error, the last AURG/(AURG + AUSE): 1 for the best order and 0 for none.
        `ence`: see `ence`. NaN where not defined.
    """
    error, half = np.abs(np.asarray(error, dtype=np.float64)), np.asarray(half_width, dtype=np.float64)
    if not error.size:
        return {}
    found = {f"coverage_{level}": float(np.mean(error <= scale * half)) for level, scale in scales.items()}
    varied = error.size > 2 and min(np.ptp(error), np.ptp(half)) > 0
    level = max(scales)
    sd = half / stats.norm.ppf(0.5 + level / 200)
    curve = sparsification_curve(error**2, half)
    assert curve is not None  # there are points
    return found | {
        "mean": float(error.mean()),
        "width": float(half.mean()),
        "order": float(stats.spearmanr(error, half)[0]) if varied else math.nan,
        "ause": curve.ause,
        "aurg": curve.aurg,
        "gain": _share(curve),
        "ence": ence(error, sd),
    }


def gain(error: Doubles, uncertainty: Doubles) -> float:
    """Return AURG/(AURG + AUSE) of the squared error, the share of the possible gain; NaN without an error.

    Args:
        error: e (M,).
        uncertainty: Only its order counts (M,).
    """
    curve = sparsification_curve(error**2, uncertainty)
    return math.nan if curve is None else _share(curve)


def _share(curve: Sparsification) -> float:
    whole = curve.aurg + curve.ause
    return curve.aurg / whole if whole > 0 else math.nan


def ence(error: Doubles, sd: Doubles, bins: int = ENCE_BINS) -> float:
    """Return the expected normalised calibration error (Levi et al., Sensors 2022).

    Points are sorted by σ̂ into bins of equally many; it is the mean over the bins of |√mean(σ̂²) - √mean(e²)| over
    √mean(σ̂²). 0 is perfect.

    Args:
        error: e (M,).
        sd: σ̂ (M,), in the same unit.
        bins: Number of bins.
    """
    if len(error) < bins:
        return math.nan
    parts: list[NDArray[np.intp]] = np.array_split(np.argsort(sd, kind="stable"), bins)
    spread = np.array([math.sqrt(np.mean(sd[part] ** 2)) for part in parts])
    true = np.array([math.sqrt(np.mean(error[part] ** 2)) for part in parts])
    return float(np.mean(np.abs(spread - true) / spread)) if (spread > 0).all() else math.nan
