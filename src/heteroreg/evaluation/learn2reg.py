"""The metrics of the Learn2Reg challenges, computed as their evaluation computes them.

Hering et al., IEEE Transactions on Medical Imaging 42, 2023; evaluation version 2.0.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from heteroreg.evaluation.overlap import dice
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError

JACOBIAN_MARGIN = 2  # voxels at each end that the Jacobian leaves out
# Added to the determinant before the logarithm, and the bounds of the sum.
SHIFT, LOW, HIGH = 3.0, 1e-9, 1e9


def require_surface_distance() -> None:
    """Check that the library of the distances is installed.

    Raises:
        UserError: It is not installed.
    """
    try:
        import surface_distance  # noqa: F401
    except ImportError as error:
        raise UserError(
            "metrics: those of Learn2Reg need surface-distance; install it with pip install 'heteroreg[learn2reg]'",
            argument="metrics",
        ) from error


def warp_nearest(labels: NDArray[Any], displacement: Floats) -> NDArray[Any]:
    """Return a label map at i + u(i), nearest voxel, 0 outside.

    Args:
        labels: (x, y, z), on the grid of the displacement.
        displacement: u (3, x, y, z) in voxels.

    Returns:
        (x, y, z); 0 also between the centre of an outer voxel and its edge, as the challenge has it.
    """
    positions = np.indices(labels.shape) + displacement
    return np.asarray(map_coordinates(labels, positions, order=0))


def overlap_and_distance(
    moved: NDArray[Any], fixed: NDArray[Any], present: Collection[int]
) -> tuple[dict[str, float], set[int]]:
    """Score each label: Dice, and the 95th percentile of the surface distances in voxels, weighted by area.

    Args:
        moved: The warped label map.
        fixed: The fixed label map.
        present: The labels to score.

    Returns:
        The scores, and the labels that the warp lost: Dice 0, and no distance (infinity in the challenge).
    """
    from surface_distance import compute_robust_hausdorff, compute_surface_distances

    values: dict[str, float] = {}
    missed = set()
    for label in sorted(present):
        one, other = moved == label, fixed == label
        values[f"dice_{label}"] = dice(one, other)
        if one.any():
            distances = compute_surface_distances(other, one, np.ones(3))
            values[f"hd95_{label}"] = float(compute_robust_hausdorff(distances, 95.0))
        else:
            missed.add(label)
    return values, missed


def sd_shifted_log_jacobian(jacobian: Floats) -> float:
    """Return the standard deviation of log(det(I + ∇u) + 3) without the two outer voxels of each axis.

    The challenge adds 3 so that folded voxels have a logarithm. The values are smaller than those of
    `regularity.sd_log_jacobian`.

    Args:
        jacobian: (x, y, z) as `regularity.determinant` gives it, five voxels or more along each axis; inside it has
            the central differences of the challenge.
    """
    inner = jacobian[(slice(JACOBIAN_MARGIN, -JACOBIAN_MARGIN),) * 3]
    return float(np.std(np.log(np.clip(inner + SHIFT, LOW, HIGH))))
