"""How regular a displacement is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heteroreg.spatial import jacobian_determinant

SMALLEST = 1e-9


def determinant(displacement: NDArray[Any]) -> NDArray[np.float64]:
    """det(I + ∇u) of a displacement (d, *shape) in voxels, as `spatial.jacobian_determinant` takes it."""
    field = torch.from_numpy(np.ascontiguousarray(displacement, dtype=np.float64))
    return np.asarray(jacobian_determinant(field[None])[0].numpy())


def folding_percent(jacobian: NDArray[Any]) -> float:
    """The share of voxels with a determinant of 0 or less, in %."""
    return 100 * float(np.mean(jacobian <= 0))


def sd_log_jacobian(jacobian: NDArray[Any]) -> float:
    """The standard deviation of log det(I + ∇u) over the voxels (divided by N).

    Determinants below 1e-9, folded ones among them, are taken as 1e-9, so that the value is finite.
    """
    return float(np.std(np.log(np.maximum(jacobian, SMALLEST))))
