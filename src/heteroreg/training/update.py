"""One update of the estimators."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack

import torch
from lightning_fabric import Fabric
from torch import Tensor

from heteroreg.data.samples.samples import Samples
from heteroreg.spatial import warp
from heteroreg.training.config import Config
from heteroreg.training.finite import FiniteCheck
from heteroreg.training.occlusion import occlude
from heteroreg.training.schedule import Phase, augment, batch_indices, learning_rate, seed_step
from heteroreg.training.state import State


def update(
    fabric: Fabric, state: State, samples: Samples, config: Config, stage: Phase, finite: FiniteCheck
) -> dict[str, Tensor]:
    """Update the estimators that learn in this phase.

    The figures stay on the device: nothing in here waits for a GPU.

    Returns:
        The figures of the step by name.
    """
    rate = learning_rate(config, state.step)
    for optimizer in state.optimizers.values():
        optimizer.zero_grad(set_to_none=True)
        for group in optimizer.param_groups:
            group["lr"] = rate
    total: dict[str, Tensor] = {}
    for first, images in _parts_of_batch(fabric, state, samples, config, stage):
        for name, value in _accumulate(fabric, state, images, config, stage, first).items():
            total[name] = total.get(name, torch.zeros_like(value)) + value.detach() / config.accumulate
    norms = _descend(fabric, state, config, stage)
    finite.note(state.step + 1, [*total.values(), *norms])
    return total | {"learning_rate": torch.tensor(rate)}


def _parts_of_batch(
    fabric: Fabric, state: State, samples: Samples, config: Config, stage: Phase
) -> Iterator[tuple[int, Tensor]]:
    """Yield the index of the first sample of each part of a batch, and the part's images.

    Processes add up the gradients of what learns in the last part alone. Distributed training wants to know
    before the forward pass.
    """
    assert config.batch_size is not None
    own = config.batch_size // fabric.world_size  # every process takes its part of the same batch
    begin, share = fabric.global_rank * own, own // config.accumulate
    begins = range(begin, begin + own, share)
    indices = batch_indices(config.seed, state.step, config.batch_size, len(samples))
    learning = {"displacement": (state.network, stage.displacement), "variance": (state.objective, stage.variance)}
    for first in begins:
        with ExitStack() as stack:
            for name, (module, learns) in learning.items():
                alone = first != begins[-1] or not learns
                if fabric.world_size > 1 and name in state.optimizers and alone:
                    stack.enter_context(fabric.no_backward_sync(module))  # type: ignore[arg-type]
            images = samples.images(indices[first : first + share])
            if config.augment:
                images = augment(images, config.seed, state.step, first)
            images = images.pin_memory() if fabric.device.type == "cuda" else images
            yield first, images.to(fabric.device, non_blocking=True)


def _accumulate(
    fabric: Fabric, state: State, images: Tensor, config: Config, stage: Phase, first: int
) -> dict[str, Tensor]:
    """Add the gradient of one part of a batch, and return its figures."""
    seen = occlude(images, config.occlusions, config.seed, state.step, first) if config.occlusions else images
    moving, fixed = images.chunk(2, dim=1)
    seed_step(config.seed, state.step, first)
    with torch.set_grad_enabled(stage.displacement):
        displacement = state.network(*seen.chunk(2, dim=1))
        # Both directions in one batch: each counts half.
        both = torch.cat([displacement.forward, displacement.backward])
        moved = warp(torch.cat([moving, fixed]), both)
    losses = state.objective(moved, torch.cat([fixed, moving]), weighted=stage.weighted)
    log_variance = displacement.velocity_log_variance
    figures = state.total.terms(losses, displacement.velocity, log_variance, both)
    if state.total.uncertainty is not None:
        figures["velocity_sd"] = (0.5 * log_variance.detach()).exp().mean()
    goal = figures["loss"] if stage.displacement else torch.zeros((), device=fabric.device)
    if losses.variance is not None:
        figures["variance"] = losses.variance
        goal = goal + losses.variance if stage.variance else goal
    if goal.requires_grad:  # a method whose variance has no loss of its own learns nothing in its phase
        fabric.backward(goal / config.accumulate)
    return figures


def _descend(fabric: Fabric, state: State, config: Config, stage: Phase) -> list[Tensor]:
    """Step along the clipped gradients of what learns in this phase, and return their norms."""
    norms = []
    for name, module, learns in (
        ("displacement", state.network, stage.displacement),
        ("variance", state.objective, stage.variance),
    ):
        has_gradient = any(parameter.grad is not None for parameter in module.parameters())
        if learns and has_gradient and name in state.optimizers:
            norm = fabric.clip_gradients(
                module, state.optimizers[name], max_norm=config.clip or math.inf, error_if_nonfinite=False
            )
            norms += [] if norm is None else [norm]
            state.optimizers[name].step()
    return norms
