"""Patches over what the network sees."""

import pytest
import torch

from heteroreg.training import train
from heteroreg.training.occlusion import _patch, occlude


@pytest.mark.parametrize("shape", [(40, 64), (24, 20, 16)])
def test_each_image_gets_patches_of_its_own(shape):
    images = torch.full((6, 2, *shape), 0.5)
    seen = occlude(images, 3.0, seed=0, step=0)
    assert seen.shape == images.shape
    assert 0 <= seen.min() < seen.max() <= 1
    assert (images == 0.5).all()  # the loss still has them as they were
    covered = (seen != 0.5).flatten(2)
    assert 0 < covered.float().mean() < 0.6
    assert (covered[:, 0] != covered[:, 1]).any(dim=1).all()


def test_the_number_of_patches():
    # One patch at most in each image (2 · 0.5 = 1 candidate), there with probability one half. Some lie so near the
    # border that no pixel is covered: less than one in twenty.
    seen = occlude(torch.full((4000, 1, 50, 50), 0.5), 0.5, seed=1, step=0)
    share = ((seen - 0.5).abs() > 0.02).flatten(1).any(dim=1).float().mean()
    assert 0.45 < share < 0.52
    # Shades darken; the two other kinds brighten, or cover with a level of which half are below 0.5:
    # 1/3 + 1/6 of the patches darken.
    middle = (seen - 0.5).flatten(1)
    strongest = middle.gather(1, middle.abs().argmax(dim=1, keepdim=True))
    darker = (strongest < -0.02).sum() / (strongest.abs() > 0.02).sum()
    assert 0.46 < darker < 0.55


def numbers(**given):
    """The numbers of a patch in the middle of an image, (1, 1, 1, 1) each: an upright box of half widths 0.11."""
    named = {"angle": 0, "roundness": 1, "softness": 0, "strip": 1, "x": 0.5, "y": 0.5, "width": 0.5, "height": 0.5}
    assert given.keys() <= named.keys()
    return [torch.full((1, 1, 1, 1), float(value)) for value in (named | given).values()]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Half widths 0.04 + 0.14 · 0.5 = 0.11; Σ|x/h|⁸ < 1 has nearly the area of the box, (2 · 0.11)² = 0.0484:
        # 0.97 of it (a superellipse of power p has 4h²Γ(1 + 1/p)²/Γ(1 + 2/p); 4·0.0121·0.8868/0.9064 = 0.0474).
        ({}, 0.0474),
        ({"roundness": 0}, 0.0380),  # an ellipse: π · 0.11² = 0.0380
        ({"angle": 0.5}, 0.0474),  # turned by 90° the square is the same
        ({"angle": 0.25}, 0.0474),  # turned by 45° it has the same area
        ({"strip": 0}, 0.1421),  # three times as long: 3 · 0.0474
        ({"x": 0.0}, 0.0237),  # half of it is outside
        ({"width": 0}, 0.0172),  # 0.04 · 0.11 in place of 0.11²
    ],
)
def test_the_area_of_a_patch(given, expected):
    assert float(_patch((200, 200), numbers(**given)).mean()) == pytest.approx(expected, rel=0.03)


def test_a_strip_lies_along_its_axis():
    upright = _patch((100, 100), numbers(strip=0))[0, 0]
    turned = _patch((100, 100), numbers(strip=0, angle=0.5))[0, 0]
    torch.testing.assert_close(turned, upright.T, rtol=0, atol=1e-3)
    assert upright[:, 50].sum() > 2.5 * upright[50].sum()


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
