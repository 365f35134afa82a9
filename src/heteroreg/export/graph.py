"""All that a model says of a pair, from tensors to named tensors: what an exported file computes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from heteroreg.data.samples.preparation import SMALLEST_AXIS
from heteroreg.losses import Objective
from heteroreg.networks import Displacement, DisplacementNetwork, UNet
from heteroreg.networks.displacement import correlated, reparameterised
from heteroreg.spatial import integrate, resize_displacement, warp

MEANING = {
    "moved": "the moving image on the grid, (N, 1, *grid), in [0, 1]",
    "displacement": "u (N, d, *grid) in voxels, channel i along axis i: moved(x) = moving(x + u(x))",
    "inverse_displacement": "the displacement from moved back to moving, (N, d, *grid) in voxels",
    "noise_sd": "standard deviation of fixed - moved, (N, 1, *grid), of intensities in [0, 1]",
    "weight": "weight of each voxel in the training's data term, (N, 1, *grid)",
    "displacement_sd": "standard deviation of u along each axis over the samples, (N, d, *grid) in voxels",
}


class Graph(nn.Module):
    """The displacement, the moved image, and what the objective says of the noise.

    Copies of the networks are taken, in evaluation mode and with their weights fixed.

    Args:
        network: The displacement estimator.
        objective: As a method makes it.

    Attributes:
        dims: 2 or 3.
        outputs: The names of what `forward` gives, in its order.
        sampled: Whether `forward` takes noise, of which it makes samples of the displacement.
    """

    def __init__(self, network: DisplacementNetwork, objective: Objective) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
        self.objective = copy.deepcopy(objective).cpu().float().eval().requires_grad_(False)
        self.dims = self.network.dims
        self._keep_kernels()
        pair = [torch.zeros(1, 1, *[SMALLEST_AXIS] * self.dims) for _ in range(2)]
        with torch.no_grad():
            displacement: Displacement = self.network(*pair)
            losses = self.objective(*pair)
        self.sampled = displacement.velocity_log_variance is not None
        self._halved = displacement.velocity.shape != displacement.forward.shape
        self._noisy, self._weighted = losses.log_variance is not None, losses.weight is not None
        conditions = {
            "noise_sd": self._noisy,
            "weight": self._weighted,
            "displacement_sd": self.sampled,
        }
        self.outputs = tuple(name for name in MEANING if conditions.get(name, True))

    def forward(self, moving: Tensor, fixed: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        """The tensors that `outputs` names; see `MEANING`.

        Args:
            moving: (N, 1, *grid) in [0, 1], 16 voxels or more along each axis.
            fixed: Likewise.
            noise: Standard normal numbers (samples, N, d, *grid), two samples or more; where `sampled`.
        """
        displacement: Displacement = self.network(moving, fixed)
        moved = warp(moving, displacement.forward)
        results = [moved, displacement.forward, displacement.backward]
        if self._noisy or self._weighted:
            losses = self.objective(moved, fixed)
            results += [(0.5 * losses.log_variance).exp()] if self._noisy else []
            results += [losses.weight] if self._weighted else []
        if noise is not None:
            results.append(self._spread(displacement, noise))
        return tuple(results)

    def exact(self) -> Graph:
        """A copy that computes in float64."""
        graph = copy.deepcopy(self).double()
        graph._keep_kernels()
        return graph

    def _keep_kernels(self) -> None:
        """What is made of the weights of a U-Net alone is made once, and need not be part of the graph."""
        for module in self.modules():
            if isinstance(module, UNet):
                module.keep_kernels()

    def _spread(self, displacement: Displacement, noise: Tensor) -> Tensor:
        """The standard deviation (N, d, *grid) of samples, as the registrar draws them but for the numbers."""
        mean, log_variance = displacement.velocity, displacement.velocity_log_variance
        assert log_variance is not None
        shape = displacement.forward.shape[2:]
        if self._halved:  # every second number along each axis: as many as the velocity has
            every_second: list[Any] = [..., *[slice(None, None, 2)] * self.dims]
            noise = noise[tuple(every_second)]
        alike = correlated(noise, [self.network.correlation] * self.dims)
        drawn = reparameterised(mean, log_variance, alike).flatten(0, 1)
        samples = resize_displacement(integrate(drawn, self.network.int_steps), shape)
        samples = samples.unflatten(0, noise.shape[:2])
        deviation = samples - samples.mean(0, keepdim=True)
        variance: Tensor = deviation.square().sum(0) / (noise.shape[0] - 1)
        return variance.sqrt()
