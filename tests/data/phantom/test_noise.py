import numpy as np
import pytest
from scipy import stats

from heteroreg.data.phantom import make_pair
from heteroreg.data.phantom.noise import add_noise, intensity_range, random_noise, rician_sd, sector, speckle
from heteroreg.system.errors import UserError


def clean(shape=(40, 36)) -> np.ndarray:
    return make_pair(1, shape=shape, spacing=(1.5,) * len(shape)).moving_clean.array.astype(float)


@pytest.mark.parametrize("kind", ["gaussian", "rician", "speckle"])
def test_sd_is_that_of_many_draws(kind):
    noise = random_noise(clean(), np.random.default_rng(0), kind=kind, strength=1.5)
    rng = np.random.default_rng(1)
    draws = np.stack([noise.draw(rng) for _ in range(600)])
    noisy = noise.sd > 0
    ratio = draws.std(axis=0, ddof=1)[noisy] / noise.sd[noisy]
    # The sd of n draws has a relative error of about 1/√(2n) = 2.9 % for Gaussian noise.
    assert abs(ratio.mean() - 1) < 0.005
    assert ratio.std() < 0.045
    assert ratio.min() > 0.85
    assert ratio.max() < 1.2
    if kind != "rician":  # whose mean is biased by nature
        np.testing.assert_allclose(
            ((draws.mean(axis=0) - noise.signal)[noisy] / noise.sd[noisy]).std(), 1 / np.sqrt(600), rtol=0.15
        )


@pytest.mark.parametrize("kind", ["gaussian", "rician", "speckle"])
def test_noise_is_uneven_and_scales_with_the_intensities(kind):
    image = clean()
    small = random_noise(image, np.random.default_rng(0), kind=kind).sd
    large = random_noise(image * 250, np.random.default_rng(0), kind=kind).sd
    np.testing.assert_allclose(large, 250 * small, rtol=1e-6)
    assert np.percentile(small[small > 0], 95) > 3 * np.percentile(small[small > 0], 5)


@pytest.mark.parametrize("signal", [0.0, 0.5, 1.0, 3.0, 10.0, 250.0, 400.0, 1e6])
@pytest.mark.parametrize("sigma", [0.2, 1.0, 30.0])
def test_rician_sd(signal, sigma):
    # SciPy's own variance loses its digits from a ratio of some hundred on, where the limit is σ.
    expected = stats.rice.std(min(signal, 50.0), scale=sigma) if signal <= 10 else sigma
    measured = rician_sd(np.array([signal * sigma]), np.array([sigma]))[0]
    np.testing.assert_allclose(measured, expected, rtol=1e-6 if signal <= 10 else 5e-5)


def test_rician_sd_without_noise_or_signal():
    # Without signal the magnitude is Rayleigh: sd = σ·√(2 − π/2).
    np.testing.assert_allclose(
        rician_sd(np.array([5.0, 0.0]), np.array([0.0, 2.0])), [0.0, 2 * np.sqrt(2 - np.pi / 2)]
    )


def test_rician_and_speckle_stay_positive():
    for kind in ("rician", "speckle"):
        noisy, _ = add_noise(clean(), np.random.default_rng(3), kind=kind, strength=5.0)
        assert noisy.min() >= 0


def test_speckle_has_grains():
    rng = np.random.default_rng(0)
    field = np.stack([speckle(rng, (32, 32)) for _ in range(200)])
    neighbours = (field[:, 1:] * field[:, :-1]).mean(), (field[:, :, 1:] * field[:, :, :-1]).mean()
    far = (field[:, 8:] * field[:, :-8]).mean()
    assert neighbours[0] > neighbours[1] > 0.2  # wider across the beam than along it
    assert abs(far) < 0.03
    np.testing.assert_allclose(field.std(), 1.0, rtol=0.02)


@pytest.mark.parametrize("shape", [(64, 64), (40, 48, 24)])
def test_sector_and_attenuation(shape):
    inside, depth = sector(shape)
    middle = tuple(n // 2 for n in shape)
    assert inside[middle]
    assert not inside[(0,) * len(shape)]
    along = (middle[0], slice(None), *middle[2:])
    assert (np.diff(depth[along]) > 0).all()
    noise = random_noise(np.full(shape, 100.0), np.random.default_rng(0), kind="speckle")
    assert not noise.signal[~inside].any()
    assert not noise.sd[~inside].any()
    # exp(−0.7 · depth) of a uniform tissue
    np.testing.assert_allclose(noise.signal[inside], 100 * np.exp(-0.7 * depth[inside]))


def test_intensity_range():
    assert intensity_range(np.full((4, 4), 7.0)) == 1.0
    ramp = np.linspace(0.0, 200.0, 201)  # the 99.5th percentile is 199
    assert intensity_range(ramp) == pytest.approx(199.0)


@pytest.mark.parametrize("options", [{"kind": "pink"}, {"strength": -0.5}, {"strength": float("nan")}])
def test_what_is_not_allowed(options):
    with pytest.raises(UserError, match=r"^noise: 'pink'|^strength: "):
        random_noise(clean(), np.random.default_rng(0), **options)
