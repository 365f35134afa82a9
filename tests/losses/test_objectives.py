import pytest
import torch
from torch import nn

import heteroreg as hr
from heteroreg.losses import (
    AdaCS,
    AdaFrame,
    AdaReg,
    CollaborativeLoss,
    JointLikelihood,
    LocalCorrelation,
    MeanSquaredError,
    MutualInformation,
    foreground,
    gaussian_nll,
    reference_weight,
    relative_weight,
    smoothness,
)
from heteroreg.losses.heteroscedastic import local_power
from heteroreg.networks import CoarseVariance, UNetScore, UNetVariance
from heteroreg.spatial import warp

FORMS = [
    ("relative", "fixed"),
    ("relative", "none"),
    ("relative", "local"),
    ("balanced", "none"),
    ("balanced", "fixed"),
    ("reference", "fixed"),
]


class Toy(nn.Module):
    """Any network will do: a convolution from two images to one map."""

    def __init__(self, outputs=1):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, outputs, 3, padding=1))

    def forward(self, first, second):
        return self.layers(torch.cat([first, second], dim=1))


def images(count=3, size=20):
    torch.manual_seed(5)
    return torch.rand(count, 1, size, size), torch.rand(count, 1, size, size)


def grads(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def test_mean_squared_error():
    moved, fixed = images()
    losses = MeanSquaredError()(moved, fixed)
    torch.testing.assert_close(losses.displacement, ((moved - fixed) ** 2).mean())
    assert losses.variance is losses.log_variance is losses.weight is losses.smoothness_weight is None


@pytest.mark.parametrize(("normalisation", "signal"), FORMS)
def test_the_collaborative_loss_is_put_together_from_its_parts(normalisation, signal):
    moved, fixed = images()
    estimator = Toy()
    objective = CollaborativeLoss(estimator, 0.5, 0.5, normalisation, signal)
    losses = objective(moved, fixed)
    log_variance = estimator(moved, fixed).detach()
    if normalisation == "reference":
        weight = reference_weight(fixed, log_variance, 0.5)
    else:
        power = {"none": None, "fixed": fixed.square(), "local": local_power(fixed)}[signal]
        keep = "energy" if normalisation == "balanced" else "mean"
        weight = relative_weight(log_variance, foreground(moved, fixed), 0.5, power, keep)
    torch.testing.assert_close(losses.weight, weight)
    torch.testing.assert_close(losses.displacement, (weight * (fixed - moved) ** 2).mean())
    torch.testing.assert_close(losses.variance.detach(), gaussian_nll(moved, fixed, log_variance, 0.5))
    torch.testing.assert_close(losses.log_variance, log_variance)


@pytest.mark.parametrize(("normalisation", "signal"), FORMS)
def test_no_gradient_of_one_loss_reaches_the_other_estimator(normalisation, signal):
    moved, fixed = images()
    moved.requires_grad_()
    objective = CollaborativeLoss(Toy(), normalisation=normalisation, signal=signal)

    losses = objective(moved, fixed)
    losses.variance.backward()
    assert moved.grad is None
    assert all(g is not None and g.abs().sum() > 0 for g in grads(objective))

    objective.zero_grad()
    losses = objective(moved, fixed)
    losses.displacement.backward()
    assert moved.grad is not None
    assert moved.grad.abs().sum() > 0
    assert all(g is None for g in grads(objective))


@pytest.mark.parametrize(("normalisation", "signal"), FORMS)
def test_one_backward_over_the_sum_is_two_backwards(normalisation, signal):
    torch.manual_seed(0)
    displacement_net, objective = Toy(2), CollaborativeLoss(Toy(), normalisation=normalisation, signal=signal)
    moving, fixed = images()

    def losses():
        field = displacement_net(moving, fixed)
        data = objective(warp(moving, field), fixed)
        return data.displacement + 0.01 * smoothness(field), data.variance

    def zero():
        displacement_net.zero_grad(set_to_none=True)
        objective.zero_grad(set_to_none=True)

    sum(losses()).backward()
    together = grads(displacement_net), grads(objective)
    zero()
    losses()[0].backward()
    alone = grads(displacement_net)
    assert all(g is None for g in grads(objective))
    zero()
    losses()[1].backward()
    assert all(g is None for g in grads(displacement_net))
    for got, expected in zip(together, (alone, grads(objective)), strict=True):
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-5)


def test_it_works_in_a_foreign_loop():
    torch.manual_seed(0)
    network = Toy(2)
    objective = hr.losses.CollaborativeLoss(Toy(), gamma=0.5, beta=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    noise_optimizer = torch.optim.SGD(objective.parameters(), 1e-2)
    x, y = torch.meshgrid(*[torch.linspace(-1, 1, 32)] * 2, indexing="ij")
    moving = torch.exp(-6 * (x**2 + y**2))[None, None]
    fixed = torch.exp(-6 * ((x - 0.1) ** 2 + y**2))[None, None] + 0.02 * torch.randn(1, 1, 32, 32)
    history = []
    for _ in range(60):
        field = network(moving, fixed)
        moved = warp(moving, field)
        losses = objective(moved, fixed)
        optimizer.zero_grad()
        (losses.displacement + 0.01 * smoothness(field)).backward()
        optimizer.step()
        noise_optimizer.zero_grad()
        losses.variance.backward()
        noise_optimizer.step()
        history.append((float(((moved - fixed) ** 2).mean().detach()), float(losses.variance.detach())))
    assert history[-1][0] < 0.5 * history[0][0]
    assert history[-1][1] < history[0][1]


def test_a_warm_start_has_weight_1():
    moved, fixed = images()
    losses = CollaborativeLoss(Toy())(moved, fixed, weighted=False)
    torch.testing.assert_close(losses.displacement, ((moved - fixed) ** 2).mean())
    assert losses.weight is None
    assert losses.variance is not None


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_joint_likelihood_trains_both(beta):
    moved, fixed = images()
    moved.requires_grad_()
    objective = JointLikelihood(Toy(), beta)
    losses = objective(moved, fixed)
    log_variance = objective.variance_estimator(moved, fixed)
    torch.testing.assert_close(losses.displacement, gaussian_nll(moved, fixed, log_variance, beta))
    torch.testing.assert_close(losses.weight, torch.exp((beta - 1) * log_variance.detach()))
    assert losses.variance is None
    losses.displacement.backward()
    assert moved.grad is not None
    assert moved.grad.abs().sum() > 0
    assert all(g is not None and g.abs().sum() > 0 for g in grads(objective))


def objectives(dims):
    yield from (MeanSquaredError(), LocalCorrelation(), MutualInformation(), AdaFrame(), AdaReg())
    yield AdaCS(UNetScore(dims))
    for make in (UNetVariance, CoarseVariance):
        yield JointLikelihood(make(dims), 0.5)
        for normalisation, signal in FORMS:
            yield CollaborativeLoss(make(dims), 0.5, 0.5, normalisation, signal)


@pytest.mark.parametrize("shape", [(16, 18), (16, 16, 16)])
@pytest.mark.parametrize(
    ("moved", "fixed"),
    [(0.0, 0.0), (0.4, 0.4), (0.0, 1.0), (1.0, 0.0)],
    ids=["empty", "constant", "black", "white"],
)
def test_odd_images_give_finite_losses_and_gradients(shape, moved, fixed):
    torch.manual_seed(0)
    for objective in objectives(len(shape)):
        first = torch.full((2, 1, *shape), moved, requires_grad=True)
        losses = objective(first, torch.full((2, 1, *shape), fixed))
        total = losses.displacement + (0 if losses.variance is None else losses.variance)
        total.backward()
        assert torch.isfinite(total)
        for tensor in (first.grad, *grads(objective)):
            assert tensor is None or torch.isfinite(tensor).all()
        for weight in (losses.weight, losses.smoothness_weight):
            assert weight is None or torch.isfinite(weight).all()


def test_a_batch_of_an_empty_and_a_full_pair():
    moved, fixed = images(2, 16)
    moved[0], fixed[0] = 0, 0
    losses = CollaborativeLoss(Toy(), normalisation="relative")(moved, fixed)
    for weight in losses.weight:
        assert float(weight.mean()) == pytest.approx(1, rel=1e-5)
