"""Patches laid over the network's input, to train for structure that only one image has."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heteroreg.training.schedule import generator

SMALLEST, LARGEST = 0.04, 0.18  # half of a patch's width, as a share of the image's
STRIPS, LENGTH = 0.3, 3.0  # the share of the patches that are so many times as long


def occlude(images: Tensor, patches: float, seed: int, step: int, first: int = 0) -> Tensor:
    """Lay patches of random place, shape, kind and strength over each image on its own.

    Only the network sees them. The loss compares the images as they are, so that the way to a small loss is to
    infer the motion under a patch from what is around it, and not to follow what stands in one image alone: the
    shadows, drop-outs and clutter of real images are such structure. (Random erasing, Zhong et al., AAAI 2020,
    does the same to what a classifier sees.)

    A patch is something between an ellipse and a box, turned by a random angle, with an edge between sharp and
    soft; three in ten are strips. It shades, brightens, or covers with one grey level, a third each.

    Args:
        images: (N, C, *shape) in [0, 1]; each channel is an image of its own.
        patches: How many an image gets on average.
        seed: Of the run.
        step: The step; the same step gives the same result.
        first: The index of the first sample in the whole batch, where this is a part of it.

    Returns:
        A new tensor, in [0, 1].
    """
    shape, count = images.shape[2:], math.ceil(2 * patches)
    dims, samples = len(shape), first + len(images)
    numbers = torch.rand(samples, images.shape[1], count, 8 + 2 * dims, generator=generator(seed, 5, step))
    numbers = numbers[first:].to(images)
    for drawn in numbers.unbind(dim=2):  # (N, C, 8 + 2 * dims)
        there, kind, level, opacity, *form = drawn.reshape(*drawn.shape, *[1] * dims).unbind(dim=2)
        cover = (there < patches / count) * (0.5 + 0.5 * opacity) * _patch(shape, form)
        shaded = images * (1 - cover)
        bright = (images + (0.2 + 0.5 * level) * cover).clamp(max=1)
        covered = torch.lerp(images, level.expand_as(images), cover)
        images = torch.where(kind < 1 / 3, shaded, torch.where(kind < 2 / 3, bright, covered))
    return images


def _patch(shape: tuple[int, ...], form: list[Tensor]) -> Tensor:
    """Return the cover of a patch, from 0 to 1, (N, C, *shape), of numbers from 0 to 1, each (N, C, 1, …).

    Inside is Σ_i |x_i / h_i|^p < 1 in the patch's own axes: p = 2 is an ellipse, 8 nearly a box.
    """
    angle, roundness, softness, strip, *rest = form
    centres, widths = rest[: len(shape)], rest[len(shape) :]
    halves = [SMALLEST + (LARGEST - SMALLEST) * width for width in widths]
    halves[0] = torch.where(strip < STRIPS, LENGTH * halves[0], halves[0])
    x, y, *others = [
        torch.arange(n).to(angle).add(0.5).div(n).reshape(-1, *[1] * (len(shape) - 1 - axis)) - centres[axis]
        for axis, n in enumerate(shape)
    ]
    cosine, sine = (math.pi * angle).cos(), (math.pi * angle).sin()
    own = [cosine * x + sine * y, cosine * y - sine * x, *others]
    power = 2 + 6 * roundness
    distance = torch.zeros_like(angle)
    for position, half in zip(own, halves, strict=True):
        distance = distance + (position / half).abs() ** power
    return ((1 - distance) / (0.1 + 0.9 * softness) + 0.5).clamp(0, 1)
