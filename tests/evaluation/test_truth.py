import numpy as np
import pytest
from scipy import ndimage, stats

from heteroreg.data.grid import Grid
from heteroreg.evaluation.truth import end_point_error, expected_noise_sd, noise_agreement


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
