"""The coarse-to-fine network."""

from __future__ import annotations

import pytest
import torch

from heteroreg.networks import Pyramid, SymmetricPyramid
from heteroreg.spatial import warp
from heteroreg.system.precision import autocast


def blob(shape: tuple[int, ...], centre: tuple[float, ...], width: float = 5.0) -> torch.Tensor:
    """A bump (1, 1, *shape)."""
    axes = torch.meshgrid(*[torch.arange(float(n)) for n in shape], indexing="ij")
    distance = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True))
    return torch.exp(-torch.as_tensor(distance) / (2 * width**2))[None, None]


BOTH = pytest.mark.parametrize("kind", [Pyramid, SymmetricPyramid])


@BOTH
@pytest.mark.parametrize("shape", [(16, 16), (17, 31), (50, 33), (16, 17, 19), (33, 20, 16)], ids=str)
@pytest.mark.parametrize("uncertain", [False, True])
def test_images_of_any_size(shape: tuple[int, ...], uncertain: bool, kind: type[Pyramid]) -> None:
    network = kind(len(shape), uncertain=uncertain)
    found = network(*torch.rand(2, 3, 1, *shape))
    coarse = [(n + 1) // 2 for n in shape]
    assert found.velocity.shape == (3, len(shape), *coarse)
    assert found.forward.shape == found.backward.shape == (3, len(shape), *shape)
    if uncertain:
        assert found.velocity_log_variance is not None
        assert found.velocity_log_variance.shape == found.velocity.shape
    else:
        assert found.velocity_log_variance is None


@pytest.mark.parametrize(("dims", "parameters"), [(2, 185_000), (3, 348_137)])
def test_its_size(dims: int, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in Pyramid(dims).parameters()) == parameters


@pytest.mark.parametrize("shapes", [((8, 8), (8, 8)), ((20, 20), (20, 21)), ((20, 20, 20), (20, 20, 20))])
def test_images_that_do_not_fit(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="expected two images"):
        Pyramid(2)(*(torch.rand(1, 1, *shape) for shape in shapes))


@BOTH
def test_every_parameter_learns(kind: type[Pyramid]) -> None:
    """Distributed training waits for the gradient of each."""
    torch.manual_seed(0)
    network = kind(2, uncertain=True)
    found = network(blob((32, 32), (14, 16)), blob((32, 32), (18, 16)))
    assert found.velocity_log_variance is not None
    (found.forward.square().sum() + found.velocity_log_variance.sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@BOTH
def test_the_pairs_of_a_batch_do_not_see_each_other(kind: type[Pyramid]) -> None:
    torch.manual_seed(0)
    network = kind(2, head_sd=0.1).eval()
    moving, fixed = torch.rand(2, 3, 1, 24, 20)
    together = network(moving, fixed).forward
    alone = torch.cat([network(moving[k : k + 1], fixed[k : k + 1]).forward for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "shape", "half"),
    [(Pyramid, (40, 40), 5.0), (Pyramid, (24, 24, 24), 3.0), (SymmetricPyramid, (40, 40), 3.0)],
    ids=["2D", "3D", "symmetric"],
)
def test_it_learns_a_motion_of_many_voxels(kind: type[Pyramid], shape: tuple[int, ...], half: float) -> None:
    """A bump that has moved by twice its width or more, which a gradient at full resolution hardly sees."""
    torch.manual_seed(0)
    centre = tuple(n / 2 for n in shape)
    moving = blob(shape, (centre[0] - half, *centre[1:]), 3.0)
    fixed = blob(shape, (centre[0] + half, *centre[1:]), 3.0)
    network = kind(len(shape))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(80):
        found = network(moving, fixed)
        loss = (warp(moving, found.forward) - fixed).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before = (moving - fixed).square().mean()
    assert float(loss.detach()) < 0.1 * float(before)
    back = (warp(fixed, found.backward.detach()) - moving).square().mean()
    assert float(back) < 0.3 * float(before)  # the inverse comes of the same velocity


@BOTH
def test_low_precision_is_near_the_full_one(kind: type[Pyramid]) -> None:
    torch.manual_seed(0)
    network = kind(2, head_sd=0.05).eval()
    moving, fixed = torch.rand(2, 1, 1, 32, 32)
    full = network(moving, fixed)
    with autocast("bf16-mixed", torch.device("cpu")):
        low = network(moving, fixed)
    assert low.forward.dtype == torch.float32
    # Within 5 %, or 0.005 voxels: in the symmetric one, untrained, both orders nearly cancel.
    assert float((low.forward - full.forward).abs().max()) < 0.05 * max(float(full.forward.abs().max()), 0.1)


@pytest.mark.parametrize("shape", [(33, 24), (17, 20, 24)], ids=["2D", "3D"])
def test_the_other_order_gives_the_inverse(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = SymmetricPyramid(len(shape), head_sd=1.0, uncertain=True).eval()
    assert network.log_variance_head is not None
    for parameter in network.log_variance_head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # else it is the same everywhere
    moving, fixed = torch.rand(2, 2, 1, *shape)
    one, other = network(moving, fixed), network(fixed, moving)
    assert float(one.forward.detach().abs().max()) > 0.1
    assert one.velocity_log_variance is not None
    assert float(one.velocity_log_variance.detach().std()) > 0.001
    torch.testing.assert_close(other.velocity, -one.velocity, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.forward, one.backward, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.velocity_log_variance, one.velocity_log_variance, rtol=1e-4, atol=1e-5)


def test_equal_images_stay_where_they_are() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 1, 32, 32)
    for kind, least, most in ((SymmetricPyramid, 0.0, 1e-6), (Pyramid, 0.01, 100.0)):
        moved = kind(2, head_sd=0.1).eval()(image, image).forward.detach().abs().max()
        assert least <= float(moved) < most


@BOTH
def test_a_second_pass_corrects_the_first(kind: type[Pyramid]) -> None:
    """Its velocity depends on that of the first, and both use the same weights."""
    torch.manual_seed(0)
    once, twice = kind(2, head_sd=0.1), kind(2, head_sd=0.1, passes=2)
    twice.load_state_dict(once.state_dict())
    images = blob((32, 32), (14, 16)), blob((32, 32), (18, 16))
    features = twice._features(torch.cat(images))
    velocity = once(*images).velocity
    for level in reversed(range(len(features))):
        _, velocity = once._refined(level, features[level], 1, velocity)
    torch.testing.assert_close(twice(*images).velocity, velocity)
    assert (velocity - once(*images).velocity).abs().max() > 0.01 * velocity.abs().max()
