import numpy as np
import pytest
from scipy import stats

from heteroreg.evaluation.uncertainty import coverage, expected_calibration_error, foreground_mask, noise_nll
from heteroreg.uncertainty.sparsification import FRACTIONS, sparsification_curve


def test_curves_of_four_pixels_by_hand():
    # Errors 4, 1, 3, 0 with uncertainty 4, 3, 2, 1: removed in that order.
    curve = sparsification_curve(np.array([[4.0, 1.0], [3.0, 0.0]]), np.array([[4.0, 3.0], [2.0, 1.0]]))
    at = {round(float(f), 2): i for i, f in enumerate(curve.fraction)}
    # All: 8/4. Without the first: (1 + 3 + 0)/3. Without two: (3 + 0)/2. The last one: 0.
    assert curve.mse[[at[0.0], at[0.25], at[0.5], at[0.75]]] == pytest.approx([2, 4 / 3, 1.5, 0])
    # Oracle, removing 4, 3, 1: 8/4, (3 + 1 + 0)/3, (1 + 0)/2, 0.
    assert curve.oracle[[at[0.0], at[0.25], at[0.5], at[0.75]]] == pytest.approx([2, 4 / 3, 0.5, 0])
    assert (curve.random == 2).all()
    # round(0.99 · 4) = 4 would leave nothing: one pixel stays.
    assert curve.mse[-1] == 0


def test_against_removal_by_a_loop():
    random = np.random.default_rng(0)
    error, sd = random.random(257), random.random(257)
    order = np.argsort(-sd)
    expected = [error[order[round(f * 257) :]].mean() for f in FRACTIONS]
    curve = sparsification_curve(error, sd)
    np.testing.assert_allclose(curve.mse, expected)
    # Trapezoids by hand: the ends count half.
    gap = curve.mse - curve.oracle
    assert curve.ause == pytest.approx(0.01 * (gap.sum() - 0.5 * (gap[0] + gap[-1])))
    assert curve.ause > 0


def test_the_true_error_as_uncertainty_is_the_oracle():
    error = np.random.default_rng(1).random(500)
    curve = sparsification_curve(error, np.sqrt(error))
    assert curve.ause == pytest.approx(0, abs=1e-12)
    assert curve.aurg > 0


def test_a_constant_uncertainty_is_the_random_line_exactly():
    # Whatever order the pixels happen to lie in: here sorted, where a plain argsort would look like an oracle.
    curve = sparsification_curve(np.arange(1000.0), np.full(1000, 0.3))
    np.testing.assert_allclose(curve.mse, 499.5)
    assert curve.aurg == pytest.approx(0, abs=1e-9)


def test_ties_count_with_their_mean():
    # Uncertainty 1, 1, 2, 2 and errors 0, 2, 1, 5. Without one: of the tied 1 and 5 either goes: mean 3 stays.
    curve = sparsification_curve(np.array([0.0, 2, 1, 5]), np.array([1.0, 1, 2, 2]))
    assert curve.mse[25] == pytest.approx((0 + 2 + 3) / 3)
    assert curve.mse[50] == pytest.approx((0 + 2) / 2)


def test_the_worst_order_gains_less_than_nothing():
    error = np.arange(100.0)
    assert sparsification_curve(error, -error).aurg < 0


def test_no_pixels_no_curve():
    assert sparsification_curve(np.empty(0), np.empty(0)) is None
    assert np.isnan(coverage(np.empty(0), np.empty(0), 0.9))
    assert np.isnan(noise_nll(np.empty(0), np.empty(0)))
    assert np.isnan(expected_calibration_error(np.empty(0), np.empty(0)))


@pytest.mark.parametrize(
    ("level", "expected"),
    # z = 0.674, 0.994, 1.645, 1.960 sd; |r| = 0, 0.8, 1.2, 1.8, 2.5 of sd 2: r/σ as listed.
    [(0.50, 1 / 5), (0.68, 2 / 5), (0.90, 3 / 5), (0.95, 4 / 5)],
)
def test_coverage_by_hand(level, expected):
    ratio = np.array([0, -0.8, 1.2, -1.8, 2.5])
    assert coverage(2 * ratio, np.full(5, 2.0), level) == pytest.approx(expected)


def test_a_right_sd_is_calibrated_and_a_wrong_one_is_not():
    random = np.random.default_rng(2)
    sd = random.uniform(0.5, 3, 200_000)
    residual = sd * random.standard_normal(sd.size)
    assert expected_calibration_error(residual, sd) < 0.005
    assert coverage(residual, sd, 0.95) == pytest.approx(0.95, abs=0.003)
    # Twice the sd: coverage(p) = 2Φ(2z) - 1 in place of p.
    levels = np.arange(1, 20) / 20
    off = np.abs(2 * stats.norm.cdf(2 * stats.norm.ppf((1 + levels) / 2)) - 1 - levels).mean()
    assert expected_calibration_error(residual, 2 * sd) == pytest.approx(off, abs=0.005)


def test_nll_is_that_of_the_normal_distribution():
    residual, sd = np.array([0.5, -1.0, 2.0]), np.array([1.0, 0.3, 4.0])
    assert noise_nll(residual, sd) == pytest.approx(-stats.norm.logpdf(residual, scale=sd).mean())


def test_nll_of_a_zero_sd_is_finite():
    assert np.isfinite(noise_nll(np.array([0.0, 0.1]), np.zeros(2)))


def test_foreground_is_where_either_is_not_its_smallest_value():
    moved, fixed = np.array([0, 1, 0, 2]), np.array([0, 0, 3, 1])
    assert foreground_mask(moved, fixed).tolist() == [False, True, True, True]
    assert foreground_mask(moved - 1000, fixed + 7).tolist() == [False, True, True, True]
    # A slice without background: that of the whole image counts.
    assert foreground_mask(moved + 1, fixed + 1, (0, 0)).all()
