"""Registrars that need no training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.preparation import check_pair, resample
from heteroreg.registration import Registration

THICK = 3.0


def thick_slices(grid: Grid) -> bool:
    """Whether a grid is a stack of slices rather than a volume.

    True where the slices lie more than three times as far apart as the pixels in them: structures then jump
    from slice to slice, and each slice is registered and scored on its own.
    """
    return grid.dims == 3 and grid.spacing[2] > THICK * max(grid.spacing[:2])


@dataclass(frozen=True)
class Undeformed:
    """The identity: moving as it lies in space, resampled onto the fixed grid.

    The first row of every table: what there was before registration.

    Attributes:
        slicewise: Calls a stack of thick slices slice-wise, as 2D models are, so that the scores of both are
            of the same kind. False takes every stack whole, as 3D models do.
        name: What to call it in tables.
    """

    slicewise: bool = True
    name: str = "undeformed"

    def register(self, moving: Image, fixed: Image, moving_labels: Image | None = None) -> Registration:
        """Puts moving (linear) and its labels (nearest) onto the fixed grid.

        Raises:
            UserError: One is 2D and the other 3D.
        """
        check_pair(moving, fixed)
        labels = None if moving_labels is None else resample(moving_labels, fixed.grid, labels=True)
        zero = np.zeros((fixed.grid.dims, *fixed.grid.shape), dtype=np.float32)
        return Registration(
            fixed=fixed,
            moving=moving,
            moved=replace(resample(moving, fixed.grid), grid=fixed.grid),
            displacement=zero,
            inverse_displacement=zero.copy(),
            moved_labels=labels,
            slicewise=self.slicewise and thick_slices(fixed.grid),
            info={"model": self.name, "method": self.name},
        )
