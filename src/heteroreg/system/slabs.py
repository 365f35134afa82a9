"""Large volumes in slabs along their last axis, so that temporary arrays have the size of a slab."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLAB_VOXELS = 2**18


def slabs(shape: Sequence[int]) -> list[slice]:
    """Return slices of the last axis that cover a shape, each of one layer or at most `SLAB_VOXELS` voxels."""
    thick = max(1, SLAB_VOXELS // max(1, math.prod(shape[:-1])))
    return [slice(first, min(first + thick, shape[-1])) for first in range(0, shape[-1], thick)]


def by_slabs(shape: Sequence[int], compute: Callable[[slice], Any]) -> NDArray[Any]:
    """Return the array that `compute` gives slab by slab.

    Args:
        shape: Shape of the volume.
        compute: Returns the array (…, *slab) of a slab of layers along the last axis.

    Returns:
        The array (…, *shape).
    """
    parts = slabs(shape)
    if len(parts) == 1:
        return np.asarray(compute(parts[0]))
    result: NDArray[Any] | None = None
    for part in parts:
        values = np.asarray(compute(part))
        if result is None:
            result = np.empty((*values.shape[:-1], shape[-1]), values.dtype)
        result[..., part] = values
    assert result is not None
    return result
