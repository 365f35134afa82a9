"""How far two masks overlap."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from heteroreg.system.arrays import Mask


def dice(a: Mask, b: Mask) -> float:
    """2 |A ∩ B| / (|A| + |B|) of two masks of the same shape; NaN where both are empty.

    Args:
        a: Any shape; non-zero is inside.
        b: The same shape.

    Returns:
        0 to 1. One empty mask gives 0: it is a miss, not an undefined value.
    """
    a, b = _masks(a, b)
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else math.nan


def jaccard(a: Mask, b: Mask) -> float:
    """|A ∩ B| / |A ∪ B| of two masks of the same shape; NaN where both are empty."""
    a, b = _masks(a, b)
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else math.nan


def _masks(a: Mask, b: Mask) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if a.shape != b.shape:
        raise ValueError(f"the masks must have the same shape; got {a.shape} and {b.shape}")
    return np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
