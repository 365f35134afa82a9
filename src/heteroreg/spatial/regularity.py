"""Measures of the regularity of a displacement."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heteroreg.spatial import jacobian_determinant

SMALLEST_DETERMINANT_COUNTED = 1e-9


def determinant(displacement: NDArray[Any]) -> NDArray[np.float64]:
    """Return det(I + ∇u) of a displacement (d, *shape) in voxels; see `spatial.jacobian_determinant`."""
    field = torch.from_numpy(np.ascontiguousarray(displacement, dtype=np.float64))
    return np.asarray(jacobian_determinant(field[None])[0].numpy())


def folding_percent(jacobian: NDArray[Any]) -> float:
    """Return the share of voxels with a determinant of 0 or less, in %."""
    return 100 * float(np.mean(jacobian <= 0))


def sd_log_jacobian(jacobian: NDArray[Any]) -> float:
    """Return the standard deviation of log det(I + ∇u) over the voxels (divided by N).

    Determinants below 1e-9, including folded ones, count as 1e-9, so the value is finite.
    """
    return float(np.std(np.log(np.maximum(jacobian, SMALLEST_DETERMINANT_COUNTED))))
