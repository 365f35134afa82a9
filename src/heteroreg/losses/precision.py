"""Precision of statistics."""

from __future__ import annotations

import torch
from torch import Tensor


def single(image: Tensor) -> Tensor:
    """Return the image in float32, or as it is if it has more digits.

    Sums over windows and whole images lose everything in the 8 bits of bfloat16.
    """
    return image.float() if image.dtype in (torch.bfloat16, torch.float16) else image
