"""The scorer of AdaCS: the degree to which each voxel has a counterpart in the other image."""

from __future__ import annotations

import torch
from torch import Tensor

from heteroreg.networks.variance import UNetMap


class UNetScore(UNetMap):
    """The scorer of AdaCS: the U-Net of the variance estimator with a sigmoid.

    Args:
        dims: 2 or 3.
        initial: Logit of the score that it starts from; 2 is a score of 0.88.
    """

    def __init__(self, dims: int, initial: float = 2.0) -> None:
        super().__init__(dims, initial)

    def forward(self, moved: Tensor, fixed: Tensor) -> Tensor:
        """Return Ŝ (N, 1, *shape) in [0, 1] of two images (N, 1, *shape)."""
        return torch.sigmoid(self.values(moved, fixed))
