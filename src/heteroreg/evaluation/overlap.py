"""Overlap of two masks."""

from __future__ import annotations

import math

import numpy as np

from heteroreg.evaluation.masks import MaskLike, masks_of


def dice(a: MaskLike, b: MaskLike, label: int | None = None) -> float:
    """Return the Dice coefficient of two masks, 2 |A ∩ B| / (|A| + |B|).

    >>> import numpy as np
    >>> dice(np.array([1, 1, 1, 0]), np.array([1, 1, 0, 0]))  # 2 · 2 / (3 + 2)
    0.8
    >>> dice(np.array([1, 2, 2]), np.array([1, 1, 2]), label=2)  # 2 · 1 / (2 + 1)
    0.6666666666666666
    >>> dice(np.zeros(4), np.zeros(4))
    nan

    Args:
        a: An array of any shape, or an image as `hr.register` takes it.
        b: The same shape.
        label: The label to compare; None compares all voxels that are not 0.

    Returns:
        0 to 1. 0 if one mask is empty, NaN if both are.

    Raises:
        ValueError: The shapes differ.
    """
    one, other, _ = masks_of(a, b, label)
    total = int(one.sum()) + int(other.sum())
    return 2 * int(np.sum(one & other)) / total if total else math.nan


def jaccard(a: MaskLike, b: MaskLike, label: int | None = None) -> float:
    """Return the Jaccard index of two masks, |A ∩ B| / |A ∪ B|.

    >>> import numpy as np
    >>> jaccard(np.array([1, 1, 1, 1]), np.array([1, 1, 0, 0]))
    0.5

    Args:
        a: An array of any shape, or an image as `hr.register` takes it.
        b: The same shape.
        label: The label to compare; None compares all voxels that are not 0.

    Returns:
        0 to 1. 0 if one mask is empty, NaN if both are.

    Raises:
        ValueError: The shapes differ.
    """
    one, other, _ = masks_of(a, b, label)
    union = int(np.sum(one | other))
    return int(np.sum(one & other)) / union if union else math.nan
