"""The predicted distribution of a displacement, and statistics of samples from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heteroreg.data.grid import Grid
from heteroreg.networks.displacement import correlated, reparameterised
from heteroreg.spatial import integrate, resize_displacement
from heteroreg.spatial.field import Field
from heteroreg.system.arrays import Floats

SLICES_PER_BATCH = 16


class Posterior(Protocol):
    """A distribution of displacements on the fixed grid."""

    def sample(self, n: int, seed: int) -> Iterator[Floats]:
        """Draw n displacements (d, *shape) in voxels of the fixed grid, one at a time."""
        ...


@dataclass(frozen=True)
class VelocityPosterior:
    """The distribution q(v) = N(μ, σ_z·C·σ_z) of the velocity of the working grid or of each of its slices.

    C is the correlation matrix of `correlated`. Slices are correlated over the same distance in mm.

    Attributes:
        mean: μ (N, d, *coarse), in voxels of the velocity's grid; N is 1 or the number of slices.
        log_variance: log σ_z², the same shape.
        int_steps: Squarings of the integration.
        working: The working grid.
        fixed: The fixed image's grid.
        correlation: Correlation length of the deviations in voxels of the velocity's grid; 0: independent.
        slicewise: True if each of the N is a slice of the working grid.
        device: Device of the integration. The noise is drawn on the CPU, so that a seed gives the same samples on
            every device.
    """

    mean: Tensor
    log_variance: Tensor
    int_steps: int
    working: Grid
    fixed: Grid
    slicewise: bool
    device: torch.device
    correlation: float = 0.0

    def sample(self, n: int, seed: int) -> Iterator[Floats]:
        """Draw n velocities and integrates each; see `Posterior`."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(n):
            noise = self._correlated(torch.randn(self.mean.shape, generator=generator))
            displacement = whole(self._integrate(noise), slicewise=self.slicewise)
            yield Field(displacement.numpy(), self.working).resample(self.fixed).vectors

    def _correlated(self, noise: Tensor) -> Tensor:
        """Correlate the noise (N, d, *coarse) over the same distance along all axes, and across slices."""
        dims = self.mean.shape[1]
        noise = correlated(noise, [self.correlation] * dims)
        if not self.slicewise:
            return noise
        spacing, shape, coarse = self.working.spacing[:dims], self.working.shape[:dims], noise.shape[2:]
        pixels = [step * n / c for step, n, c in zip(spacing, shape, coarse, strict=True)]  # of the velocity, in mm
        distance = self.correlation * sum(pixels) / dims
        across = correlated(noise.movedim(0, -1), [distance / self.working.spacing[dims]])
        return across.movedim(-1, 0)

    @torch.inference_mode()
    def _integrate(self, noise: Tensor) -> Tensor:
        """Return the displacements (N, d, *shape) in voxels of the working grid for this noise."""
        shape = self.working.shape[: self.mean.shape[1]]
        parts = []
        for part in zip(*(t.split(SLICES_PER_BATCH) for t in (self.mean, self.log_variance, noise)), strict=True):
            velocity = reparameterised(*(tensor.to(self.device) for tensor in part))
            parts.append(resize_displacement(integrate(velocity, self.int_steps), shape).cpu())
        return torch.cat(parts)


def whole(displacement: Tensor, *, slicewise: bool) -> Tensor:
    """Join the displacements of slices (N, 2, x, y), or take that of a batch of one, as (d, *shape)."""
    if not slicewise:
        return displacement[0]
    stack = displacement.movedim(0, -1)
    return torch.cat([stack, torch.zeros_like(stack[:1])])  # nothing moves through the plane


def standard_deviation(samples: Iterable[Floats], about: Floats, grid: Grid) -> NDArray[np.float32]:
    """Return σ̂_z, the RMS length in mm of the samples' deviation from their mean.

    σ̂_z(x)² = Σ_i s_i² · Var[u_i(x)], summed over the axes i of spacing s_i, with n - 1 for n samples. It is the
    length of a whole vector, as an end-point error, and not of one component.

    Args:
        samples: Two or more displacements u (d, *shape) in voxels of the grid.
        about: A displacement near the samples; sums of differences from it keep more digits.
        grid: The grid, for its spacing.

    Returns:
        (*shape).

    Raises:
        ValueError: There are fewer than two samples.
    """
    first, second, n = np.zeros(about.shape), np.zeros(about.shape), 0
    for sample in samples:
        difference = sample.astype(np.float64) - about
        first += difference
        second += difference**2
        n += 1
    if n < 2:
        raise ValueError(f"a standard deviation needs two samples, got {n}")
    variance = np.maximum(second - first**2 / n, 0) / (n - 1)
    spacing = np.asarray(grid.spacing).reshape(-1, *[1] * grid.dims)
    return np.asarray(np.sqrt((variance * spacing**2).sum(axis=0)), dtype=np.float32)
