import torch

from heteroreg.losses import mean_squared_error

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
