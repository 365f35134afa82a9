"""The fine noise map: blind to the voxel itself, right about known noise, calibrated over patients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import norm, spearmanr

from heteroreg.uncertainty.noise import (
    HIGH,
    INPUTS,
    RESIDUAL,
    NoiseEstimator,
    Residuals,
    learn_noise,
    noise_features,
    noise_sd,
    sampled,
)

Images = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.mark.parametrize("place", [(0, 12, 9), (0, 0, 0), (0, 23, 5)])
def test_the_features_of_a_voxel_do_not_see_it(place: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0)
    moved, fixed = random.uniform(size=(2, 1, 24, 20)).astype(np.float32)
    changed = fixed.copy()
    changed[place] += 0.7
    before, after = noise_features(moved, fixed), noise_features(moved, changed)
    np.testing.assert_allclose(after[place], before[place], rtol=0, atol=2e-5)
    assert np.abs(after - before).max() > 0.1  # but those of others do


def test_the_features_of_a_volume_do_not_see_it() -> None:
    random = np.random.default_rng(0)
    moved, fixed = random.uniform(size=(2, 1, 10, 9, 8)).astype(np.float32)
    changed = fixed.copy()
    changed[0, 4, 4, 4] += 0.7
    before, after = noise_features(moved, fixed), noise_features(moved, changed)
    assert before.shape == (1, 10, 9, 8, INPUTS)
    np.testing.assert_allclose(after[0, 4, 4, 4], before[0, 4, 4, 4], rtol=0, atol=2e-5)


def test_slices_do_not_see_each_other() -> None:
    random = np.random.default_rng(0)
    moved, fixed = random.uniform(size=(2, 3, 24, 20)).astype(np.float32)
    alone = noise_features(moved[1:2], fixed[1:2])
    np.testing.assert_allclose(noise_features(moved, fixed)[1:2], alone, rtol=0, atol=1e-6)


def test_windows_of_white_noise_have_its_variance() -> None:
    """Residuals and high frequencies alike, and a mean over the voxels around each in plain loops."""
    noise = np.random.default_rng(0).normal(0, 0.1, size=(1, 200, 200)).astype(np.float32)
    features = noise_features(np.zeros_like(noise), noise)
    for index in range(len(RESIDUAL) + len(HIGH)):
        assert np.exp(features[0, ..., index]).mean() == pytest.approx(0.01, rel=0.05)
    weights = {
        (x, y): np.exp(-0.5 * (x * x + y * y)) for x in range(-3, 4) for y in range(-3, 4) if (x, y) != (0, 0)
    }
    at = 50, 70
    by_hand = sum(w * noise[0, at[0] + x, at[1] + y] ** 2 for (x, y), w in weights.items()) / sum(weights.values())
    assert np.exp(features[0, *at, 0]) == pytest.approx(by_hand, rel=1e-3)


def pair(seed: int) -> Images:
    """Two equal images with smooth noise of known SD between 0.02 and 0.12, and that SD."""
    random = np.random.default_rng(seed)
    image = gaussian_filter(random.normal(size=(2, 64, 64)), (0, 4, 4))
    image = 0.5 + 0.3 * image / np.abs(image).max()
    level = gaussian_filter(random.normal(size=(2, 64, 64)), (0, 9, 9), mode="wrap")
    sd = 0.02 + 0.1 * (level - level.min()) / np.ptp(level)
    fixed = image + random.normal(size=image.shape) * sd
    return image.astype(np.float32), fixed.astype(np.float32), sd


def scale(ratio: np.ndarray, patients: np.ndarray) -> float:
    assert set(patients) == {f"p{seed}" for seed in range(12)}
    return float(np.quantile(ratio, 0.68) / norm.ppf(0.84))


def residuals() -> Residuals:
    parts = [sampled(*pair(seed)[:2], 5000, [seed]) for seed in range(12)]
    features, residual = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Residuals(features, residual, np.repeat([f"p{seed}" for seed in range(12)], 5000))


@pytest.fixture(scope="module")
def learned() -> NoiseEstimator:
    return learn_noise(residuals(), scale, steps=400)


def test_known_noise_is_found(learned: NoiseEstimator) -> None:
    moved, fixed, sd = pair(100)
    found = noise_sd(learned, moved, fixed)
    assert spearmanr(found.ravel(), sd.ravel())[0] > 0.9
    assert np.median(found / sd) == pytest.approx(1, abs=0.05)
    inside = {level: np.mean(np.abs(fixed - moved) <= norm.ppf(0.5 + level / 200) * found) for level in (68, 95)}
    assert inside[68] == pytest.approx(0.68, abs=0.02)
    assert inside[95] == pytest.approx(0.95, abs=0.02)


def test_a_wrong_displacement_counts_less_than_noise(learned: NoiseEstimator) -> None:
    """A smooth residual of the same size gives a smaller σ̂ than white noise."""
    moved, fixed, _ = pair(101)
    smooth = gaussian_filter(np.random.default_rng(5).normal(size=moved.shape), (0, 3, 3))
    smooth *= np.std(fixed - moved) / smooth.std()
    assert (
        noise_sd(learned, moved, moved + smooth.astype(np.float32)).mean() < noise_sd(learned, moved, fixed).mean()
    )


def test_the_same_seed_gives_the_same(learned: NoiseEstimator) -> None:
    again = learn_noise(residuals(), scale, steps=400)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in learned.state_dict().items())
