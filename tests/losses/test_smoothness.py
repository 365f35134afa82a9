import pytest
import torch

from heteroreg.losses import smoothness


def test_by_hand_2d():
    # Channel 0 is [[0, 1], [2, 5]], channel 1 is 0. Along axis 0: 2, 4 and 0, 0: mean of squares 20/4 = 5.
    # Along axis 1: 1, 3 and 0, 0: 10/4 = 2.5. (5 + 2.5)/2 axes · 2 = 7.5.
    velocity = torch.tensor([[[[0.0, 1.0], [2.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    assert float(smoothness(velocity)) == 7.5


def test_by_hand_3d():
    # v₀ = 3x, v₁ = y, v₂ = 0: slopes 3 along axis 0 in one of three channels, 9/3 = 3; 1 along axis 1: 1/3.
    # (3 + 1/3 + 0)/3 axes · 2 = 20/9.
    x, y, z = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), torch.arange(3.0), indexing="ij")
    assert float(smoothness(torch.stack([3 * x, y, 0 * z])[None])) == pytest.approx(20 / 9)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_translation_costs_nothing(dims):
    assert float(smoothness(torch.full((2, dims, *[5] * dims), 7.0))) == 0


def test_axes_of_one_voxel_count_nothing():
    # Slope 2 along axis 0 in one of two channels: 4/2 = 2; nothing along axis 1; 2/2 axes · 2 = 2.
    velocity = torch.zeros(1, 2, 4, 1)
    velocity[0, 0, :, 0] = 2 * torch.arange(4.0)
    assert float(smoothness(velocity)) == 2
    single = torch.ones(1, 2, 1, 1, requires_grad=True)
    smoothness(single).backward()
    assert single.grad is not None
    assert (single.grad == 0).all()


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 3), (4, 1)])
def test_gradients(shape, rng):
    velocity = torch.from_numpy(rng.normal(size=(2, len(shape), *shape))).requires_grad_()
    assert torch.autograd.gradcheck(smoothness, velocity)


def test_weighted_by_hand():
    # As by hand in 2D: squares 4, 16 along axis 0 (left, right), 1, 9 along axis 1 (top, bottom), in one of two
    # channels. The weight is a mean of 2·2 pixels for each voxel: [[1, 0], [½, ½]]. Between two voxels counts the
    # mean: ¾ and ¼ along axis 0, ½ and ½ along axis 1. (¾·4 + ¼·16)/4 = 7/4, (½·1 + ½·9)/4 = 5/4. Their mean is
    # 3/2, times 2.
    velocity = torch.tensor([[[[0.0, 1.0], [2.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    weight = torch.tensor([[2.0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]])[None, None]
    assert float(smoothness(velocity, weight)) == 3


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 6)])
def test_weight_1_changes_nothing(shape, rng):
    velocity = torch.from_numpy(rng.normal(size=(2, len(shape), *shape)))
    weight = torch.ones(4, 1, *(2 * n - 1 for n in shape), dtype=torch.float64)  # both directions, odd sizes
    torch.testing.assert_close(smoothness(velocity, weight), smoothness(velocity))
    torch.testing.assert_close(smoothness(velocity, 0.3 * weight), 0.3 * smoothness(velocity))


def test_the_two_directions_of_a_pair_are_averaged(rng):
    velocity = torch.from_numpy(rng.normal(size=(3, 2, 4, 5)))
    there, back = (torch.from_numpy(rng.uniform(size=(3, 1, 8, 10))) for _ in range(2))
    both = smoothness(velocity, torch.cat([there, back]))
    torch.testing.assert_close(both, smoothness(velocity, (there + back) / 2))
    assert not torch.isclose(both, smoothness(velocity, (there + back.roll(1, 0)) / 2))


def test_gradients_of_the_weighted(rng):
    velocity = torch.from_numpy(rng.normal(size=(2, 2, 4, 5))).requires_grad_()
    weight = torch.from_numpy(rng.uniform(size=(2, 1, 8, 9)))
    assert torch.autograd.gradcheck(lambda v: smoothness(v, weight), velocity)
