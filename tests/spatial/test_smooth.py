"""Gaussian smoothing, against SciPy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from heteroreg.spatial import smooth


@pytest.mark.parametrize("shape", [(2, 3, 11, 17), (1, 2, 6, 9, 13)], ids=str)
@pytest.mark.parametrize("sd", [0.5, 1.0, 2.3])
def test_as_scipy(shape, sd):
    values = np.random.default_rng(0).normal(size=shape)
    radius = int(np.ceil(3 * sd))
    expected = ndimage.gaussian_filter(values, (0, 0, *[sd] * (len(shape) - 2)), mode="nearest", radius=radius)
    np.testing.assert_allclose(smooth(torch.from_numpy(values), sd), expected, atol=1e-12)


def test_a_window_that_is_wider_than_the_image():
    values = torch.arange(4.0).expand(1, 1, 4, 4)
    assert smooth(values, 16.0).std() < 0.1


def test_without_a_window_nothing_changes():
    values = torch.rand(1, 2, 5, 5)
    assert smooth(values, 0.0) is values


def test_its_gradient():
    values = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: smooth(one, 0.8), values)
