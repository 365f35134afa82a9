"""Schedules that depend on the step alone, so that a resumed run needs no memory of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from heteroreg.training.config import Config

WARM_UP = 0.1  # share of a one-cycle in which the rate rises


def learning_rate(config: Config, step: int) -> float:
    """Return the learning rate of a step.

    `one-cycle`: linear from a 25th to the highest rate in the first tenth of the steps, then half a cosine
    down to a 1000th. `polynomial`: (1 - t)^0.9. `constant`.
    """
    assert config.learning_rate is not None
    t = step / config.steps
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "polynomial":
        return float(config.learning_rate * (1 - t) ** 0.9)
    if t < WARM_UP:
        return config.learning_rate * (0.04 + 0.96 * t / WARM_UP)
    return config.learning_rate * (0.001 + 0.999 * (1 + math.cos(math.pi * (t - WARM_UP) / (1 - WARM_UP))) / 2)


@dataclass(frozen=True)
class Phase:
    """A phase of the training: which estimator learns, and whether the loss is weighted.

    Attributes:
        displacement: The displacement estimator learns.
        variance: The variance estimator learns.
        weighted: The displacement loss is weighted; otherwise its weight is 1.
    """

    displacement: bool = True
    variance: bool = True
    weighted: bool = True


def phase(config: Config, step: int) -> Phase:
    """Return the phase of a step.

    First the displacement learns with weight 1 (`warm_start`), then the variance alone (`variance_alone`),
    then both (METHOD: 10 + 10 of 150 epochs). Where the variance is given no time alone, it learns beside the
    displacement from the start.
    """
    first = config.warm_start * config.steps
    second = first + config.variance_alone * config.steps
    if step < first:
        return Phase(variance=config.variance_alone == 0, weighted=False)
    return Phase(displacement=step >= second)


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, 1, epoch))


def batch_indices(seed: int, step: int, batch_size: int, count: int) -> Tensor:
    """Return the samples of the batch of a step: every sample once in an epoch, each epoch in a new order."""
    positions = range(step * batch_size, (step + 1) * batch_size)
    return torch.stack([_permutation(seed, at // count, count)[at % count] for at in positions])


def augment(images: Tensor, seed: int, step: int, first: int = 0) -> Tensor:
    """Flip each sample along random axes and exchange its first two axes at random, if they are equal.

    Args:
        images: (N, C, *shape), the channels of a sample are treated alike.
        seed: Of the run.
        step: The step; the same step gives the same result.
        first: The index of the first sample in the whole batch, where this is a part of it.
    """
    dims = images.ndim - 2
    choices = torch.randint(0, 2, (first + len(images), dims + 1), generator=generator(seed, 2, step)).bool()[
        first:
    ]
    result = []
    for image, choice in zip(images, choices.tolist(), strict=True):
        if choice[dims] and image.shape[1] == image.shape[2]:
            image = image.transpose(1, 2)
        axes = [axis + 1 for axis in range(dims) if choice[axis]]
        result.append(image.flip(axes) if axes else image)
    return torch.stack(result)


def seed_step(seed: int, step: int, first: int = 0) -> None:
    """Seed PyTorch's own generators, of every device, for what a network draws in a part of a step.

    A resumed run then draws as one that never stopped, and every process noise of its own, without a state to keep.

    Args:
        seed: Of the run.
        step: The step.
        first: The index of the first sample of the part in the whole batch.
    """
    torch.manual_seed(_mixed(_mixed(seed, 3, step), 4, first))


def generator(seed: int, stream: int, number: int) -> torch.Generator:
    """Return a generator for (seed, stream, number), whose numbers depend on nothing else."""
    return torch.Generator().manual_seed(_mixed(seed, stream, number))


def _mixed(seed: int, stream: int, number: int) -> int:
    return (seed * 0x9E3779B97F4A7C15 + stream * 0xC2B2AE3D27D4EB4F + number * 0x165667B19E3779F9) % 2**63
