import numpy as np
import pytest
from scipy import ndimage, stats

from heteroreg.data.grid import Grid
from heteroreg.evaluation.truth import (
    displacement_agreement,
    displacement_sd_size,
    end_point_error,
    expected_noise_sd,
    noise_agreement,
)


def test_end_point_error_is_in_mm_and_counts_every_axis():
    # Off by (3, 0, 1) voxels of 1 × 1 × 4 mm: √(9 + 16) = 5 mm.
    grid = Grid.of_shape((2, 2, 2), (1, 1, 4))
    off = np.array([3.0, 0.0, 1.0]).reshape(3, 1, 1, 1)
    true = np.random.default_rng(0).random((3, 2, 2, 2))
    np.testing.assert_allclose(end_point_error(true + off, true, grid), 5)


def test_an_oblique_grid_does_not_change_a_length():
    c, s = np.cos(0.4), np.sin(0.4)
    grid = Grid((2, 2), (1.0, 2.0), (0.0, 0.0), (c, -s, s, c))
    np.testing.assert_allclose(end_point_error(np.full((2, 2, 2), 1.0), np.zeros((2, 2, 2)), grid), np.sqrt(5))


def test_expected_noise_is_the_root_of_both_variances():
    # σ_f = 3 and σ_m = 4 everywhere: 5. Without noise in moving: 3.
    still = np.zeros((2, 4, 4))
    np.testing.assert_allclose(expected_noise_sd(np.full((4, 4), 3.0), np.full((4, 4), 4.0), still), 5)
    np.testing.assert_allclose(expected_noise_sd(np.full((4, 4), 3.0), None, still), 3)


def test_the_moving_noise_is_read_at_the_displaced_place():
    random = np.random.default_rng(3)
    moving_sd, u = random.random((9, 8)), random.uniform(-0.9, 0.9, (2, 9, 8))
    u[:, [0, -1]] = u[:, :, [0, -1]] = 0
    moved = ndimage.map_coordinates(moving_sd, np.mgrid[:9, :8] + u, order=1)
    np.testing.assert_allclose(expected_noise_sd(np.zeros((9, 8)), moving_sd, u), moved, atol=1e-12)


def test_agreement_against_scipy():
    random = np.random.default_rng(4)
    true = random.gamma(2, size=(10, 10))
    predicted = 1.5 * true**2
    result = noise_agreement(predicted, true)
    assert result["noise_correlation"] == pytest.approx(stats.pearsonr(predicted.ravel(), true.ravel())[0])
    assert result["noise_rank_correlation"] == pytest.approx(1)  # same order
    assert noise_agreement(2 * true, true)["noise_ratio"] == pytest.approx(2)


def test_ratio_is_a_median_where_there_is_noise():
    # Ratios 1, 2 and 9; the pixel without noise is left out.
    result = noise_agreement(np.array([1.0, 4, 9, 7]), np.array([1.0, 2, 1, 0]))
    assert result["noise_ratio"] == 2


@pytest.mark.parametrize(
    ("predicted", "true"), [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [2, 2, 2]), ([1], [1]), ([], [])]
)
def test_no_correlation_with_a_constant(predicted, true):
    result = noise_agreement(np.array(predicted, float), np.array(true, float))
    assert np.isnan(result["noise_correlation"])
    assert np.isnan(result["noise_rank_correlation"])


def test_no_ratio_without_noise():
    assert np.isnan(noise_agreement(np.ones(4), np.zeros(4))["noise_ratio"])


@pytest.mark.parametrize("dims", [2, 3])
def test_a_right_uncertainty_covers_what_it_says(dims):
    # Errors drawn from what the map says: σ̂_z²/d along each axis.
    random = np.random.default_rng(5)
    sd = random.gamma(4, size=20_000)
    error = np.linalg.norm(random.normal(size=(dims, sd.size)) * sd / np.sqrt(dims), axis=0)
    result = displacement_agreement(sd, error, dims)
    assert result["displacement_coverage_68"] == pytest.approx(0.68, abs=0.015)
    assert result["displacement_coverage_95"] == pytest.approx(0.95, abs=0.01)
    assert result["displacement_sd_ratio"] == pytest.approx(1, abs=0.02)
    assert result["displacement_sd_correlation"] == pytest.approx(stats.pearsonr(sd, error)[0])


def test_coverage_by_hand():
    # In 2D |e|²/(σ²/2) is exponential with mean 2: the bound at p is σ·√(-ln(1 - p)), 1.0674 and 1.7308 for σ = 1.
    error = np.array([1.06, 1.07, 1.73, 1.74])
    result = displacement_agreement(np.ones(4), error, 2)
    assert result["displacement_coverage_68"] == 0.25
    assert result["displacement_coverage_95"] == 0.75
    # RMS 2 over RMS √((1 + 7)/2) = 2.
    ratio = displacement_agreement(np.array([2.0, 2.0]), np.array([1.0, np.sqrt(7)]), 2)["displacement_sd_ratio"]
    assert ratio == pytest.approx(1)


def test_an_uncertainty_without_voxels_or_errors_is_not_scored():
    assert all(np.isnan(value) for value in displacement_agreement(np.zeros(0), np.zeros(0), 2).values())
    assert np.isnan(displacement_agreement(np.ones(3), np.zeros(3), 2)["displacement_sd_ratio"])
    assert np.isnan(displacement_agreement(np.ones(3), np.arange(3.0), 2)["displacement_sd_correlation"])
    assert all(np.isnan(value) for value in displacement_sd_size(np.zeros(0)).values())


def test_spread_by_hand():
    # Mean 2, standard deviation 1: half of it. A constant map has none, a map of zeros no mean to compare with.
    assert displacement_sd_size(np.array([1.0, 3.0])) == {"displacement_sd_mean": 2, "displacement_sd_cv": 0.5}
    assert displacement_sd_size(np.full(4, 3.0))["displacement_sd_cv"] == 0
    assert np.isnan(displacement_sd_size(np.zeros(4))["displacement_sd_cv"])
