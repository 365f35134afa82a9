"""Regularity of a displacement: folding, and how unevenly it stretches space."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from heteroreg.spatial.jacobian import jacobian_determinant
from heteroreg.system.arrays import Array, Doubles
from heteroreg.system.slabs import by_slabs

SMALLEST_COUNTED_DETERMINANT = 1e-9


def folding_percent(displacement: Any) -> float:
    """Return the share of voxels where a displacement folds space over itself, in %: det(I + ∇u) ≤ 0.

    >>> import numpy as np
    >>> x = np.arange(4.0)
    >>> folding_percent(np.stack([np.broadcast_to(-2 * x[:, None], (4, 4)), np.zeros((4, 4))]))  # a mirror
    100.0
    >>> folding_percent(np.zeros((2, 4, 4)))
    0.0

    Args:
        displacement: u (d, *shape) in voxels, or a `Field`.

    Returns:
        0 to 100.
    """
    return percent_folded(determinant(displacement))


def sd_log_jacobian(displacement: Any) -> float:
    """Return the standard deviation over the voxels (divided by N) of log det(I + ∇u).

    Determinants below 1e-9, such as those of folded voxels, are taken as 1e-9, so that the value is finite.

    >>> import numpy as np
    >>> sd_log_jacobian(np.zeros((2, 4, 4)))  # a constant determinant
    0.0

    Args:
        displacement: u (d, *shape) in voxels, or a `Field`.

    Returns:
        0 or more, without a unit.
    """
    return sd_of_log(determinant(displacement))


def determinant(displacement: Any) -> Doubles:
    """Return det(I + ∇u) (*shape) of a displacement in voxels, as `spatial.jacobian_determinant` computes it.

    Args:
        displacement: u (d, *shape) in voxels, or a `Field`.
    """
    vectors = np.asarray(getattr(displacement, "vectors", displacement))
    last = vectors.shape[-1]

    def at(layers: slice) -> Doubles:
        """Return the determinant of some layers; differences need one more on either side."""
        first, end = max(layers.start - 1, 0), min(layers.stop + 1, last)
        part = torch.from_numpy(np.ascontiguousarray(vectors[..., first:end], dtype=np.float64))[None]
        return np.asarray(jacobian_determinant(part)[0, ..., layers.start - first : layers.stop - first].numpy())

    return by_slabs(vectors.shape[1:], at)


def percent_folded(jacobian: Array) -> float:
    """Return the share of voxels with a determinant of 0 or less, in %."""
    return 100 * float(np.mean(jacobian <= 0))


def sd_of_log(jacobian: Array) -> float:
    """Return the standard deviation of the logarithm of determinants, those below 1e-9 being taken as 1e-9."""
    return float(np.std(np.log(np.maximum(jacobian, SMALLEST_COUNTED_DETERMINANT))))
