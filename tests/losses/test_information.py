import math

import numpy as np
import pytest
import torch

from heteroreg.losses import MutualInformation, mutual_information


def tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)[None, None]


def by_definition(moved, fixed, bins=32, ratio=1.0):
    """The formula with Gaussians as they are written, for one image."""
    centres = np.linspace(0, 1, bins)

    def windows(image):
        distance = np.clip(image, 0, 1).reshape(-1, 1) - centres
        weight = np.exp(-(distance**2) / (2 * (ratio / (bins - 1)) ** 2))
        return weight / weight.sum(1, keepdims=True)

    joint = windows(moved).T @ windows(fixed) / moved.size
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return (joint[there] * np.log(joint[there] / product[there])).sum()


# Two bins at 0 and 1, and windows so narrow that each voxel is in one: exp(-1/(2 · 0.1²)) = e⁻⁵⁰.
@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        ([0, 0, 1, 1], math.log(2)),  # the same: the entropy, log 2
        ([1, 1, 0, 0], math.log(2)),  # turned round it tells as much
        ([0, 1, 0, 1], 0.0),  # nothing
        # p(0,0) = ½, p(1,0) = p(1,1) = ¼ against ½ · ¾, ½ · ¾ and ½ · ¼:
        # ½ log 4/3 + ¼ log 2/3 + ¼ log 2 = 0.143841 - 0.101366 + 0.173287.
        ([0, 0, 0, 1], 0.215762),
        ([0, 0, 0, 0], 0.0),  # a constant image
    ],
)
def test_by_hand(fixed, expected):
    moved = tensor([[0.0, 0.0], [1.0, 1.0]])
    value = mutual_information(moved, tensor(fixed).reshape(1, 1, 2, 2), bins=2, ratio=0.1)
    assert float(value) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(20, 15), (8, 9, 7)])
@pytest.mark.parametrize(("bins", "ratio"), [(32, 1.0), (16, 0.5)])
def test_as_by_definition(shape, bins, ratio, rng):
    moved = rng.uniform(-0.2, 1.2, size=(3, 1, *shape))
    fixed = np.sin(4 * moved) + 0.2 * rng.normal(size=moved.shape)
    expected = np.mean([by_definition(a[0], b[0], bins, ratio) for a, b in zip(moved, fixed, strict=True)])
    double = mutual_information(torch.from_numpy(moved), torch.from_numpy(fixed), bins, ratio)
    assert float(double) == pytest.approx(expected, rel=1e-10)
    single = mutual_information(torch.from_numpy(moved).float(), torch.from_numpy(fixed).float(), bins, ratio)
    assert float(single) == pytest.approx(expected, rel=1e-4)


def test_an_inverted_image_tells_as_much(rng):
    moved = tensor(rng.uniform(size=(16, 16)))
    torch.testing.assert_close(mutual_information(1 - moved, moved), mutual_information(moved, moved))
    other = tensor(rng.uniform(size=(16, 16)))
    torch.testing.assert_close(mutual_information(moved, other), mutual_information(other, moved))
    assert 0 <= float(mutual_information(moved, other)) < float(mutual_information(moved, moved))


def test_intensities_beyond_the_range_count_as_its_ends():
    moved = tensor([[-0.5, 0.0, 1.0, 1.7]])
    torch.testing.assert_close(mutual_information(moved, moved), mutual_information(moved.clamp(0, 1), moved))


@pytest.mark.parametrize(("shape", "bins", "ratio"), [((3, 4), 8, 1.0), ((2, 3, 2), 6, 0.7)])
def test_gradients(shape, bins, ratio, rng):
    moved, fixed = (torch.from_numpy(rng.uniform(size=(2, 1, *shape))).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: mutual_information(a, b, bins, ratio), (moved, fixed))


def test_only_what_needs_a_gradient_gets_one(rng):
    moved, fixed = (torch.from_numpy(rng.uniform(size=(1, 1, 8, 8))) for _ in range(2))
    fixed.requires_grad_()
    mutual_information(moved, fixed).backward()
    assert moved.grad is None
    assert fixed.grad.abs().sum() > 0


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_a_constant_image_tells_nothing_and_gets_no_pull(level, rng):
    moved = torch.full((2, 1, 20, 20), level, requires_grad=True)
    fixed = torch.from_numpy(rng.uniform(size=(2, 1, 20, 20))).float()
    value = mutual_information(moved, fixed)
    assert float(value.detach()) == pytest.approx(0, abs=1e-5)
    value.backward()
    assert torch.isfinite(moved.grad).all()


def test_it_does_not_lose_digits_under_autocast(rng):
    moved, fixed = (torch.from_numpy(rng.uniform(size=(1, 1, 24, 24))).float() for _ in range(2))
    expected = mutual_information(moved, fixed)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mutual_information(moved, fixed), expected)
        assert mutual_information(moved.bfloat16(), fixed.bfloat16()).dtype == torch.float32


def test_the_objective_is_its_negative(rng):
    moved, fixed = (torch.from_numpy(rng.uniform(size=(2, 1, 9, 9))) for _ in range(2))
    losses = MutualInformation()(moved, fixed)
    torch.testing.assert_close(losses.displacement, -mutual_information(moved, fixed, 32, 1.0))
    assert losses.variance is losses.log_variance is losses.weight is losses.smoothness_weight is None
