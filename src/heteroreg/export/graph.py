"""The computation of an exported file: everything a model estimates for a pair, from tensors to named tensors."""

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

OUTPUTS = {
    "moved": "the moving image on the grid, (N, 1, *grid), in [0, 1]",
    "displacement": "u (N, d, *grid) in voxels, channel i along axis i: moved(x) = moving(x + u(x))",
    "inverse_displacement": "the displacement from moved back to moving, (N, d, *grid) in voxels",
    "noise_sd": "standard deviation of fixed - moved, (N, 1, *grid), of intensities in [0, 1]",
    "weight": "weight of each voxel in the training's data term, (N, 1, *grid)",
    "displacement_sd": "standard deviation of u along each axis over the samples, (N, d, *grid) in voxels",
}


class Graph(nn.Module):
    """The displacement, the moved image, and the noise and weight maps of the objective.

    It holds copies of the networks, in evaluation mode and with fixed weights.

    Args:
        network: The displacement estimator.
        objective: The objective of a method.

    Attributes:
        dims: 2 or 3.
        outputs: Names of the tensors that `forward` returns, in order.
        sampled: True if `forward` takes noise, from which it draws displacement samples.
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
        self.outputs = tuple(name for name in OUTPUTS if conditions.get(name, True))

    def forward(self, moving: Tensor, fixed: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the tensors that `outputs` names; see `OUTPUTS`.

        Args:
            moving: (N, 1, *grid) in [0, 1], 16 voxels or more along each axis.
            fixed: The same for the fixed image.
            noise: Standard normal numbers (samples, N, d, *grid), two samples or more; only if `sampled`.
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
        """Return a copy that computes in float64."""
        graph = copy.deepcopy(self).double()
        graph._keep_kernels()
        return graph

    def _keep_kernels(self) -> None:
        """Compute once what depends on the weights of a U-Net alone, so that the graph need not hold it."""
        for module in self.modules():
            if isinstance(module, UNet):
                module.keep_kernels()

    def _spread(self, displacement: Displacement, noise: Tensor) -> Tensor:
        """Return the standard deviation (N, d, *grid) of samples, drawn from the noise as the registrar does."""
        mean, log_variance = displacement.velocity, displacement.velocity_log_variance
        assert log_variance is not None
        shape = displacement.forward.shape[2:]
        if self._halved:  # the velocity has half as many voxels along each axis
            every_second: list[Any] = [..., *[slice(None, None, 2)] * self.dims]
            noise = noise[tuple(every_second)]
        alike = correlated(noise, [self.network.correlation] * self.dims)
        drawn = reparameterised(mean, log_variance, alike).flatten(0, 1)
        samples = resize_displacement(integrate(drawn, self.network.int_steps), shape)
        samples = samples.unflatten(0, noise.shape[:2])
        deviation = samples - samples.mean(0, keepdim=True)
        variance: Tensor = deviation.square().sum(0) / (noise.shape[0] - 1)
        return variance.sqrt()
