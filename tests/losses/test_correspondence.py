import pytest
import torch
from torch import nn

from heteroreg.losses import AdaCS, scorer_loss


class Toy(nn.Module):
    """A score from a convolution."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, moved, fixed):
        return torch.sigmoid(self.layer(torch.cat([moved, fixed], dim=1)))


def images():
    torch.manual_seed(2)
    return torch.rand(3, 1, 12, 12), torch.rand(3, 1, 12, 12)


def test_the_loss_of_the_scorer_by_hand():
    # Scores [[1, ½], [½, 0]], squares [[0, 0.2], [0.4, 1]]: the mean of 0, 0.1, 0.2, 0 is 0.075. (1 - Ŝ)²: 0, ¼,
    # ¼, 1, mean 0.375, times α = 0.2: 0.075. All four differences are ½: squared ¼ along both axes, times m = 0.1.
    score = torch.tensor([[[[1.0, 0.5], [0.5, 0.0]]]])
    square = torch.tensor([[[[0.0, 0.2], [0.4, 1.0]]]])
    assert float(scorer_loss(score, square, 0.2, 0.1)) == pytest.approx(0.075 + 0.075 + 0.025)


def test_its_best_score_is_as_the_docstring_says():
    # 1 - r²/2α for residuals 0, 0.1 and 0.2 with α = 0.05: 1, 0.9 and 0.6.
    square = torch.tensor([0.0, 0.01, 0.04], dtype=torch.float64).reshape(1, 1, 1, 3)
    score = torch.full_like(square, 0.5).requires_grad_()
    optimizer = torch.optim.SGD([score], lr=5)
    for _ in range(400):
        optimizer.zero_grad()
        scorer_loss(score, square, 0.05, 0.0).backward()
        optimizer.step()
    assert score.flatten().tolist() == pytest.approx([1, 0.9, 0.6], abs=1e-6)


def test_gradients(rng):
    score, square = (torch.from_numpy(rng.uniform(size=(2, 1, 3, 4))).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: scorer_loss(a, b, 0.05, 0.1), (score, square))


def test_it_is_put_together_from_its_parts():
    moved, fixed = images()
    objective = AdaCS(Toy(), alpha=0.1, smoothing=0.2).eval()
    losses = objective(moved, fixed)
    score = objective.scorer(moved, fixed).detach()
    torch.testing.assert_close(losses.weight, score)
    torch.testing.assert_close(losses.displacement, (score * (fixed - moved) ** 2).mean())
    torch.testing.assert_close(losses.variance.detach(), scorer_loss(score, (fixed - moved) ** 2, 0.1, 0.2))
    assert losses.log_variance is losses.smoothness_weight is None


def test_no_gradient_of_one_loss_reaches_the_other_network():
    moved, fixed = images()
    moved.requires_grad_()
    objective = AdaCS(Toy())
    objective(moved, fixed).variance.backward()
    assert moved.grad is None
    assert all(p.grad.abs().sum() > 0 for p in objective.parameters())
    objective.zero_grad(set_to_none=True)
    objective(moved, fixed).displacement.backward()
    assert moved.grad.abs().sum() > 0
    assert all(p.grad is None for p in objective.parameters())


def test_the_momentum_follows_the_residual_while_training():
    moved = torch.zeros(1, 1, 12, 12)
    objective = AdaCS(Toy(), momentum=0.75, smoothing=0.5)
    # 0.75 · 0.5 + 0.25 · 0.1 = 0.4, and again 0.75 · 0.4 + 0.25 · 0.1 = 0.325.
    for expected in (0.4, 0.325):
        losses = objective(moved, moved + 0.1)
        assert float(objective.smoothing) == pytest.approx(expected)
    losses.variance.backward()  # with the m of its own batch, whatever came after
    objective.eval()(moved, moved + 0.9)
    assert float(objective.smoothing) == pytest.approx(0.325)
    assert "smoothing" in objective.state_dict()


def test_a_batch_can_come_before_the_backward_pass_of_the_last():
    moved, fixed = images()
    objective = AdaCS(Toy())
    (objective(moved, fixed).variance + objective(fixed, moved).variance).backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())


def test_a_warm_start_has_weight_1():
    moved, fixed = images()
    losses = AdaCS(Toy())(moved, fixed, weighted=False)
    torch.testing.assert_close(losses.displacement, ((moved - fixed) ** 2).mean())
    assert losses.weight is None
    assert losses.variance is not None
