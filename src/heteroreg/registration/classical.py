"""Registrars that need no training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heteroreg.data.image import Image
from heteroreg.data.inputs import ImageLike, as_pair
from heteroreg.data.samples.preparation import check_pair, resample, scale_of, slices_of
from heteroreg.registration.elastix import BSPLINE, align, require_installed
from heteroreg.registration.result import Registration
from heteroreg.spatial import invert
from heteroreg.spatial.field import warp_image
from heteroreg.system.errors import UserError
from heteroreg.system.progress import progress, reported
from heteroreg.uncertainty.posterior import whole

# Of the inversion: half steps converge where a B-spline stretches space to as much as four times its length.
DAMPING = 0.5


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
            slicewise=self.slicewise and fixed.grid.thick_slices,
            info={"model": self.name, "method": self.name},
        )


@dataclass(frozen=True)
class Elastix:
    """Registration by elastix: a multi-resolution B-spline, optimised anew for each pair.

    What one did before there were networks, and the second row of every table. Moving is brought onto the fixed
    grid and both are scaled to [0, 1] as for training, so that both kinds of registrar see the same. A stack of
    thick slices is registered slice by slice in 2D, as 2D models do it, a volume in 3D. A slice without any
    contrast stays where it is. The moving image is then sampled once, from its own voxels.

    The same call gives the same result bit for bit, on one machine and with one number of threads.

    Attributes:
        threads: Of elastix, for one slice or volume.
        parameters: A parameter file in elastix' own format.
        settings: Single parameters that replace those of the file, such as
            `{"FinalGridSpacingInVoxels": "12"}`.
        slicewise: As for `Undeformed`.
        name: What to call it in tables.
    """

    threads: int = 1
    parameters: Path = BSPLINE
    settings: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    slicewise: bool = True
    name: str = "elastix"

    def register(
        self, moving: ImageLike, fixed: ImageLike, moving_labels: ImageLike | None = None, spacing: Any = None
    ) -> Registration:
        """Registers moving to fixed.

        Args:
            moving: A path, an `Image`, a SimpleITK image, or an array [x, y(, z)].
            fixed: Likewise.
            moving_labels: A label map of the moving image, to carry along.
            spacing: Of arrays, in mm; a number or one for each axis.

        Raises:
            UserError: elastix is not installed, or fails; an image is unfit, or the two do not overlap in space.
        """
        version = require_installed()
        moving, fixed, labels = as_pair(moving, fixed, moving_labels, spacing)
        began = time.perf_counter()
        slicewise = self.slicewise and fixed.grid.thick_slices
        try:
            fields = self._displacements(moving, fixed, fixed.grid.dims - slicewise)
        except UserError as error:
            raise UserError(f"{moving.name} onto {fixed.name}: {error}") from error
        inverses = invert(fields, damping=DAMPING)
        displacement, inverse = (whole(parts, slicewise=slicewise).numpy() for parts in (fields, inverses))
        return Registration(
            fixed=fixed,
            moving=moving,
            moved=warp_image(moving, displacement, fixed.grid),
            displacement=displacement,
            inverse_displacement=inverse,
            moved_labels=None if labels is None else warp_image(labels, displacement, fixed.grid, labels=True),
            slicewise=slicewise,
            info={
                "model": self.name,
                "method": "elastix",
                "version": version,
                "parameters": self.parameters.name,
                "settings": dict(self.settings),
                "threads": self.threads,
                "seconds": round(time.perf_counter() - began, 4),
            },
        )

    def _displacements(self, moving: Image, fixed: Image, dims: int) -> Tensor:
        """(N, d, *shape) in voxels of the fixed grid, of the image whole or of each of its slices."""
        moving_array = scale_of(moving, "percentile")(resample(moving, fixed.grid).array)
        fixed_array = scale_of(fixed, "percentile")(fixed.array)
        if not moving_array.min() < moving_array.max():
            raise UserError("moving shows nothing where fixed lies; check their origins, or align them first")
        moving_slices, fixed_slices = slices_of(moving_array, dims), slices_of(fixed_array, dims)
        with progress("aligning with elastix", len(fixed_slices)) as report:
            parts = reported(zip(moving_slices, fixed_slices, strict=True), report)
            return torch.from_numpy(np.stack([self._align(*part, fixed.grid.spacing[:dims]) for part in parts]))

    def _align(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], spacing: Sequence[float]
    ) -> NDArray[np.float32]:
        if min(np.ptp(moving), np.ptp(fixed)) == 0:  # nothing to align, and no direction to go
            return np.zeros((fixed.ndim, *fixed.shape), dtype=np.float32)
        found = align(moving, fixed, spacing, self.parameters, self.settings, self.threads)
        return found.astype(np.float32)
