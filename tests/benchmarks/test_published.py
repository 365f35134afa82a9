"""The published schedule against its formulas: in NumPy and SciPy, and against heteroreg's own losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.published import SMOOTHNESS, Fields, Published, UNet, roughness
from scipy.ndimage import map_coordinates

from heteroreg.losses import CollaborativeLoss, smoothness
from heteroreg.spatial import integrate


@pytest.fixture(params=[(32, 32), (16, 32, 16)], ids=["2D", "3D"])
def published(request: pytest.FixtureRequest) -> Published:
    torch.manual_seed(1)
    schedule = Published(request.param)
    for unet, sd in ((schedule.displacement.unet, 2.0), (schedule.variance, 0.5)):
        torch.nn.init.normal_(unet.head.weight, std=sd)  # so that something moves and the variances differ
    return schedule


@pytest.fixture
def pair(published: Published) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.rand(2, 2, 1, *published.warp.shape, generator=generator))


def warped(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    pairs = zip(image, np.indices(image.shape[2:]) + displacement, strict=True)
    return np.stack([[map_coordinates(i[0], p, order=1, mode="nearest")] for i, p in pairs])


def numbers(schedule: Published, pair: tuple[torch.Tensor, ...]) -> tuple[float, float]:
    """L_θ and L_φ by their formulas, from the fields and log-variances that the networks give."""
    moving, fixed = (image.double().numpy() for image in pair)
    with torch.no_grad():
        fields = schedule.displacement(*pair)
    forward = backward = 0.0
    for a, b, field in ((moving, fixed, fields.forward), (fixed, moving, fields.backward)):
        moved = warped(a, field.double().numpy())
        with torch.no_grad():
            log_variance = schedule.variance(torch.from_numpy(moved).float(), torch.from_numpy(b).float())
        variance = np.exp(log_variance.double().numpy())
        ratio = np.sqrt(b**2 / variance)  # (I/σ)^{2γ}, γ = 0.5
        weight = 1 / (1 + np.exp(-(ratio - ratio.min()) / np.ptp(ratio)))
        forward += 0.5 * np.mean(weight * (b - moved) ** 2)
        backward += 0.5 * np.mean(np.sqrt(variance) * ((b - moved) ** 2 / variance + np.log(variance)))
    velocity = fields.velocity.double().numpy()
    dims = velocity.shape[1]
    rough = 2 / dims * sum(np.mean(np.diff(velocity, axis=2 + axis) ** 2) for axis in range(dims))
    return forward + 0.01 * rough, backward


@pytest.mark.parametrize(
    ("dims", "parameters"),
    # A convolution has 3^d · in · out + out. 2D: 304 + 4,640 + 2 · 9,248 + 9,248 + 3 · 18,464 + 13,856 + 4,624
    # + 2,320 + 290; 3D: 880 + 13,856 + 2 · 27,680 + 27,680 + 3 · 55,328 + 41,504 + 13,840 + 6,928 + 1,299.
    [(2, 109_170), (3, 327_331)],
)
def test_the_network_is_that_of_the_paper(dims: int, parameters: int) -> None:
    assert sum(p.numel() for p in UNet(dims, dims).parameters()) == parameters


def test_the_losses_are_those_of_the_formulas(published: Published, pair: tuple[torch.Tensor, ...]) -> None:
    fields = published.displacement(*pair)
    assert float(fields.forward.detach().abs().max()) > 0.3  # voxels: enough to tell
    displacement, variance = numbers(published, pair)
    assert float(published.displacement_loss(*pair)) == pytest.approx(displacement, rel=1e-4)
    assert float(published.variance_loss(*pair)) == pytest.approx(variance, rel=1e-4)


def test_the_gradients_are_those_of_our_own_losses(published: Published, pair: tuple[torch.Tensor, ...]) -> None:
    objective = CollaborativeLoss(published.variance, 0.5, 0.5, normalisation="reference", signal="fixed")
    moving, fixed = pair
    fields: Fields = published.displacement(moving, fixed)
    total = SMOOTHNESS * smoothness(fields.velocity)
    for a, b, field in ((moving, fixed, fields.forward), (fixed, moving, fields.backward)):
        losses = objective(published.warp(a, field), b)
        total = total + 0.5 * losses.displacement + 0.5 * losses.variance
    theta, phi = list(published.displacement.parameters()), list(published.variance.parameters())
    ours = torch.autograd.grad(total, [*theta, *phi])
    first = torch.autograd.grad(published.displacement_loss(*pair), [*theta, *phi], allow_unused=True)
    second = torch.autograd.grad(published.variance_loss(*pair), [*theta, *phi], allow_unused=True)
    assert all(g is None for g in first[len(theta) :])
    assert all(g is None for g in second[: len(theta)])
    for one, other in zip(ours, [*first[: len(theta)], *second[len(theta) :]], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


def test_the_integration_is_ours(published: Published) -> None:
    velocity = torch.nn.functional.avg_pool2d(torch.randn(1, 2, 16, 16), 5, 1, 2)
    estimator = Published((32, 32)).displacement
    torch.testing.assert_close(estimator.integrate(velocity), integrate(velocity, 7), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(roughness(velocity), smoothness(velocity))


def test_a_step_moves_both_estimators(published: Published, pair: tuple[torch.Tensor, ...]) -> None:
    expected = float(published.displacement_loss(*pair))
    before = [p.detach().clone() for p in (published.displacement.unet.head.weight, published.variance.head.weight)]
    assert published.step(*pair)[0] == pytest.approx(expected, rel=1e-5)
    after = (published.displacement.unet.head.weight, published.variance.head.weight)
    assert all(not torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_parts_of_a_batch_count_alike(pair: tuple[torch.Tensor, ...], published: Published) -> None:
    published.parts = 2
    halves = zip(pair[0].split(1), pair[1].split(1), strict=True)
    each = [float(published.displacement_loss(*half).detach()) for half in halves]
    assert published.step(*pair)[0] == pytest.approx(sum(each) / 2, rel=1e-5)


def test_mse_alone(published: Published, pair: tuple[torch.Tensor, ...]) -> None:
    moving, fixed = pair
    fields = published.displacement(moving, fixed)
    forward = (fixed - published.warp(moving, fields.forward)).square().mean()
    backward = (moving - published.warp(fixed, fields.backward)).square().mean()
    expected = 0.5 * (forward + backward) + 0.01 * smoothness(fields.velocity)
    assert published.mse_step(moving, fixed) == pytest.approx(float(expected), rel=1e-5)
