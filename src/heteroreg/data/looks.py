"""Recognise label maps, and padding outside the field of view, by their voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_LABELS = 12
# Shares of voxels: padding has at least the first and at most the second.
FEWEST_PADDED, MOST_PADDED = 0.01, 0.5
LIKE_NEIGHBOUR = 0.9  # share of voxels of a label map that equal their neighbour


def label_values(array: NDArray[Any]) -> str:
    """Return the values of an image that looks like a label map, as `0, 1, 2`; empty for any other.

    A label map has a few whole numbers from 0 up, in regions: most voxels equal their neighbour.
    """
    values = np.unique(array)
    if not 2 <= len(values) <= MOST_LABELS or values[0] != 0 or not np.array_equal(values, np.round(values)):
        return ""
    alike = np.mean([np.mean(np.diff(array, axis=axis) == 0) for axis in range(2)])
    return ", ".join(f"{value:g}" for value in values) if alike > LIKE_NEIGHBOUR else ""


def is_padded(array: NDArray[Any]) -> bool:
    """Return True if the smallest value fills the voxels outside a field of view, as -2000 does in CT.

    It is negative, 1 to 50 % of the voxels have it, and it is farther below all others than these are from one
    another (0.5th to 99.5th percentile). A dark background, 0 or close to the rest, does not count.
    """
    low = array.min()
    if low >= 0:
        return False
    others = array[array != low]
    share = 1 - others.size / array.size
    if not FEWEST_PADDED <= share <= MOST_PADDED:
        return False
    ends = np.percentile(others, (0.5, 99.5))
    return bool(ends[1] > ends[0] and others.min() - low > ends[1] - ends[0])
