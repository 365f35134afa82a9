"""Operations counted by hand."""

from __future__ import annotations

import pytest
import torch
from benchmarks.limit import LargeConvolution, convolution_operations
from benchmarks.published import Published


def test_a_convolution_forward_and_backward() -> None:
    layer = torch.nn.Conv2d(2, 5, 3, padding=1)
    images = torch.rand(4, 2, 6, 7)
    # 2 (multiply, add) · 9 (window) · 2 · 5 (channels) · 4 · 6 · 7 (voxels)
    assert convolution_operations(lambda: layer(images)) == 2 * 9 * 10 * 168
    # Backward: the gradient of the weights costs the same again; images need none.
    assert convolution_operations(lambda: layer(images).sum().backward()) == 2 * (2 * 9 * 10 * 168)
    # With a gradient of the images, a third time.
    images.requires_grad_()
    assert convolution_operations(lambda: layer(images).sum().backward()) == 3 * (2 * 9 * 10 * 168)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("size", [(2, 8, 8), (1, 4, 6, 5)])
def test_the_large_convolution_knows_its_operations(precision: str, size: tuple[int, ...]) -> None:
    large = LargeConvolution(len(size) - 1, precision, size=size)
    assert large.operations == convolution_operations(large)
    assert large.features.grad is not None
    assert large.features.grad.dtype == large.layer.weight.dtype


def test_the_published_step() -> None:
    """Multiplications for each pixel of an image: the sum of 9 · in · out / (share of the level).

    U-Net without head: 288 + 4608/4 + 9216/16 + 9216/64 (down) + 9216/256 + 18432/64 + 18432/16 + 18432/4 (up)
    + 13824 + 4608 + 2304 (full resolution) = 28980; heads 288 (two velocities) and 144 (one variance).
    First phase: the displacement estimator forward and twice backward, but for the gradient of the images (288);
    the variance estimator forward in both directions. Second phase: the other way round.
    """
    displacement, variance = 28980 + 288, 28980 + 144
    first = 3 * displacement - 288 + 2 * variance
    second = displacement + 2 * (3 * variance - 288)
    schedule = Published((32, 32))
    images = torch.rand(2, 3, 1, 32, 32)
    count = convolution_operations(lambda: schedule.step(*images))
    assert count == 2 * (first + second) * 3 * 32 * 32
