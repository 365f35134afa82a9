"""A distribution of velocities: drawn before the integration, the mean in evaluation."""

import numpy as np
import pytest
import torch

from heteroreg.networks import HalfVoxelMorph, VoxelMorph
from heteroreg.networks.displacement import correlated, displacement_of, integrated, reparameterised, tempered


def images(shape):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(2, 1, *shape, generator=generator) for _ in range(2))


def test_a_sample_is_the_mean_and_noise_in_proportion():
    # 1 + √4 · 3 = 7
    mean, log_variance = torch.ones(1), torch.log(torch.tensor([4.0]))
    assert float(reparameterised(mean, log_variance, torch.tensor([3.0]))) == pytest.approx(7)


@pytest.mark.parametrize("shape", [(32, 40), (16, 18, 17)])
def test_the_sample_is_drawn_before_it_is_integrated(shape):
    generator = torch.Generator().manual_seed(1)
    coarse = [(n + 1) // 2 for n in shape]
    mean = torch.randn(2, len(shape), *coarse, generator=generator)
    log_variance = -torch.rand(mean.shape, generator=generator)  # below 0 it is taken as it is
    torch.manual_seed(5)
    found = displacement_of(mean, shape, 7, log_variance, sampled=True)
    torch.manual_seed(5)
    drawn = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape)
    forward, backward = integrated(drawn, shape, 7)
    torch.testing.assert_close(found.forward, forward)
    torch.testing.assert_close(found.backward, backward)
    assert found.velocity is mean
    torch.testing.assert_close(found.velocity_log_variance, log_variance)


def test_without_sampling_it_is_the_mean():
    mean = torch.randn(1, 2, 16, 16)
    plain = displacement_of(mean, (32, 32), 7)
    torch.testing.assert_close(
        displacement_of(mean, (32, 32), 7, torch.zeros_like(mean)).forward, plain.forward, rtol=0, atol=0
    )


def test_a_variance_at_full_resolution_is_brought_to_the_velocity_and_stays_what_it_is():
    found = displacement_of(torch.zeros(1, 2, 33, 32), (33, 32), 0, torch.full((1, 2, 33, 32), -3.0))
    torch.testing.assert_close(found.velocity_log_variance, torch.full((1, 2, 17, 16), -3.0))


@pytest.mark.parametrize("network", [VoxelMorph, HalfVoxelMorph])
@pytest.mark.parametrize("shape", [(32, 37), (16, 17, 18)])
def test_an_uncertain_network(network, shape):
    torch.manual_seed(2)
    net = network(len(shape), head_sd=0.3, uncertain=True).requires_grad_(False)
    pair = tuple(images(shape))
    first, second = net(*pair), net(*pair)
    # By hand: the head has next to no weights and a bias of -10.
    torch.testing.assert_close(first.velocity_log_variance, torch.full_like(first.velocity, -10.0))
    assert not torch.equal(first.forward, second.forward)
    assert torch.equal(first.velocity, second.velocity)
    net.eval()
    still, again = net(*pair), net(*pair)
    assert torch.equal(still.forward, again.forward)
    torch.testing.assert_close(still.forward, integrated(still.velocity, shape, 7)[0])
    # σ_z = e⁻⁵ voxels of the velocity, at most about 5 σ: the sample is next to the mean, but not the mean.
    assert 0 < float((first.forward - still.forward).abs().max()) < 0.2


@pytest.mark.parametrize("network", [VoxelMorph, HalfVoxelMorph])
def test_an_uncertain_network_is_otherwise_the_same(network):
    torch.manual_seed(3)
    plain = network(2, head_sd=0.3).eval()
    torch.manual_seed(3)
    uncertain = network(2, head_sd=0.3, uncertain=True).eval()
    pair = tuple(images((32, 32)))
    assert torch.equal(plain(*pair).forward, uncertain(*pair).forward)
    assert plain(*pair).velocity_log_variance is None
    assert "log_variance_head.weight" not in plain.state_dict()


def test_the_gradient_reaches_mean_and_variance():
    mean = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    log_variance = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m, s: reparameterised(m, s, noise), (mean, log_variance))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_variance_keeps_its_digits_in_low_precision(dims):
    torch.manual_seed(4)
    net = VoxelMorph(dims, head_sd=0.3, uncertain=True).eval().requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        low = net(*images((16,) * dims))
    assert low.velocity_log_variance.dtype == torch.float32


def test_correlated_noise_keeps_its_variance_and_is_alike_nearby():
    # exp(-r²/2L²) with L = 3: 0.9460 at r = 1, 0.6065 at 3, 0.1353 at 6. 20,000 samples have errors of 0.007.
    noise = torch.randn(20_000, 1, 24, generator=torch.Generator().manual_seed(0))
    found = correlated(noise, [3.0])[:, 0]
    covariance = torch.cov(found.T)
    torch.testing.assert_close(covariance.diagonal(), torch.ones(24), rtol=0, atol=0.05)  # at the border too
    for distance, expected in ((1, 0.9460), (3, 0.6065), (6, 0.1353)):
        assert float(covariance[10, 10 + distance]) == pytest.approx(expected, abs=0.03)


def test_correlation_goes_along_the_axes_that_are_asked_for():
    noise = torch.randn(2, 3, 5, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lengths = [2.0, 0.0, 1.5]
    matrices = []
    for n, length in zip((5, 6, 7), lengths, strict=True):
        distance = np.abs(np.arange(n)[:, None] - np.arange(n))
        rows = np.exp(-((distance / length) ** 2)) if length else np.eye(n)
        matrices.append(rows / np.sqrt((rows**2).sum(1, keepdims=True)))
    expected = np.einsum("ncxyz,ax,by,dz->ncabd", noise.numpy(), *matrices)
    np.testing.assert_allclose(correlated(noise, lengths).numpy(), expected, atol=1e-12)
    torch.testing.assert_close(correlated(noise, [0.0]), noise, rtol=0, atol=0)


def test_samples_in_training_are_correlated():
    torch.manual_seed(0)
    mean, log_variance = torch.zeros(2, 64, 2, 16, 16)
    rough, smooth = (
        displacement_of(mean, (32, 32), 0, log_variance, sampled=True, correlation=length).forward
        for length in (0.0, 4.0)
    )
    assert smooth.diff(dim=2).square().mean() < 0.2 * rough.diff(dim=2).square().mean()
    assert float(smooth[..., ::31, ::31].std()) == pytest.approx(2.0, rel=0.1)  # in voxels of twice the resolution


def test_a_variance_grows_linearly_above_1():
    # log σ² = -3, -0.5, 0 as said; σ² = 1 + 1, 1 + 9 above 0.
    raw = torch.tensor([-3.0, -0.5, 0.0, 1.0, 9.0])
    np.testing.assert_allclose(tempered(raw), [-3, -0.5, 0, np.log(2), np.log(10)], rtol=1e-6)


def test_its_slope_has_no_step():
    raw = torch.tensor([-1e-9, 0.0, 1e-9, 9.0], dtype=torch.float64, requires_grad=True)
    tempered(raw).sum().backward()
    # d log(1 + raw)/d raw = 1/(1 + raw): 1 at 0, a tenth at 9.
    np.testing.assert_allclose(raw.grad, [1, 1, 1, 0.1], rtol=1e-6)
    assert torch.autograd.gradcheck(
        tempered, torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    )
