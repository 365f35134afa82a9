import pytest
import torch
import torch.nn.functional as F
from torch import nn

from heteroreg.networks.upsampling import convolve_joined


@pytest.mark.parametrize(("layer", "shape"), [(nn.Conv2d, (5, 4)), (nn.Conv3d, (3, 4, 2))])
def test_it_equals_upsampling_joining_and_convolving(layer, shape):
    torch.manual_seed(0)
    convolution = layer(3 + 2, 4, 3, padding=1).double()
    coarse = torch.randn(2, 3, *shape, dtype=torch.double, requires_grad=True)
    fine = torch.randn(2, 2, *(2 * n for n in shape), dtype=torch.double, requires_grad=True)
    plain = convolution(torch.cat([F.interpolate(coarse, scale_factor=2, mode="nearest"), fine], dim=1))
    quick = convolve_joined(coarse, fine, convolution)
    torch.testing.assert_close(quick, plain)
    # And so do all gradients.
    leaves = [coarse, fine, *convolution.parameters()]
    towards = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(quick, leaves, towards), torch.autograd.grad(plain, leaves, towards), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_one_coarse_voxel_by_hand():
    # A kernel of ones over an upsampled image of one voxel of 1, that is 2 voxels: each sees both, none beyond.
    convolution = nn.Conv2d(2, 1, 3, padding=1)
    nn.init.ones_(convolution.weight)
    nn.init.constant_(convolution.bias, 0.5)
    result = convolve_joined(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 2, 2), convolution)
    assert result[0, 0].tolist() == [[4.5, 4.5], [4.5, 4.5]]
