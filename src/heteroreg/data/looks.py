"""What the voxels of an image look like: a label map, padding outside the field of view."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_LABELS = 12
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
