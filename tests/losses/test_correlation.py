import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from heteroreg.losses import LocalCorrelation, local_correlation
from heteroreg.losses.correlation import box_sum


def tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)[None, None]


def by_definition(moved, fixed, window, epsilon):
    """The formula voxel by voxel: windows cut off at the border, means over what is left of them."""
    values = []
    for index in itertools.product(*map(range, moved.shape)):
        part = tuple(slice(max(i - window // 2, 0), i + window // 2 + 1) for i in index)
        a, b = moved[part] - moved[part].mean(), fixed[part] - fixed[part].mean()
        values.append((a * b).sum() ** 2 / ((a * a).sum() * (b * b).sum() + epsilon))
    return np.mean(values)


def test_by_hand():
    # Windows of 3 on one row. Left end, {0, 1} and {0, 2}: deviations (-½, ½) and (-1, 1), 1²/(½ · 2) = 1.
    # Middle, {0, 1, 2} and {0, 2, 1}: (-1, 0, 1) and (-1, 1, 0), 1²/(2 · 2) = ¼. Right end, {1, 2} and {2, 1}:
    # (-½)²/(½ · ½) = 1: the sign does not count. Mean (1 + ¼ + 1)/3 = ¾.
    cc = local_correlation(tensor([[0.0, 1.0, 2.0]]), tensor([[0.0, 2.0, 1.0]]), window=3, epsilon=0)
    assert float(cc) == pytest.approx(0.75, abs=1e-12)


def test_epsilon_is_added_to_the_product_of_the_sums():
    # Both ends and the middle of one row {0, 1} with windows of 3 see both voxels: (½)²/(½ · ½ + ε), ε = ¼: ½.
    image = tensor([[0.0, 1.0]])
    assert float(local_correlation(image, image, window=3, epsilon=0.25)) == pytest.approx(0.5)


@pytest.mark.parametrize(("shape", "window"), [((7, 12), 9), ((13, 11), 3), ((5, 6, 10), 9), ((4, 5, 6), 3)])
def test_as_by_definition(shape, window, rng):
    moved, fixed = rng.uniform(size=(2, *shape))
    expected = by_definition(moved, fixed, window, 1e-5)
    assert float(local_correlation(tensor(moved), tensor(fixed), window)) == pytest.approx(expected, rel=1e-10)
    single = local_correlation(tensor(moved).float(), tensor(fixed).float(), window)
    assert float(single) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(9, 20), (6, 11, 7)])
@pytest.mark.parametrize("window", [1, 3, 9])
def test_box_sum(shape, window, rng):
    image = rng.normal(size=shape)
    expected = ndimage.uniform_filter(image, window, mode="constant") * window ** len(shape)
    np.testing.assert_allclose(box_sum(tensor(image), window)[0, 0], expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(16, 12), (8, 9, 10)])
def test_brightness_and_contrast_do_not_count(shape, rng):
    moved, fixed = (tensor(image) for image in rng.uniform(size=(2, *shape)))
    cc = local_correlation(moved, fixed, epsilon=0)
    torch.testing.assert_close(local_correlation(3 * moved - 1, 0.5 * fixed + 2, epsilon=0), cc)
    torch.testing.assert_close(local_correlation(fixed, moved, epsilon=0), cc)
    one = torch.ones((), dtype=torch.float64)
    torch.testing.assert_close(local_correlation(1 - 0.5 * fixed, fixed, epsilon=0), one)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_where_an_image_is_constant_it_is_0(level, rng):
    moved = torch.full((2, 1, 20, 20), level, requires_grad=True)
    fixed = torch.from_numpy(rng.uniform(size=(2, 1, 20, 20))).float()
    cc = local_correlation(moved, fixed)
    assert 0 <= float(cc.detach()) < 1e-4
    cc.backward()
    assert torch.isfinite(moved.grad).all()


@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 3)])
def test_gradients(shape, rng):
    moved, fixed = (torch.from_numpy(rng.uniform(size=(2, 1, *shape))).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: local_correlation(a, b, 3), (moved, fixed))


def test_it_does_not_lose_digits_under_autocast(rng):
    moved, fixed = (torch.from_numpy(rng.uniform(size=(1, 1, 24, 24))).float() for _ in range(2))
    expected = local_correlation(moved, fixed)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(local_correlation(moved, fixed), expected)
        assert local_correlation(moved.bfloat16(), fixed.bfloat16()).dtype == torch.float32


def test_the_objective_is_1_less_it(rng):
    moved, fixed = (torch.from_numpy(rng.uniform(size=(2, 1, 9, 9))) for _ in range(2))
    losses = LocalCorrelation()(moved, fixed)
    torch.testing.assert_close(losses.displacement, 1 - local_correlation(moved, fixed, 9, 1e-5))
    assert losses.variance is losses.log_variance is losses.weight is losses.smoothness_weight is None
