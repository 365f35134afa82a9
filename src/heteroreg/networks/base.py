"""The base class of displacement estimators."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from heteroreg.networks.displacement import Displacement, displacement_of


class DisplacementNetwork(nn.Module):
    """Estimator of the displacement: maps (moving, fixed), each (N, 1, *shape) in [0, 1], to a `Displacement`.

    It takes images of any size from 16 voxels along each axis. `displacement_of` makes the result from a velocity.

    Args:
        dims: 2 or 3.
        int_steps: Squarings that integrate the velocity to the displacement; 0 takes it as the displacement.
        correlation: Voxels of the velocity over which the noise of a sample is correlated, for networks with an
            uncertainty of the displacement; see `correlated`.
        kernel: SD of the Gaussian that smooths the velocity, in its voxels; see `displacement_of`.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from heteroreg.networks import displacement_of
        >>> class Plain(DisplacementNetwork):
        ...     def __init__(self, dims, int_steps=7):
        ...         super().__init__(dims, int_steps)
        ...         self.layer = nn.Conv2d(2, dims, 3, padding=1)
        ...     def forward(self, moving, fixed):
        ...         velocity = self.layer(torch.cat([moving, fixed], dim=1))
        ...         return displacement_of(velocity, moving.shape[2:], self.int_steps)
        >>> Plain(dims=2)(*torch.rand(2, 1, 1, 16, 16)).forward.shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(self, dims: int, int_steps: int = 7, correlation: float = 0.0, kernel: float = 0.0) -> None:
        super().__init__()
        self.dims = dims
        self.int_steps = int_steps
        self.correlation = correlation
        self.kernel = kernel

    def forward(self, moving: Tensor, fixed: Tensor) -> Displacement:
        """Return the displacement between two images (N, 1, *shape)."""
        raise NotImplementedError

    def _displacement(
        self, velocity: Tensor, shape: Sequence[int], log_variance: Tensor | None = None
    ) -> Displacement:
        """Return the displacement of a velocity; in training that of one sample, if there is a log σ_z²."""
        return displacement_of(
            velocity,
            shape,
            self.int_steps,
            log_variance,
            sampled=self.training,
            correlation=self.correlation,
            kernel=self.kernel,
        )

    def extra_repr(self) -> str:
        """Return the dimension and the squarings."""
        return f"dims={self.dims}, int_steps={self.int_steps}"
