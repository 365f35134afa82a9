import pytest
import torch

from heteroreg.losses import Losses, TotalLoss
from heteroreg.system.errors import UserError

# Differences of 1 along one of 2 axes, in one of 2 channels: mean of squares 1/2, over the axes 1/4, times 2.
VELOCITY = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])


def test_the_sum_by_hand():
    total = TotalLoss(0.1, uncertainty=lambda log_variance: 3 * log_variance.mean())
    terms = total.terms(Losses(torch.tensor(2.0)), VELOCITY, torch.full((1, 2, 2, 2), -1.0))
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        {"data": 2, "smoothness": 0.5, "uncertainty": -3, "loss": 2 + 0.05 - 3}
    )


def test_without_an_uncertainty_none_is_needed():
    terms = TotalLoss(0.1).terms(Losses(torch.tensor(2.0)), VELOCITY)
    assert float(terms["loss"]) == pytest.approx(2.05)
    assert "uncertainty" not in terms


def test_a_network_without_the_uncertainty_that_the_method_needs():
    with pytest.raises(UserError, match="needs an uncertainty of the displacement") as error:
        TotalLoss(0.1, uncertainty=torch.mean).terms(Losses(torch.tensor(2.0)), VELOCITY)
    assert error.value.argument == "network"
