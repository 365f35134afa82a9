"""Instance optimisation: minimise a loss for one pair, starting from the estimate of a network or a program."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from heteroreg.losses import MeanSquaredError, TotalLoss
from heteroreg.networks.displacement import Displacement, integrated
from heteroreg.spatial import logarithm, resize_displacement, smooth, warp
from heteroreg.system.errors import UserError
from heteroreg.system.precision import autocast
from heteroreg.system.progress import progress

# In voxels of the velocity: chosen on the validation pairs of M&Ms, see benchmarks/log.md.
RATE = 0.4
# λ of the method `mse`, and the squarings of every network, for estimates that come from no network.
SMOOTHNESS, SQUARINGS = 0.01, 7
PAIRS_AT_ONCE = 16  # slices of a stack: bounded, so that memory does not grow with it
# Of the running means of the gradient and of its largest square.
FIRST, SECOND = 0.9, 0.99


def require_steps(iterations: int) -> None:
    """Check a number of steps.

    Raises:
        UserError: It is negative.
    """
    if iterations < 0:
        raise UserError(f"refine: {iterations} is negative; give a whole number from 0 up", argument="refine")


def refine(
    displacement: Displacement,
    moving: Tensor,
    fixed: Tensor,
    objective: nn.Module,
    total: TotalLoss,
    int_steps: int,
    iterations: int,
    precision: str = "32-true",
    kernel: float = 0.0,
) -> Displacement:
    """Minimise the loss over the velocity of each pair of a batch, starting from the network's estimate.

    What training minimises over the network's weights,

        (L(moving∘φ_v, fixed) + L(fixed∘φ_{-v}, moving)) / 2 + λ‖∇v‖²,

    is minimised over v = v₀ + G∗w, with w from 0 on, v₀ the estimate and G the kernel of the network. L has the
    weights of the trained variance estimator, which learns no more; they are computed anew at each step. The
    velocity is smooth by λ and G as in training, and integrated, so that the result has its inverse. The pairs of a
    batch are problems of their own: a step does not depend on the size of the gradient.

    Args:
        displacement: Estimate of the network.
        moving: (N, 1, *shape) in [0, 1].
        fixed: Likewise.
        objective: Objective of the training, from (moved, fixed) to `Losses`.
        total: Total loss of the training. Its uncertainty term does not depend on the velocity.
        int_steps: Squarings of the integration.
        iterations: Steps of the descent, whose length falls to 0.
        precision: Precision of the objective.
        kernel: SD of G, in voxels of the velocity; 0: none.

    Returns:
        The displacement with the refined velocity; the log-variance is that of the network.
    """
    estimate = displacement.velocity.float()
    change = torch.zeros_like(estimate).requires_grad_(True)
    descent = _Descent(change)
    with torch.enable_grad(), progress("refining", iterations) as report:
        for iteration in range(iterations):
            velocity = estimate + smooth(change, kernel)
            forward, backward = integrated(velocity, moving.shape[2:], int_steps)
            both = torch.cat([forward, backward])
            moved = warp(torch.cat([moving, fixed]), both)
            with autocast(precision, velocity.device):
                losses = objective(moved, torch.cat([fixed, moving]), weighted=True)
            loss = replace(total, uncertainty=None).terms(losses, velocity, displacement=both)["loss"]
            (gradient,) = torch.autograd.grad(loss, change)  # the objective's own parameters get none
            descent.step(change, gradient, RATE * (1 - iteration / iterations))
            report(iteration + 1)
    refined = estimate + smooth(change.detach(), kernel)
    found = integrated(refined, moving.shape[2:], int_steps)
    return Displacement(refined, *found, displacement.velocity_log_variance)


def refine_displacement(
    displacement: Tensor, moving: Tensor, fixed: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Refine displacements that come from no network, by the loss of the method `mse`.

    The descent begins with the velocity of the displacement, its `logarithm` on a grid of half the resolution.
    Where the displacement folds it has none, and the descent begins with a near one that does not fold.

    Args:
        displacement: (N, d, *shape) in voxels.
        moving: (N, 1, *shape) in [0, 1].
        fixed: Likewise.
        iterations: Steps of the descent.

    Returns:
        The refined displacement and its inverse, (N, d, *shape) in voxels. A pair with a constant image stays.
    """
    shape = displacement.shape[2:]
    parts = []
    for first in range(0, len(displacement), PAIRS_AT_ONCE):
        part = slice(first, first + PAIRS_AT_ONCE)
        velocity = logarithm(resize_displacement(displacement[part], [(n + 1) // 2 for n in shape]), SQUARINGS)
        start = Displacement(velocity, *integrated(velocity, shape, SQUARINGS))
        total = TotalLoss(SMOOTHNESS)
        found = refine(start, moving[part], fixed[part], MeanSquaredError(), total, SQUARINGS, iterations)
        shown = torch.stack(
            [(one[part].flatten(1).amax(1) > one[part].flatten(1).amin(1)) for one in (moving, fixed)]
        )
        seen = shown.all(0).view(-1, *[1] * (displacement.ndim - 1)).to(displacement)
        parts.append((found.forward * seen, found.backward * seen))
    forward, backward = zip(*parts, strict=True)
    return torch.cat(forward), torch.cat(backward)


class _Descent:
    """Adam with one scale for each pair, the largest gradient, in place of one for each number.

    Where an image is flat the gradient is next to nothing. Adam itself would make a step there as long as
    elsewhere, in a direction that means nothing.
    """

    def __init__(self, velocity: Tensor) -> None:
        self.first = torch.zeros_like(velocity)
        self.second = velocity.new_zeros(len(velocity), *[1] * (velocity.ndim - 1))
        self.count = 0

    @torch.no_grad()
    def step(self, velocity: Tensor, gradient: Tensor, rate: float) -> None:
        """Move the velocity of each pair by about `rate` voxels where its gradient is largest."""
        self.count += 1
        largest = gradient.flatten(1).square().amax(1).view_as(self.second)
        self.first = FIRST * self.first + (1 - FIRST) * gradient
        self.second = SECOND * self.second + (1 - SECOND) * largest
        mean = self.first / (1 - FIRST**self.count)
        scale = (self.second / (1 - SECOND**self.count)).sqrt()
        velocity -= rate * mean / scale.clamp(min=torch.finfo(scale.dtype).tiny)
