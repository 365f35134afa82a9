import math

import numpy as np
import pytest
from scipy import stats

from heteroreg.comparison.statistics import bootstrap_interval, holm, paired_t_test, sample_sd, wilcoxon_test


def test_paired_t_by_hand():
    # Differences 1, 2, 3: mean 2, sample sd 1 (N - 1), t = 2 / (1/√3) = 3.4641, two degrees of freedom.
    assert paired_t_test(np.array([1.0, 2, 3])) == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), 2))


def test_wilcoxon_by_hand():
    # Five positive differences: both tails hold 2 of the 2⁵ sign patterns.
    assert wilcoxon_test(np.array([1.0, 2, 3, 4, 5])) == pytest.approx(2 / 32)


@pytest.mark.parametrize("test", [paired_t_test, wilcoxon_test])
def test_degenerate_differences(test):
    assert test(np.zeros(5)) == 1
    assert math.isnan(test(np.array([0.3])))
    assert math.isnan(test(np.empty(0)))
    assert test(np.full(8, 0.1)) < 0.05  # all alike, without a warning


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # 4 · 0.01, 3 · 0.02, then 2 · 0.03 = 0.06 and 1 · 0.04 lifted to 0.06.
        ([0.01, 0.04, 0.03, 0.02], [0.04, 0.06, 0.06, 0.06]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.03], [0.03]),
        # No test does not count: 2 tests, not 3.
        ([math.nan, 0.01, 0.2], [math.nan, 0.02, 0.2]),
        ([], []),
    ],
)
def test_holm_by_hand(values, expected):
    assert holm(values) == pytest.approx(expected, nan_ok=True)


def test_bootstrap_comes_near_the_normal_interval():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)
    assert bootstrap_interval(values) == (low, high)  # seeded


def test_bootstrap_of_few_or_equal_values():
    assert bootstrap_interval(np.full(6, 0.8)) == (0.8, 0.8)
    assert np.isnan(bootstrap_interval(np.array([0.8]))).all()
    assert np.isfinite(bootstrap_interval(np.array([0.0, 0, 0, 0, 1]))).all()


def test_sample_sd():
    # 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, over N - 1 = 2.
    assert sample_sd(np.array([1.0, 2, 6])) == pytest.approx(math.sqrt(7))
    assert math.isnan(sample_sd(np.array([1.0])))
