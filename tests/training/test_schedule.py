import itertools

import pytest
import torch

from heteroreg.training import Config
from heteroreg.training.schedule import Phase, augment, batch_indices, learning_rate, phase, seed_step


def config(**settings):
    return Config.build({"steps": 100, "learning_rate": 1.0, **settings})


def test_one_cycle_by_hand():
    c = config()
    # From 1/25 to 1 in the first tenth, then half a cosine to 1/1000.
    assert learning_rate(c, 0) == pytest.approx(0.04)
    assert learning_rate(c, 5) == pytest.approx(0.52)
    assert learning_rate(c, 10) == pytest.approx(1.0)
    assert learning_rate(c, 55) == pytest.approx((1 + 0.001) / 2)  # half way down
    # At step 99 cos(π·0.89/0.9) = -0.999391: 0.001 + 0.999·0.000609/2.
    assert learning_rate(c, 99) == pytest.approx(0.001304, abs=1e-6)


def test_polynomial_and_constant():
    # (1 - 0.5)^0.9 = 0.535887.
    assert learning_rate(config(schedule="polynomial"), 50) == pytest.approx(0.535887, abs=1e-6)
    assert learning_rate(config(schedule="constant"), 77) == 1.0


def test_the_published_phases():
    c = config(warm_start=0.1, variance_alone=0.2)
    stages = [phase(c, step) for step in range(100)]
    assert all(s == Phase(displacement=True, variance=False, weighted=False) for s in stages[:10])
    assert all(s == Phase(displacement=False, variance=True, weighted=True) for s in stages[10:30])
    assert all(s == Phase() for s in stages[30:])


def test_a_warm_start_beside_which_the_variance_learns():
    c = config(warm_start=0.1)
    assert phase(c, 9) == Phase(displacement=True, variance=True, weighted=False)
    assert phase(c, 10) == Phase()
    assert phase(config(), 0) == Phase()


@pytest.mark.parametrize(("count", "batch"), [(7, 3), (5, 8), (4, 4), (1, 2)])
def test_every_sample_once_in_an_epoch(count, batch):
    steps = 3 * count  # 3 · batch epochs
    order = torch.cat([batch_indices(1, step, batch, count) for step in range(steps)]).tolist()
    epochs = (
        list(itertools.batched(order, count))
        if hasattr(itertools, "batched")
        else [tuple(order[k : k + count]) for k in range(0, len(order), count)]
    )
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count > 3:
        assert len(set(epochs)) > 1  # each in a new order


def test_the_order_depends_on_seed_and_step_alone():
    first = batch_indices(4, 11, 8, 100)
    batch_indices(5, 3, 8, 50)
    torch.manual_seed(99)
    torch.testing.assert_close(batch_indices(4, 11, 8, 100), first)
    assert not torch.equal(batch_indices(5, 11, 8, 100), first)


@pytest.mark.parametrize("shape", [(6, 6), (5, 7), (4, 4, 3)])
def test_augmentation_treats_the_channels_of_a_sample_alike(shape):
    images = torch.rand(16, 1, *shape)
    pair = torch.cat([images, images + 1], dim=1)
    result = augment(pair, 3, 8)
    torch.testing.assert_close(result[:, 1], result[:, 0] + 1)
    assert not torch.equal(result, pair)
    for before, after in zip(images[:, 0], result[:, 0], strict=True):
        torch.testing.assert_close(after.flatten().sort().values, before.flatten().sort().values)


def test_augmentation_is_one_of_the_symmetries_of_the_grid_and_all_occur():
    image = torch.arange(9.0).view(3, 3)
    symmetries = {
        tuple(t.flip(axes).flatten().tolist()) for t in (image, image.T) for axes in ([], [0], [1], [0, 1])
    }
    result = augment(image.expand(300, 1, 3, 3), 0, 0)
    assert {tuple(r.flatten().tolist()) for r in result} == symmetries
    assert len(symmetries) == 8


def test_unequal_axes_are_not_exchanged():
    assert augment(torch.rand(32, 2, 4, 6), 0, 1).shape == (32, 2, 4, 6)


def test_augmentation_is_the_same_for_the_same_step_and_in_parts():
    images = torch.rand(8, 2, 5, 5)
    whole = augment(images, 7, 21)
    torch.manual_seed(0)
    torch.testing.assert_close(augment(images, 7, 21), whole)
    torch.testing.assert_close(torch.cat([augment(images[:4], 7, 21), augment(images[4:], 7, 21, first=4)]), whole)
    assert not torch.equal(augment(images, 7, 22), whole)
    assert not torch.equal(augment(images, 8, 21), whole)


def test_noise_follows_from_seed_step_and_place_alone():
    def drawn(*where):
        seed_step(*where)
        return tuple(torch.randn(4).tolist())

    places = [*itertools.product((0, 1), (0, 1, 2), (0, 4)), (2**63 - 1, 10**6, 10**4)]
    assert len({drawn(*place) for place in places}) == len(places)
    assert drawn(3, 5, 2) == drawn(3, 5, 2)
