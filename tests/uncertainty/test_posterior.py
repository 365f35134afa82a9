"""Samples of a displacement, and what they add up to."""

import numpy as np
import pytest
import torch

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.spatial import integrate, resize_displacement
from heteroreg.uncertainty.label_sizes import LabelSamples
from heteroreg.uncertainty.posterior import VelocityPosterior, standard_deviation, whole


def posterior(grid, mean, variance, *, steps=0, slicewise=False, fixed=None, count=1, correlation=0.0):
    dims = grid.dims - slicewise
    shape = (count, dims, *[(n + 1) // 2 for n in grid.shape[:dims]])
    return VelocityPosterior(
        mean=torch.as_tensor(mean, dtype=torch.float32).expand(shape),
        log_variance=torch.as_tensor(variance, dtype=torch.float32).log().expand(shape),
        int_steps=steps,
        working=grid,
        fixed=fixed or grid,
        slicewise=slicewise,
        device=torch.device("cpu"),
        correlation=correlation,
    )


def test_the_spread_of_a_known_distribution():
    # Without integration u is the velocity, times 2 where it has half the resolution: at every second voxel of
    # 17 x 9 u_i has the standard deviation 2·0.3 = 0.6 voxels. In mm along axes of 1 and 2 mm: √(0.6² + 1.2²).
    grid = Grid.of_shape((17, 9), (1.0, 2.0))
    q = posterior(grid, 0.5, 0.3**2)
    samples = np.stack(list(q.sample(2000, seed=1)))
    sd = standard_deviation(samples, samples[0], grid)
    assert sd[::2, ::2].mean() == pytest.approx(np.sqrt(0.36 + 1.44), rel=0.01)
    # Half way between two voxels the mean of both has half the variance, between four a quarter.
    assert sd[1::2, ::2].mean() == pytest.approx(np.sqrt(1.8 / 2), rel=0.01)
    assert sd[1::2, 1::2].mean() == pytest.approx(np.sqrt(1.8 / 4), rel=0.01)
    np.testing.assert_allclose(samples.mean((0, 2, 3)), [1.0, 1.0], atol=0.02)  # 2 · 0.5
    np.testing.assert_allclose(sd, np.sqrt((samples.var(0, ddof=1) * [[[1.0]], [[4.0]]]).sum(0)), rtol=1e-4)


def test_the_spread_by_hand():
    # u_0 = 1 and 3 voxels of 2 mm: variance 2 voxels² or 8 mm². u_1 = 5 and 5: none. √8.
    grid = Grid.of_shape((2, 2), (2.0, 3.0))
    samples = [np.stack([np.full((2, 2), value), np.full((2, 2), 5.0)]) for value in (1.0, 3.0)]
    for about in (np.zeros((2, 2, 2)), samples[1]):
        np.testing.assert_allclose(standard_deviation(iter(samples), about, grid), np.sqrt(8))


@pytest.mark.parametrize("count", [0, 1])
def test_one_sample_has_no_spread(count):
    with pytest.raises(ValueError, match="needs two samples"):
        standard_deviation([np.zeros((2, 4, 4))] * count, np.zeros((2, 4, 4)), Grid.of_shape((4, 4)))


def test_a_large_displacement_does_not_cost_digits():
    rng = np.random.default_rng(0)
    samples = 1e4 + 1e-2 * rng.normal(size=(20, 2, 4, 4))
    found = standard_deviation(samples, samples[0], Grid.of_shape((4, 4)))
    np.testing.assert_allclose(found, np.sqrt(samples.var(0, ddof=1).sum(0)), rtol=1e-4)


def test_a_seed_means_the_same_samples():
    q = posterior(Grid.of_shape((16, 16)), 0.0, 1.0, steps=7)
    first, again, other = (list(q.sample(3, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first[:2], list(q.sample(2, 1)))  # more samples begin alike
    assert not np.array_equal(first[0], first[1])


def test_without_variance_a_sample_is_the_integral_of_the_mean():
    mean = torch.nn.functional.interpolate(torch.randn(1, 2, 4, 4), size=(16, 16), mode="bilinear")
    q = posterior(Grid.of_shape((32, 32)), mean, 1e-30, steps=7)
    expected = resize_displacement(integrate(mean, 7), (32, 32))[0].numpy()
    np.testing.assert_allclose(next(iter(q.sample(1, 0))), expected, atol=1e-5)


def test_slices_are_drawn_each_on_its_own():
    # Twenty slices are more than one batch holds.
    grid = Grid.of_shape((17, 17, 20), (1.5, 1.5, 8.0))
    q = posterior(grid, 0.0, 1.0, slicewise=True, count=20)
    (sample,) = q.sample(1, 0)
    assert sample.shape == (3, 17, 17, 20)
    assert not sample[2].any()  # nothing moves through the plane
    flat = sample[:2].reshape(-1, 20)
    off = np.corrcoef(flat.T) - np.eye(20)
    assert abs(off).max() < 0.4


def test_they_are_brought_to_the_fixed_grid():
    # A constant shift of 2·1 voxels of 3 mm is one of 6 voxels of 1 mm.
    working, fixed = Grid.of_shape((17, 17), 3.0), Grid.of_shape((49, 49), 1.0)
    (sample,) = posterior(working, 1.0, 1e-30, fixed=fixed).sample(1, 0)
    np.testing.assert_allclose(sample, np.full((2, 49, 49), 6.0), rtol=1e-5)


def test_they_are_made_when_they_are_asked_for():
    q = posterior(Grid.of_shape((16, 16)), 0.0, 1.0)
    samples = q.sample(10**9, 0)
    assert next(samples).shape == (2, 16, 16)


def test_a_whole_is_one_image_or_all_slices():
    batch = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 2, 3, 4)
    assert whole(batch[:1], slicewise=False).shape == (2, 3, 4)
    stack = whole(batch, slicewise=True)
    assert stack.shape == (3, 3, 4, 2)
    assert (stack[0, ..., 1] == 1).all()
    assert not stack[2].any()


def test_slices_are_alike_over_the_same_distance_as_pixels():
    # Pixels of 2 mm and velocities of half their resolution: 5 voxels of 4 mm are 20 mm, two slices of 10 mm.
    # Correlation exp(-r²/2L²): 0.882 to the next slice, 0.135 four slices on; 0.980 to the next voxel in the plane.
    grid = Grid.of_shape((32, 32, 12), (2.0, 2.0, 10.0))
    q = posterior(grid, 0.0, 1.0, slicewise=True, count=12, correlation=5.0)
    samples = np.stack([sample[0, ::2, ::2] for sample in q.sample(400, seed=0)])

    def correlation(a, b):
        return float((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))

    assert correlation(samples[..., :-1], samples[..., 1:]) == pytest.approx(np.exp(-1 / 8), abs=0.05)
    assert correlation(samples[..., :-4], samples[..., 4:]) == pytest.approx(np.exp(-2), abs=0.08)
    assert (samples[..., 2] ** 2).mean() == pytest.approx(4.0, rel=0.2)  # 2 voxels of the image are one of v


def test_correlated_samples_make_a_volume_uncertain():
    # The left half of an image, moved by 2 · 0.5 = 1 pixel, one standard deviation. Alike all over: moved to the
    # left, its right edge of 32 pixels takes area away; moved to the right, it loses at the border what it gains.
    # The area is then 32 · max(u, 0) less: a standard deviation of 32 · √(1/2 - 1/2π) = 18.7, and some more by
    # rounding. Independent noise averages out along the edge.
    labels = np.zeros((32, 32), np.int32)
    labels[:16] = 1
    grid = Grid.of_shape((32, 32))
    areas = {}
    for length in (0.0, 50.0):
        q = posterior(grid, 0.0, 0.5**2, correlation=length)
        found = LabelSamples.of(Image(labels, grid), q.sample(60, 0), grid)
        areas[length] = found.sizes[1].std()
    assert areas[50.0] == pytest.approx(18.7, rel=0.3)
    assert areas[0.0] < areas[50.0] / 2
