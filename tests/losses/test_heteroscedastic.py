import math

import numpy as np
import pytest
import torch

from heteroreg.losses import foreground, gaussian_nll, reference_weight, relative_weight
from heteroreg.losses.heteroscedastic import SMALLEST_POWER, local_power

FIXED = torch.tensor([[[[0.5, 0.0]]]])
MOVED = torch.tensor([[[[0.3, 0.1]]]])
LOG_VARIANCE = torch.tensor([[[[math.log(0.04), math.log(0.25)]]]])
EVERYWHERE = torch.ones(1, 1, 1, 2, dtype=torch.bool)


def test_likelihood_by_hand():
    # 0.2²/0.04 + ln 0.04 = 1 - 3.218876; 0.1²/0.25 + ln 0.25 = 0.04 - 1.386294. Mean -1.782585.
    assert float(gaussian_nll(MOVED, FIXED, LOG_VARIANCE)) == pytest.approx(-1.782585, abs=1e-6)


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        # σ^{2β} is 0.2 and 0.5: (0.2·(-2.218876) + 0.5·(-1.346294))/2 = (-0.443775 - 0.673147)/2.
        (0.5, -0.558461),
        # σ² is 0.04 and 0.25: (-0.088755 - 0.336574)/2.
        (1.0, -0.212664),
    ],
)
def test_beta_likelihood_by_hand(beta, expected):
    assert float(gaussian_nll(MOVED, FIXED, LOG_VARIANCE, beta)) == pytest.approx(expected, abs=1e-6)


def test_the_factor_beta_carries_no_gradient():
    # d/ds of ⌊σ^{2β}⌋(r²e^{-s} + s) is σ^{2β}(1 - r²/σ²): 0 where the variance is the squared residual.
    log_variance = LOG_VARIANCE.clone().requires_grad_()
    gaussian_nll(MOVED, FIXED, log_variance, 0.5).backward()
    # First voxel: r² = σ², gradient 0. Second: 0.5·(1 - 0.04)/2 = 0.24.
    assert log_variance.grad is not None
    torch.testing.assert_close(log_variance.grad, torch.tensor([[[[0.0, 0.24]]]]), atol=1e-6, rtol=0)


def test_foreground():
    first = torch.tensor([[[[0.0, 0.2, 0.0]]], [[[0.0, 0.0, 0.0]]]])
    second = torch.tensor([[[[0.0, 0.0, 0.4]]], [[[0.0, 0.0, 0.0]]]])
    # Either image counts; the pair that is zero everywhere counts whole.
    assert foreground(first, second).tolist() == [[[[False, True, True]]], [[[True, True, True]]]]


def test_relative_weight_by_hand():
    # γ = 0.5: 1/σ is 5 and 2, mean 3.5: 10/7 and 4/7.
    weight = relative_weight(LOG_VARIANCE, EVERYWHERE, 0.5)
    torch.testing.assert_close(weight, torch.tensor([[[[10 / 7, 4 / 7]]]]))
    # γ = 1: 25 and 4, mean 14.5.
    weight = relative_weight(LOG_VARIANCE, EVERYWHERE, 1.0)
    torch.testing.assert_close(weight, torch.tensor([[[[50 / 29, 8 / 29]]]]))


def test_relative_weight_with_signal_by_hand():
    # γ = 0.5, P = I² + 1e-4: √(0.2501/0.04) = 2.500500 and √(0.0001/0.25) = 0.02; mean 1.26025.
    weight = relative_weight(LOG_VARIANCE, EVERYWHERE, 0.5, FIXED.square())
    assert SMALLEST_POWER == 1e-4
    torch.testing.assert_close(weight, torch.tensor([[[[2.5005 / 1.26025, 0.02 / 1.26025]]]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 0.5, 1.0])
def test_each_image_has_mean_1_over_its_foreground(gamma, rng):
    log_variance = torch.from_numpy(rng.normal(-4, 2, size=(3, 1, 12, 10)))
    mask = torch.from_numpy(rng.uniform(size=(3, 1, 12, 10)) < np.array([0.3, 0.9, 0.02]).reshape(3, 1, 1, 1))
    mask[2, 0, 0, 0] = True
    weight = relative_weight(log_variance, mask, gamma)
    for k in range(3):
        assert float(weight[k][mask[k]].mean()) == pytest.approx(1)
        assert (weight[k][~mask[k]] == 1).all()
        raw = np.exp(-gamma * log_variance[k][mask[k]].numpy())
        np.testing.assert_allclose(weight[k][mask[k]].numpy(), raw / raw.mean())


def test_without_confidence_every_weight_is_1(rng):
    log_variance = torch.from_numpy(rng.normal(size=(2, 1, 5, 5)))
    weight = relative_weight(log_variance, torch.ones_like(log_variance, dtype=torch.bool), 0.0, log_variance**2)
    assert (weight == 1).all()


def test_the_scale_of_noise_and_signal_does_not_matter(rng):
    log_variance = torch.from_numpy(rng.normal(size=(2, 1, 6, 6)))
    power = torch.from_numpy(rng.uniform(1, 2, size=(2, 1, 6, 6)))
    mask = torch.ones_like(power, dtype=torch.bool)
    weight = relative_weight(log_variance, mask, 0.5, power)
    torch.testing.assert_close(relative_weight(log_variance + 3, mask, 0.5, power), weight)
    torch.testing.assert_close(relative_weight(log_variance, mask, 0.5, 1e4 * power), weight, rtol=1e-4, atol=0)


def test_no_weight_overflows():
    log_variance = torch.tensor([[[[-500.0, 500.0, 0.0]]]])
    weight = relative_weight(log_variance, torch.ones(1, 1, 1, 3, dtype=torch.bool), 1.0)
    torch.testing.assert_close(weight, torch.tensor([[[[3.0, 0.0, 0.0]]]]))


def test_reference_weight_by_hand():
    # γ = 0.5: I/σ is 0.5/0.2 = 2.5 and 0: min-max 1 and 0, sigmoid 0.731059 and 0.5.
    weight = reference_weight(FIXED, LOG_VARIANCE, 0.5)
    torch.testing.assert_close(weight, torch.tensor([[[[0.731059, 0.5]]]]))
    # A third voxel I = 0.4, σ = 0.4, I/σ = 1: (1 - 0)/2.5 = 0.4, sigmoid 0.598688.
    fixed = torch.tensor([[[[0.5, 0.0, 0.4]]]])
    log_variance = torch.cat([LOG_VARIANCE, torch.tensor([[[[math.log(0.16)]]]])], dim=-1)
    assert float(reference_weight(fixed, log_variance, 0.5)[..., 2]) == pytest.approx(0.598688, abs=1e-6)
    # γ = 1: 6.25, 0 and 1: 0.16, sigmoid 0.539915.
    assert float(reference_weight(fixed, log_variance, 1.0)[..., 2]) == pytest.approx(0.539915, abs=1e-6)


def test_reference_weight_is_scaled_over_the_whole_batch():
    # The second image's I/σ = 1 stands beside the first one's 2.5: 0.598688 as above, not its own maximum.
    fixed = torch.tensor([[[[0.5, 0.0]]], [[[0.4, 0.0]]]])
    log_variance = torch.tensor([0.04, 1.0, 0.16, 1.0]).log().view(2, 1, 1, 2)
    assert float(reference_weight(fixed, log_variance, 0.5)[1, 0, 0, 0]) == pytest.approx(0.598688, abs=1e-6)


def test_reference_weight_stays_in_its_bounds(rng):
    fixed = torch.from_numpy(rng.uniform(size=(4, 1, 9, 9)))
    weight = reference_weight(fixed, torch.from_numpy(rng.normal(-4, 3, size=(4, 1, 9, 9))), 0.5)
    assert float(weight.min()) == 0.5
    assert float(weight.max()) == pytest.approx(0.7311, abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_reference_weight_of_a_constant_image(value, gamma):
    fixed = torch.full((2, 1, 4, 4), value)
    assert (reference_weight(fixed, torch.full_like(fixed, -3.0), gamma) == 0.5).all()


def test_local_power_by_hand():
    # Radius 1 on [1, 2, 3] (one column): means of squares (1 + 4)/2, (1 + 4 + 9)/3, (4 + 9)/2.
    power = local_power(torch.tensor([[[[1.0], [2.0], [3.0]]]]), radius=1)
    torch.testing.assert_close(power[0, 0, :, 0], torch.tensor([2.5, 14 / 3, 6.5]))
    assert local_power(torch.rand(2, 1, 16, 17, 18)).shape == (2, 1, 16, 17, 18)


def test_weights_carry_no_gradient(rng):
    log_variance = torch.from_numpy(rng.normal(size=(1, 1, 4, 4))).requires_grad_()
    fixed = torch.from_numpy(rng.uniform(size=(1, 1, 4, 4))).requires_grad_()
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert not relative_weight(log_variance, mask, 0.5, fixed.square()).requires_grad
    assert not reference_weight(fixed, log_variance, 0.5).requires_grad


def test_gradients(rng):
    moved, fixed, log_variance = (
        torch.from_numpy(rng.normal(size=(2, 1, 3, 4))).requires_grad_() for _ in range(3)
    )
    assert torch.autograd.gradcheck(gaussian_nll, (moved, fixed, log_variance))


def test_energy_keeps_the_expected_data_term() -> None:
    """σ² = 1, 4, 9, 16 and γ = 0.5: w ∝ 1/σ = 1, 1/2, 1/3, 1/4.

    E[σ²] = 30/4 = 7.5 and E[σ²/σ] = (1 + 2 + 3 + 4)/4 = 2.5, so the weights are 3 times that: 3, 1.5, 1, 0.75.
    A fifth voxel lies outside the foreground: weight 1.
    """
    log_variance = torch.tensor([1.0, 4.0, 9.0, 16.0, 100.0]).log().view(1, 1, 1, 5)
    mask = torch.tensor([True, True, True, True, False]).view(1, 1, 1, 5)
    weight = relative_weight(log_variance, mask, gamma=0.5, keep="energy")
    torch.testing.assert_close(weight.flatten(), torch.tensor([3.0, 1.5, 1.0, 0.75, 1.0]))


@pytest.mark.parametrize("log_variance", [-14.0, 0.0, 4.0])
def test_energy_of_equal_noise_is_weight_1(log_variance: float) -> None:
    variance = torch.full((2, 1, 4, 4), log_variance)
    weight = relative_weight(variance, torch.ones_like(variance, dtype=torch.bool), gamma=1.0, keep="energy")
    torch.testing.assert_close(weight, torch.ones_like(weight))
