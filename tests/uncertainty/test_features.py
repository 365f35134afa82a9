"""The maps that a combination takes, against computations voxel by voxel."""

import numpy as np
import pytest

from heteroreg.uncertainty.features import (
    ALIKE,
    DISSIMILARITY,
    FLAT,
    NEARBY,
    SMOOTHING,
    SURROUNDINGS,
    combination_maps,
    dissimilarity,
    for_combination,
)


def weights(shape, centre, sd):
    """Return the weights of a Gaussian around a voxel far from the edges, cut at four standard deviations."""
    found = np.ones(shape)
    for axis, (size, middle) in enumerate(zip(shape, centre, strict=True)):
        away = np.abs(np.arange(size) - middle)
        one = np.where(away <= int(4 * sd + 0.5), np.exp(-0.5 * (away / sd) ** 2), 0)
        found *= one.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return found / found.sum()


@pytest.mark.parametrize("shape", [(40, 36), (24, 22, 26)])
def test_the_dissimilarity_is_that_of_the_correlation_around_the_voxel(shape):
    random = np.random.default_rng(0)
    moved = random.random((2, *shape))
    fixed = 0.7 * moved + 0.3 * random.random((2, *shape))
    found = dissimilarity(moved, fixed)
    centre = tuple(size // 2 for size in shape)
    around = weights(shape, centre, SMOOTHING)
    for number in range(2):
        one, two = moved[number], fixed[number]
        means = (around * one).sum(), (around * two).sum()
        covariance = (around * (one - means[0]) * (two - means[1])).sum()
        variances = [(around * (x - m) ** 2).sum() + FLAT for x, m in zip((one, two), means, strict=True)]
        correlation = covariance / np.sqrt(np.prod(variances))
        assert found[number][centre] == pytest.approx(np.log(1 + ALIKE - correlation), abs=1e-5)


def test_equal_images_are_least_dissimilar_and_opposite_ones_most():
    image = np.random.default_rng(0).random((1, 32, 32))
    assert np.allclose(dissimilarity(image, image), np.log(ALIKE), atol=0.3)
    assert np.allclose(dissimilarity(image, 1 - image), np.log(2 + ALIKE), atol=0.01)
    flat = np.full_like(image, 0.5)
    np.testing.assert_allclose(dissimilarity(flat, image), np.log(1 + ALIKE), atol=1e-5)


def test_each_map_is_also_averaged_over_its_surroundings_within_its_slice():
    random = np.random.default_rng(0)
    logs = {"residual": random.random((2, 64, 64)).astype(np.float16)}  # as a calibration keeps them
    images = random.random((2, 2, 64, 64))
    found = for_combination(logs, *images)
    assert tuple(found) == combination_maps(["residual"])
    np.testing.assert_array_equal(found["residual"], logs["residual"])
    around = weights((64, 64), (32, 32), SURROUNDINGS)
    for name in ("residual", DISSIMILARITY):
        for number in range(2):
            expected = (around * found[name][number]).sum()
            assert found[name + NEARBY][number, 32, 32] == pytest.approx(expected, abs=1e-4)
