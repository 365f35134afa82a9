"""Scales, sizes and statistics of a calibration, on data whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from heteroreg.networks.displacement import correlated
from heteroreg.uncertainty.calibration import (
    Combination,
    PairStatistics,
    SizeCalibration,
    correlation_length,
    cross_fitted,
    folds,
    held_of,
    scales_of,
    statistics_of,
)


def gaussian_toy(patients=200, points=50, seed=0):
    """Errors N(0, σ²) with σ = exp(0.5 + z₁ - 0.5·z₂) of two maps z, and a third map that says nothing."""
    random = np.random.default_rng(seed)
    maps = random.standard_normal((patients * points, 3))
    sd = np.exp(0.5 + maps[:, 0] - 0.5 * maps[:, 1])
    return maps, sd, sd * random.standard_normal(len(sd)), np.repeat(np.arange(patients), points)


def test_scales_of_a_gaussian_are_its_quantiles():
    _, sd, error, patients = gaussian_toy()
    scales = scales_of(np.abs(error) / sd, patients)
    assert list(scales) == [50, 68, 90, 95]
    for level, scale in scales.items():
        assert scale == pytest.approx(norm.ppf(0.5 + level / 200), rel=0.05)


def test_the_combination_finds_the_maps_that_make_the_error():
    maps, sd, error, patients = gaussian_toy()
    found = Combination.fit(maps, error, patients)
    slopes = np.array(found.coefficients[1:]) / np.array(found.sd)
    # |e| + 0.3 mm in place of |e| flattens the slopes, and by the same factor.
    assert slopes[0] / slopes[1] == pytest.approx(-2, rel=0.1)
    assert abs(slopes[2]) < 0.03
    assert np.corrcoef(np.log(found(maps)), np.log(sd))[0, 1] > 0.98  # the products follow the 0.3 mm
    beyond = found(100 * np.ones((1, 3)))  # clipped to what was seen
    assert np.isfinite(beyond).all()
    assert beyond < 50


def test_the_combination_finds_products_of_maps_too():
    maps, _, _, patients = gaussian_toy(400)
    truth = 0.5 + 0.4 * maps[:, 0] * maps[:, 1] - 0.3 * maps[:, 2] ** 2
    error = np.exp(truth) * np.sign(np.random.default_rng(1).standard_normal(len(truth)))
    found = Combination.fit(maps, error, patients)
    assert np.corrcoef(np.log(found(maps)), truth)[0, 1] > 0.95
    linear = replace(found, products=())  # as an earlier version wrote it
    assert abs(np.corrcoef(np.log(linear(maps)), truth)[0, 1]) < 0.2


def test_the_combination_solves_its_normal_equations():
    maps, _, error, patients = gaussian_toy(20)
    maps = np.clip(maps, *np.percentile(maps, (0.5, 99.5), axis=0))
    found = Combination.fit(maps, error, patients)
    z = (maps - maps.mean(axis=0)) / (maps.std(axis=0) + 1e-6)
    columns = [np.ones(len(z)), *z.T]
    columns += [z[:, k] * z[:, m] - (k == m) for k in range(3) for m in range(k, 3)]
    penalty = np.sqrt(len(z) * np.array([0, *[1e-3] * 3, *[0.3] * 6]))
    target = np.concatenate([np.log(np.abs(error) + 0.3), np.zeros(10)])
    solution = np.linalg.lstsq(np.concatenate([np.stack(columns, axis=1), np.diag(penalty)]), target, rcond=None)[0]
    np.testing.assert_allclose(np.log(found(maps)), np.stack(columns, axis=1) @ solution, atol=0.02)


def test_coverage_on_new_patients_is_the_level():
    maps, _, error, patients = gaussian_toy(60, seed=1)
    combination = Combination.fit(maps, error, patients)
    scales = scales_of(np.abs(error) / cross_fitted(maps, error, patients), patients)
    new_maps, _, new_error, _ = gaussian_toy(500, seed=2)
    for level, scale in scales.items():
        inside = np.mean(np.abs(new_error) <= scale * combination(new_maps))
        assert inside == pytest.approx(level / 100, abs=0.03)


def test_what_held_is_measured_on_patients_left_out():
    _, sd, error, patients = gaussian_toy(60, seed=3)
    held = held_of(sd, error, patients)
    assert held.patients == 60
    assert held.order > 0.4
    for level, share in held.coverage.items():
        assert share == pytest.approx(level / 100, abs=0.035)
    constant = held_of(np.ones_like(sd), error, patients)
    assert constant.order is None
    assert constant.width > 1.2 * held.width  # a constant holds as well, and is wider


def test_folds_never_split_a_patient():
    patients = np.repeat(np.arange(7), 3)
    parts = folds(patients)
    assert sum(inside.sum() for _, inside in parts) == len(patients)
    for outside, inside in parts:
        assert not set(patients[outside]) & set(patients[inside])


def test_few_patients_give_the_levels_that_they_can():
    scores = np.arange(1.0, 13)
    assert list(scales_of(scores, np.arange(12))) == [50, 68, 90]  # at most 12/13 = 92 %
    assert list(scales_of(scores[:3], np.arange(3))) == [50, 68]
    assert scales_of(scores[:0], np.arange(0)) == {}


def test_sizes_by_hand():
    # log(true/warped) of 19 patients: -0.2 ± 0.01·k. Without the patient the median moves by half a step at most.
    steps = np.arange(-9, 10)
    found = SizeCalibration.fit(-0.2 + 0.01 * steps, np.full(19, 0.1), [f"p{k}" for k in steps])
    assert found.bias == pytest.approx(-0.2)
    assert found.floor == pytest.approx(0.1)
    assert found.scales[95] == pytest.approx((0.09 + 0.005) / np.hypot(0.1, 0.1))
    low, high = found.interval(100.0, 0.1, 95)
    assert low == pytest.approx(100 * np.exp(-0.2 - 0.095))
    assert high == pytest.approx(100 * np.exp(-0.2 + 0.095))


def test_intervals_of_sizes_hold_on_new_patients():
    random = np.random.default_rng(4)

    def draw(count):
        spreads = random.uniform(0.02, 0.2, count)
        return 0.3 + 1.5 * spreads * random.standard_normal(count), spreads

    inside = []
    for _ in range(100):
        known, spreads = draw(40)
        found = SizeCalibration.fit(known, spreads, list(range(40)))
        ratios, widths = draw(40)
        bounds = [found.interval(1.0, width, 90) for width in widths]
        inside += [low <= np.exp(ratio) <= high for ratio, (low, high) in zip(ratios, bounds, strict=True)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.025)


def test_unlike_pairs_have_small_p_values_and_like_ones_do_not():
    random = np.random.default_rng(5)
    mixing = random.standard_normal((4, 4))
    names = ["residual (mean)", "noise (mean)", "spread (mean)", "motion (mean)"]
    values = random.standard_normal((100, 4)) @ mixing
    found = PairStatistics.fit(names, values, [f"p{k}" for k in range(100)])
    like = [found.p_value(row) for row in random.standard_normal((400, 4)) @ mixing]
    assert np.mean(np.array(like) <= 0.05) < 0.09
    for place, name in enumerate(names[:3]):
        odd = values.mean(axis=0) + 12 * values.std() * np.eye(4)[place]
        assert found.p_value(odd) <= 0.05
        assert found.most_unlike(odd) == name
        below = values.mean(axis=0) - 12 * values.std() * np.eye(4)[place]
        assert found.p_value(below) > 0.05  # the intervals are only too wide


def test_unlikeness_is_the_mean_rise_of_the_errors_and_three_times_the_excess_of_the_intensities():
    random = np.random.default_rng(6)
    names = ["learned error (mean)", "spread (mean)", "residual (mean)", "gradient (mean)", "motion (mean)"]
    values = random.standard_normal((30, 5))
    found = PairStatistics.fit(names, values, list(range(30)))
    z = (values[7] - np.delete(values, 7, axis=0).mean(axis=0)) / (np.delete(values, 7, axis=0).std(axis=0) + 1e-3)
    by_hand = (z[0] + z[1]) / 2 + 3 * (max(z[2] - 2, 0) + max(z[3] - 2, 0)) / 2
    assert found.scores[7] == pytest.approx(by_hand)


def test_several_pairs_of_a_patient_count_as_one():
    values = np.array([[0.0], [2.0], [5.0], [7.0], [9.0]])
    found = PairStatistics.fit(["a"], values, ["x", "x", "y", "z", "w"])
    assert len(found.scores) == 4
    assert found.mean == pytest.approx(((1 + 5 + 7 + 9) / 4,))


def test_statistics_are_mean_and_percentile_of_the_foreground():
    array = np.arange(20.0).reshape(1, 4, 5)
    inside = array < 11
    names, values = statistics_of({"noise": array}, inside)
    assert names == ["noise (mean)", "noise (95th percentile)"]
    assert values == pytest.approx([5.0, 9.5])


@pytest.mark.parametrize("length", [1.5, 4.0])
def test_the_correlation_length_is_found_again(length):
    noise = torch.randn((20, 2, 64, 64), generator=torch.Generator().manual_seed(0))
    error = correlated(noise, [length, length]).numpy()
    weight = np.ones((20, 64, 64), dtype=bool)
    weight[:, :10] = False
    assert correlation_length(error, 2.0, 3, weight) == pytest.approx(2 * length, rel=0.1)
    assert correlation_length(error, 8.0, 0, weight) < 4  # slices are independent: less than half their distance
