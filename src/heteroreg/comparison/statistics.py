"""Statistics over patients: intervals, paired tests, correction for many tests."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 9999
CONFIDENCE = 0.95
SEED = 0


def bootstrap_interval(values: NDArray[Any]) -> tuple[float, float]:
    """The 95 % interval of the mean of independent values (BCa bootstrap, 9,999 resamples, seed 0).

    Args:
        values: One number for each patient, without NaN.

    Returns:
        Lower and upper end; the value twice where all are equal; NaN for fewer than two values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size < 2:
        return math.nan, math.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=1000,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def sample_sd(values: NDArray[Any]) -> float:
    """The sample standard deviation, √(Σ(x - x̄)²/(N - 1)); NaN for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def paired_t_test(differences: NDArray[Any]) -> float:
    """Two-sided p of the paired t-test: could the mean difference be 0?

    Args:
        differences: One number for each patient, without NaN.

    Returns:
        p; 1 where all differences are 0; NaN for fewer than two.
    """
    if (p := _without_test(differences)) is not None:
        return p
    with warnings.catch_warnings():
        # Differences that are all alike lose precision in the variance; p is then 0 or next to it, rightly.
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _without_test(differences: NDArray[Any]) -> float | None:
    """p where there is nothing to test: NaN for fewer than two differences, 1 where all are 0."""
    if differences.size < 2:
        return math.nan
    return None if differences.any() else 1.0


def wilcoxon_test(differences: NDArray[Any]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test: are the differences symmetric about 0?

    Differences of 0 are left out (Wilcoxon's own way). Exact for few patients without ties, else the normal
    approximation.

    Args:
        differences: One number for each patient, without NaN.

    Returns:
        p; 1 where all differences are 0; NaN for fewer than two.
    """
    if (p := _without_test(differences)) is not None:
        return p
    return float(stats.wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scand. J. Stat. 1979) of a family of tests.

    In rising order, p₍ᵢ₎ becomes max over j ≤ i of (m - j + 1)·p₍ⱼ₎, at most 1.

    Args:
        p_values: One for each test; NaN are no tests and stay NaN.

    Returns:
        The corrected values, in the order given.
    """
    tests = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * p))
        corrected[index] = largest
    return corrected
