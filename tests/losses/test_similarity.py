import pytest
import torch

from heteroreg.losses import charbonnier, mean_squared_error

MOVED = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]])
FIXED = torch.tensor([[[[0.5, 0.5], [0.0, 0.75]]]])


def test_mean_squared_error_by_hand():
    # Squares: 0.25, 0, 1, 0.25. Mean 1.5/4 = 0.375.
    assert float(mean_squared_error(MOVED, FIXED)) == 0.375


def test_weighted_by_hand():
    # Weights 2, 1, 0.5, 0: 0.5 + 0 + 0.5 + 0 over four voxels, not over the sum of the weights.
    weight = torch.tensor([[[[2.0, 1.0], [0.5, 0.0]]]])
    assert float(mean_squared_error(MOVED, FIXED, weight)) == 0.25


def test_images_of_a_batch_count_alike():
    moved = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    assert float(mean_squared_error(moved, torch.zeros_like(moved))) == 0.5


def test_gradients(rng):
    moved, fixed = (torch.from_numpy(rng.normal(size=(2, 1, 3, 4))).requires_grad_() for _ in range(2))
    weight = torch.from_numpy(rng.uniform(size=(2, 1, 3, 4)))
    assert torch.autograd.gradcheck(lambda a, b: mean_squared_error(a, b, weight), (moved, fixed))


def test_charbonnier_by_hand():
    # Residuals 0.5, 0, -1, 0.5 at ε = 0.5: q = 1, 0, 4, 1; √(1 + q) - 1 = 0.41421, 0, 1.23607, 0.41421, whose mean
    # is 2.06449/4 = 0.516123; times 2ε² = 0.5 that is 0.258061.
    assert float(charbonnier(MOVED, FIXED, scale=0.5)) == pytest.approx(0.258061, abs=1e-6)


def test_charbonnier_is_squared_error_near_nothing_and_absolute_error_far_off():
    small, large = torch.full((1, 1, 4, 4), 1e-4), torch.full((1, 1, 4, 4), 1e4)
    zero = torch.zeros_like(small)
    torch.testing.assert_close(charbonnier(small, zero), small.square().mean(), rtol=1e-4, atol=0)
    torch.testing.assert_close(charbonnier(large, zero), 2 * 0.1 * large.mean(), rtol=1e-4, atol=0)


def test_gradients_of_charbonnier(rng):
    moved, fixed = (torch.from_numpy(rng.normal(size=(2, 1, 3, 4))).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: charbonnier(a, b, 0.3), (moved, fixed))
    assert torch.autograd.gradcheck(lambda a: charbonnier(a, a.detach(), 0.3), (moved,))
