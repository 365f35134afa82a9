import math

import pytest
import torch

from heteroreg.losses import spread_penalty


@pytest.mark.parametrize(
    ("variance", "alpha", "expected"),
    [
        (1.0, 0.5, 0.5),  # 0.5·(1 - 0)
        (4.0, 1.0, 4 - math.log(4)),
        (0.25, 2.0, 2 * (0.25 + math.log(4))),
    ],
)
def test_by_hand(variance, alpha, expected):
    log_variance = torch.full((2, 3, 4, 4, 4), math.log(variance))
    assert float(spread_penalty(log_variance, alpha)) == pytest.approx(expected)


def test_it_is_a_mean_over_places():
    log_variance = torch.log(torch.tensor([[[[1.0, 4.0]], [[1.0, 4.0]]]]))
    assert float(spread_penalty(log_variance, 1.0)) == pytest.approx((1 + 4 - math.log(4)) / 2)


def test_with_a_data_term_that_grows_by_c_the_variance_is_alpha_over_alpha_plus_c():
    alpha, c = 0.2, 0.6
    log_variance = torch.tensor(math.log(alpha / (alpha + c)), dtype=torch.float64).requires_grad_()
    (c * log_variance.exp() + spread_penalty(log_variance, alpha)).backward()
    assert float(log_variance.grad) == pytest.approx(0, abs=1e-12)


def test_the_gradient():
    log_variance = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: spread_penalty(s, 0.3), log_variance)
