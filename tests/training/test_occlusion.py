"""Boxes over what the network sees."""

import pytest
import torch

from heteroreg.training import train
from heteroreg.training.occlusion import occlude


@pytest.mark.parametrize("shape", [(40, 64), (24, 20, 16)])
def test_each_image_gets_boxes_of_its_own(shape):
    images = torch.full((6, 2, *shape), 0.5)
    seen = occlude(images, 3.0, seed=0, step=0)
    assert seen.shape == images.shape
    assert 0 <= seen.min() < seen.max() <= 1
    assert (images == 0.5).all()  # the loss still has them as they were
    covered = (seen != 0.5).flatten(2)
    assert 0 < covered.float().mean() < 0.6
    assert (covered[:, 0] != covered[:, 1]).any(dim=1).all()


def test_the_number_and_the_size_of_boxes():
    # One box at most in each image (2 · 0.5 = 1 candidate), there with probability one half; its area is
    # (2h)², h uniform from 0.04 to 0.18, cut at the border: E[(2h)(2h')] = 0.22² = 0.0484 before the cut.
    seen = occlude(torch.full((4000, 1, 50, 50), 0.5), 0.5, seed=1, step=0)
    covered = (seen != 0.5).flatten(1).float().mean(dim=1)
    assert abs((covered > 0).float().mean() - 0.5) < 0.03
    area = covered[covered > 0].mean()
    assert 0.75 * 0.0484 < area < 0.0484
    boxes = seen[covered > 0]
    for image in boxes[:50, 0]:  # a box is one grey level
        assert len(image.unique()) == 2


def test_a_part_of_a_batch_is_covered_as_in_the_whole():
    images = torch.rand(6, 2, 32, 32)
    whole = occlude(images, 2.0, seed=3, step=7)
    torch.testing.assert_close(occlude(images[2:4], 2.0, seed=3, step=7, first=2), whole[2:4], rtol=0, atol=0)
    assert (occlude(images, 2.0, seed=3, step=8) != whole).any()
    assert (occlude(images, 2.0, seed=4, step=7) != whole).any()


def test_the_network_sees_them_and_the_loss_does_not(cohort_2d, tmp_path):
    # In the first step the network is nearly the identity (head_sd is tiny), so that the data term is that of the
    # images as they are, whatever the network saw.
    settings = {"method": "mse", "steps": 1, "batch_size": 4, "log_every": 1, "head_sd": 1e-9}
    plain = train(cohort_2d, tmp_path / "plain", **settings)
    covered = train(cohort_2d, tmp_path / "covered", occlusions=4.0, **settings)
    torch.testing.assert_close(plain.metrics["data"][0], covered.metrics["data"][0], rtol=1e-4, atol=0)
    first, second = (run.modules("last")[0].state_dict() for run in (plain, covered))
    assert any((first[name] != second[name]).any() for name in first)
