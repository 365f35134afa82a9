import pytest
import torch
import torch.nn.functional as F
from torch import nn

from heteroreg.networks import UNet
from heteroreg.networks.convolution import CHANNELS_LAST, Convolution

SHAPES = [(1, 4), (7, 8), (1, 1, 1), (1, 2, 3), (2, 1, 5), (3, 2, 1), (2, 2, 2), (5, 3, 4)]


def plain_join(layer, coarse, fine):
    up = F.interpolate(coarse, scale_factor=2, mode="nearest")
    return F.leaky_relu(layer[0](torch.cat([up, fine], dim=1)), 0.2)


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2)])
def test_joining_equals_upsampling_joining_and_convolving(shape):
    torch.manual_seed(0)
    layer = Convolution(len(shape), 3 + 2, 4).double()
    coarse = torch.randn(2, 3, *shape, dtype=torch.double, requires_grad=True)
    fine = torch.randn(2, 2, *(2 * n for n in shape), dtype=torch.double, requires_grad=True)
    plain, quick = plain_join(layer, coarse, fine), layer.joined(coarse, fine)
    torch.testing.assert_close(quick, plain)
    # And so do all gradients.
    leaves, towards = [coarse, fine, *layer.parameters()], torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(quick, leaves, towards), torch.autograd.grad(plain, leaves, towards), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_kept_weights_give_the_same():
    torch.manual_seed(0)
    layer = Convolution(2, 3 + 2, 4).requires_grad_(False)
    coarse, fine = torch.randn(2, 3, 5, 4), torch.randn(2, 2, 10, 8)
    expected = layer.joined(coarse, fine)
    layer.keep(3)
    torch.testing.assert_close(layer.joined(coarse, fine), expected, rtol=0, atol=0)


def test_one_coarse_voxel_by_hand():
    # A kernel of ones over an upsampled image, of which one voxel of four is 1, that is 2x2 of 4x4 voxels: each
    # counts how many of them lie within one step.
    layer = Convolution(2, 2, 1)
    nn.init.ones_(layer[0].weight)
    nn.init.constant_(layer[0].bias, 0.5)
    coarse = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    result = layer.joined(coarse, torch.zeros(1, 1, 4, 4)) - 0.5
    assert result[0, 0].tolist() == [[4, 4, 2, 0], [4, 4, 2, 0], [2, 2, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("shape", [(8, 6), (4, 6, 2)])
def test_pooling_before_the_activation_changes_nothing(shape):
    torch.manual_seed(0)
    layer, features = Convolution(len(shape), 3, 5), torch.randn(2, 3, *shape)
    pool = F.max_pool2d if len(shape) == 2 else F.max_pool3d
    torch.testing.assert_close(layer.pooled(features), pool(layer(features), 2), atol=0, rtol=0)


@pytest.mark.parametrize("way", ["plain", "pooled", "joined"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_hold_in_low_precision(shape, way):
    # As the networks call it: bfloat16, channels last. Wrong gradients here are wrong by orders of magnitude.
    torch.manual_seed(0)
    layout = CHANNELS_LAST[len(shape)]
    layer = Convolution(len(shape), 32 + (16 if way == "joined" else 0), 32)
    layer[0].weight.data = layer[0].weight.data.contiguous(memory_format=layout)
    double = [2 * n for n in shape]

    def images(features, shape):
        return torch.randn(2, features, *shape).contiguous(memory_format=layout).requires_grad_()

    for _ in range(3):
        leaves = [images(32, shape), images(16, double)] if way == "joined" else [images(32, double)]
        call = {"plain": layer, "pooled": layer.pooled, "joined": layer.joined}[way]
        exact = call(*leaves)
        with torch.autocast("cpu", torch.bfloat16):
            low = call(*leaves)
        leaves += layer.parameters()
        # Which voxel of a pool is the largest may change with the rounding: then ask for the sum.
        towards = torch.ones_like(exact) if way == "pooled" else torch.randn_like(exact)
        gradients = torch.autograd.grad(low, leaves, towards.to(low.dtype))
        for a, b in zip(gradients, torch.autograd.grad(exact, leaves, towards), strict=True):
            difference = (a - b).abs().float()
            assert float(difference.mean()) < 0.05 * float(b.abs().mean()) + 1e-6
            assert float(difference.max()) < 2 * float(b.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(16, 16, 16), (32, 16, 48), (16, 33, 20)])
def test_a_small_volume_trains_in_low_precision(shape):
    torch.manual_seed(0)
    net, images = UNet(3), torch.rand(1, 2, *shape)
    towards = torch.randn(1, 16, *shape)
    exact = torch.autograd.grad(net(images), list(net.parameters()), towards)
    with torch.autocast("cpu", torch.bfloat16):
        features = net(images)
    low = torch.autograd.grad(features.float(), list(net.parameters()), towards)
    for a, b in zip(low, exact, strict=True):
        # The sign of a sum of many terms may change with the rounding; wrong ones differ by far more.
        assert float((a - b).norm()) < 0.3 * float(b.norm())
