"""MONAI's BasicUNet, and others, in the place of the U-Net."""

import pytest
import torch
from monai.networks.nets import BasicUNet, BasicUNetPlusPlus
from torch import nn

from heteroreg.losses import CollaborativeLoss, smoothness
from heteroreg.networks import CoarseVariance, HalfVoxelMorph, UNetVariance, VoxelMorph
from heteroreg.spatial import compose, integrate, resize_displacement, warp

SHAPES = [(32, 32), (37, 45), (33, 32, 35)]
NARROW = (8, 8, 8, 8, 8, 8)


def smooth_images(shape, seed=0, count=2):
    generator = torch.Generator().manual_seed(seed)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    coarse = (torch.rand(count, 1, *[max(n // 8, 2) for n in shape], generator=generator) for _ in range(2))
    return tuple(nn.functional.interpolate(image, size=shape, mode=mode) for image in coarse)


def with_basic_unet(dims, network=VoxelMorph, **options):
    torch.manual_seed(1)
    backbone = BasicUNet(spatial_dims=dims, in_channels=2, out_channels=16, features=NARROW)
    return network(dims=dims, backbone=backbone, **options)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_three_lines_of_the_guide(dims):
    backbone = BasicUNet(spatial_dims=dims, in_channels=2, out_channels=16)
    field = VoxelMorph(dims=dims, backbone=backbone)(*smooth_images((32,) * dims, count=1))
    assert field.forward.shape == field.backward.shape == (1, dims, *(32,) * dims)
    assert field.velocity.shape == (1, dims, *(16,) * dims)
    assert 0 < float(field.forward.detach().abs().max()) < 1e-2


@pytest.mark.parametrize("shape", SHAPES)
def test_any_size_that_the_backbone_takes(shape):
    field = with_basic_unet(len(shape))(*smooth_images(shape))
    assert field.forward.shape == (2, len(shape), *shape)
    assert field.velocity.shape == (2, len(shape), *[(n + 1) // 2 for n in shape])
    assert all(torch.isfinite(t).all() for t in field[:3])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_reaches_every_parameter_of_the_backbone(shape):
    network = with_basic_unet(len(shape), head_sd=1e-2)
    moving, fixed = smooth_images(shape)
    field = network(moving, fixed)
    ((warp(moving, field.forward) - fixed).square().mean() + smoothness(field.velocity)).backward()
    for name, parameter in network.named_parameters():
        # Instance normalisation follows these, and takes any constant away again.
        if name.endswith("conv.bias") and "final" not in name:
            continue
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_integrated_and_inverted(shape):
    network = with_basic_unet(len(shape), head_sd=0.1).requires_grad_(False)
    field = network(*smooth_images(shape))
    torch.testing.assert_close(field.forward, resize_displacement(integrate(field.velocity, 7), shape))
    torch.testing.assert_close(field.backward, resize_displacement(integrate(-field.velocity, 7), shape))
    inner = (..., *[slice(5, -5)] * len(shape))
    size = field.forward[inner].abs()
    assert float(size.max()) > 0.5
    for first, second in ((field.forward, field.backward), (field.backward, field.forward)):
        left = compose(first, second)[inner].abs()
        assert float(left.mean()) < 0.1 * float(size.mean())
    direct = with_basic_unet(len(shape), head_sd=0.1, int_steps=0).requires_grad_(False)
    straight = direct(*smooth_images(shape))
    torch.testing.assert_close(straight.backward, -straight.forward)


@pytest.mark.parametrize("dims", [2, 3])
def test_it_can_be_uncertain(dims):
    network = with_basic_unet(dims, uncertain=True, correlation=2.0)
    pair = smooth_images((32,) * dims)
    torch.manual_seed(0)
    field = network.train()(*pair)
    assert field.velocity_log_variance.shape == field.velocity.shape
    assert not torch.equal(network(*pair).forward, field.forward)
    torch.testing.assert_close(network.eval()(*pair).forward, network(*pair).forward, atol=0, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_variance_estimator_takes_one_too(shape):
    estimator = with_basic_unet(len(shape), UNetVariance, initial=-3.0)
    log_variance = estimator(*smooth_images(shape))
    assert log_variance.shape == (2, 1, *shape)
    torch.testing.assert_close(log_variance.detach(), torch.full_like(log_variance, -3.0), atol=1e-2, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_backbone_has_the_gradient_of_its_own_loss(dims):
    network, estimator = with_basic_unet(dims, head_sd=1e-2), with_basic_unet(dims, UNetVariance)
    moving, fixed = smooth_images((32,) * dims)
    field = network(moving, fixed)
    losses = CollaborativeLoss(estimator)(warp(moving, field.forward), fixed)
    assert losses.variance is not None
    of_variance = torch.autograd.grad(
        losses.variance, [*network.parameters(), *estimator.parameters()], allow_unused=True, retain_graph=True
    )
    of_displacement = torch.autograd.grad(
        losses.displacement, [*network.parameters(), *estimator.parameters()], allow_unused=True
    )
    ours = len(list(network.parameters()))
    assert all(gradient is None for gradient in of_variance[:ours])
    assert any(gradient is not None for gradient in of_variance[ours:])
    assert any(gradient is not None for gradient in of_displacement[:ours])
    assert all(gradient is None for gradient in of_displacement[ours:])


def test_a_coarse_backbone_gives_a_velocity_all_the_same():
    network = VoxelMorph(2, backbone=nn.Conv2d(2, 5, 3, stride=4, padding=1), features=5, head_sd=0.3)
    moving, fixed = smooth_images((48, 40))
    field = network(moving, fixed)
    assert field.forward.shape == (2, 2, 48, 40)
    assert field.velocity.shape == (2, 2, 24, 20)
    # A map of the variance has a value for each voxel; the coarse one of the package interpolates itself.
    with pytest.raises(ValueError, match=r"at the resolution of the images, \(48, 40\).* got \(12, 10\)"):
        UNetVariance(2, backbone=nn.Conv2d(2, 5, 3, stride=4, padding=1), features=5)(moving, fixed)
    assert CoarseVariance(2)(moving, fixed).shape == moving.shape


@pytest.mark.parametrize("network", [VoxelMorph, UNetVariance])
def test_other_features_than_announced_are_told(network):
    with pytest.raises(ValueError, match=r"expected 16 features .* backbone Conv2d .* got \(2, 5, 32, 32\)"):
        network(2, backbone=nn.Conv2d(2, 5, 3, padding=1))(*smooth_images((32, 32)))
    several = BasicUNetPlusPlus(spatial_dims=2, in_channels=2, out_channels=16, features=NARROW)
    with pytest.raises(ValueError, match=r"one tensor from the backbone BasicUNetPlusPlus, got list"):
        network(2, backbone=several)(*smooth_images((32, 32)))


@pytest.mark.parametrize("network", [VoxelMorph, HalfVoxelMorph, UNetVariance])
def test_without_a_backbone_the_features_are_those_of_the_unet(network):
    assert network(2).unet.features == 16
    assert network(2, features=8).unet.features == 8
    assert torch.isfinite(network(2, features=8)(*smooth_images((32, 32)))[0]).all()
