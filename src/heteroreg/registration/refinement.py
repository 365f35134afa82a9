"""Instance optimisation: minimise the training's loss for one pair, starting from the network's estimate."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from heteroreg.losses import TotalLoss
from heteroreg.networks.displacement import Displacement, integrated
from heteroreg.spatial import warp
from heteroreg.system.precision import autocast
from heteroreg.system.progress import progress

# In voxels of the velocity: chosen on the validation pairs of M&Ms, see benchmarks/log.md.
RATE = 0.4
# Of the running means of the gradient and of its largest square.
FIRST, SECOND = 0.9, 0.99


def refine(
    displacement: Displacement,
    moving: Tensor,
    fixed: Tensor,
    objective: nn.Module,
    total: TotalLoss,
    int_steps: int,
    iterations: int,
    precision: str = "32-true",
) -> Displacement:
    """Minimise the loss over the velocity of each pair of a batch, starting from the network's estimate.

    What training minimises over the network's weights,

        (L(moving∘φ_v, fixed) + L(fixed∘φ_{-v}, moving)) / 2 + λ‖∇v‖²,

    is minimised over v. L has the weights of the trained variance estimator, which learns no more; they are
    computed anew at each step. The velocity is smooth by λ as in training, and integrated, so that the result has
    its inverse. The pairs of a batch are problems of their own: a step does not depend on the size of the gradient.

    Args:
        displacement: Estimate of the network.
        moving: (N, 1, *shape) in [0, 1].
        fixed: Likewise.
        objective: Objective of the training, from (moved, fixed) to `Losses`.
        total: Total loss of the training. Its uncertainty term does not depend on the velocity.
        int_steps: Squarings of the integration.
        iterations: Steps of the descent, whose length falls to 0.
        precision: Precision of the objective.

    Returns:
        The displacement with the refined velocity; the log-variance is that of the network.
    """
    velocity = displacement.velocity.float().clone().requires_grad_(True)
    descent = _Descent(velocity)
    with torch.enable_grad(), progress("refining", iterations) as report:
        for iteration in range(iterations):
            forward, backward = integrated(velocity, moving.shape[2:], int_steps)
            both = torch.cat([forward, backward])
            moved = warp(torch.cat([moving, fixed]), both)
            with autocast(precision, velocity.device):
                losses = objective(moved, torch.cat([fixed, moving]), weighted=True)
            loss = replace(total, uncertainty=None).terms(losses, velocity, displacement=both)["loss"]
            (gradient,) = torch.autograd.grad(loss, velocity)  # the objective's own parameters get none
            descent.step(velocity, gradient, RATE * (1 - iteration / iterations))
            report(iteration + 1)
    refined = velocity.detach()
    found = integrated(refined, moving.shape[2:], int_steps)
    return Displacement(refined, *found, displacement.velocity_log_variance)


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
