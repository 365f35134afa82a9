"""Boxes laid over what the network sees: training for structure that one image has and the other lacks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heteroreg.training.schedule import generator

SMALLEST, LARGEST = 0.04, 0.18  # half of a box's side, as a share of the image's


def occlude(images: Tensor, boxes: float, seed: int, step: int, first: int = 0) -> Tensor:
    """Lays boxes of random place, size, grey level and opacity over each image on its own.

    Only the network sees them. The loss compares the images as they are, so that the way to a small loss is to
    infer the motion under a box from what is around it, and not to follow what stands in one image alone: the
    shadows, drop-outs and clutter of real images are such structure. (Random erasing, Zhong et al., AAAI 2020,
    does the same to what a classifier sees.)

    Args:
        images: (N, C, *shape) in [0, 1]; each channel is an image of its own.
        boxes: How many an image gets on average.
        seed: Of the run.
        step: The step; the same step gives the same result.
        first: The index of the first sample in the whole batch, where this is a part of it.

    Returns:
        A new tensor, in [0, 1].
    """
    shape, count = images.shape[2:], math.ceil(2 * boxes)
    dims = len(shape)
    samples = first + len(images)
    draw = torch.rand(samples, images.shape[1], count, 3 + 2 * dims, generator=generator(seed, 5, step))
    draw = draw.to(images)[first:].reshape(len(images), -1, count, 3 + 2 * dims, *[1] * dims)
    for box in draw.unbind(dim=2):  # (N, C, 3 + 2 * dims, 1, …)
        present, level, opacity = box[:, :, 0] < boxes / count, box[:, :, 1], 0.5 + 0.5 * box[:, :, 2]
        cover = present * opacity
        for axis, length in enumerate(shape):
            along = torch.arange(length).to(images).add(0.5).div(length).reshape(-1, *[1] * (dims - 1 - axis))
            centre, half = box[:, :, 3 + axis], SMALLEST + (LARGEST - SMALLEST) * box[:, :, 3 + dims + axis]
            cover = cover * ((along - centre).abs() < half)
        images = torch.lerp(images, level.expand_as(images), cover)
    return images
