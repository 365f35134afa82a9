"""What a displacement estimator returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Displacement(NamedTuple):
    """A displacement between two images. A named tuple, since distributed training looks into those.

    Attributes:
        velocity: (N, d, *coarse) in voxels of its own, possibly coarser, grid; what the smoothness is asked of.
        forward: (N, d, *shape) in voxels: warps moving onto fixed.
        backward: (N, d, *shape) in voxels: warps fixed onto moving.
        log_variance: Log-variance of the displacement, in voxels², where the network predicts one.
    """

    velocity: Tensor
    forward: Tensor
    backward: Tensor
    log_variance: Tensor | None = None
