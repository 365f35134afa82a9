"""One line of a comparison: one metric of one row."""

from __future__ import annotations

import math
from dataclasses import dataclass

SIGNIFICANCE_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Result:
    """One metric of one row, and its difference to the baseline; NaN where a number is not defined.

    Attributes:
        n: Number of patients.
        seeds: Number of evaluations that differ in the seed of the training.
        mean: Mean over patients.
        sd: Sample standard deviation over patients.
        sd_seeds: Sample standard deviation over the seeds of the mean over patients.
        low: Lower end of the 95 % bootstrap interval of the mean.
        high: Upper end.
        difference: Mean over patients of row - baseline.
        difference_low: Lower end of the 95 % bootstrap interval of the difference.
        difference_high: Upper end.
        p_t: p-value of the paired t-test.
        p_wilcoxon: p-value of Wilcoxon's signed-rank test.
        p_holm: `p_t` after Holm's correction over the rows that were tested on this metric.
        better: True or False for a significant gain or loss; None otherwise, and where neither direction is better.
    """

    n: int
    seeds: int
    mean: float
    sd: float
    sd_seeds: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    p_t: float
    p_wilcoxon: float
    p_holm: float
    better: bool | None

    @property
    def compared(self) -> bool:
        """True if there is a difference to the baseline."""
        return math.isfinite(self.difference)

    @property
    def tested(self) -> bool:
        """True if there were enough patients to test the difference."""
        return math.isfinite(self.p_holm)

    @property
    def significant(self) -> bool:
        """True if the difference is significant at the 5 % level after Holm's correction."""
        return self.p_holm < SIGNIFICANCE_LEVEL
