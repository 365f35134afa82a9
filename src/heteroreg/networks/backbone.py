"""Somebody else's network in the place of the U-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEATURES = 16  # what the paper's U-Net ends with


def features_of(backbone: nn.Module, first: Tensor, second: Tensor, expected: int) -> Tensor:
    """What a backbone makes of two images, which it sees as two channels.

    Args:
        backbone: Maps (N, 2, *shape) to features (N, C, *grid), on any grid.
        first: (N, 1, *shape).
        second: (N, 1, *shape).
        expected: C.

    Returns:
        (N, C, *grid).

    Raises:
        ValueError: The backbone gives something else.
    """
    images = torch.cat([first, second], dim=1)
    features = backbone(images)
    if not isinstance(features, Tensor):
        raise ValueError(
            f"expected one tensor from the backbone {type(backbone).__name__}, got {type(features).__name__}; "
            "wrap it in a module that returns the features"
        )
    if features.ndim != images.ndim or features.shape[:2] != (len(images), expected):
        raise ValueError(
            f"expected {expected} features (N, {expected}, *grid) from the backbone {type(backbone).__name__} for "
            f"images {tuple(images.shape)}, got {tuple(features.shape)}; `features=` says how many there are"
        )
    return features
