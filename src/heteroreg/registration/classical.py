"""Registrars without training: the identity and elastix."""

from __future__ import annotations

import hashlib
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heteroreg.data.image import Image
from heteroreg.data.samples.preparation import resample, scale_of, slices_of
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.elastix import BSPLINE, align, require_elastix
from heteroreg.registration.refinement import refine_displacement, require_steps
from heteroreg.registration.result import Registration
from heteroreg.spatial import invert
from heteroreg.spatial.field import INVERSION_DAMPING, Field
from heteroreg.system.errors import UserError
from heteroreg.system.progress import progress, reported
from heteroreg.uncertainty.posterior import whole


@dataclass(frozen=True)
class Undeformed(BaseRegistrar):
    """The identity: moving as it lies in space, resampled onto the fixed grid.

    Intensities are interpolated linearly, labels take the nearest voxel. It is the first row of every table.

    Attributes:
        slicewise: True marks the registration of a stack of thick slices as slice-wise, as that of a 2D model, so
            that the scores of both are comparable. False takes every stack whole, as a 3D model does.
        name: Name in tables.

    Examples:
        >>> import numpy as np
        >>> import heteroreg as hr
        >>> registration = hr.load("undeformed").register(np.eye(4), np.eye(4), spacing=1.5)
        >>> np.array_equal(registration.moved, np.eye(4))
        True
    """

    slicewise: bool = True
    name: str = "undeformed"

    def _register(self, moving: Image, fixed: Image, moving_labels: Image | None) -> Registration:
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


class Classical(BaseRegistrar):
    """Registration by a program that optimises each pair anew, from arrays in [0, 1] on one grid.

    Moving is resampled onto the fixed grid and both are scaled to [0, 1] as for training, so that programs and
    models get the same input. A stack of thick slices is registered slice by slice in 2D, as 2D models do it, a
    volume in 3D. A slice without any contrast stays in place. The moving image is then sampled once, from its own
    voxels.

    A subclass defines `name` and `_align`.

    Attributes:
        slicewise: True registers a stack of thick slices slice by slice.
        refine: Steps of instance optimisation for each pair, see `refinement.refine_displacement`.
    """

    slicewise: bool = True
    refine: int = 0

    @abstractmethod
    def _align(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], spacing: Sequence[float]
    ) -> NDArray[np.floating[Any]]:
        """Return the displacement (d, *shape) in voxels of two arrays in [0, 1] with contrast.

        Args:
            moving: The moving image or slice.
            fixed: Likewise, of the same shape.
            spacing: Distance in mm between voxels along each axis.
        """

    def _info(self) -> Mapping[str, Any]:
        """Return what the summary of a registration says about the program."""
        return {"method": self.name}

    def _register(self, moving: Image, fixed: Image, moving_labels: Image | None) -> Registration:
        info = self._info()
        began = time.perf_counter()
        slicewise = self.slicewise and fixed.grid.thick_slices
        try:
            fields, inverses = self._displacements(moving, fixed, fixed.grid.dims - slicewise)
        except UserError as error:
            raise UserError(f"{moving.name} onto {fixed.name}: {error}") from error
        displacement, inverse = (whole(parts, slicewise=slicewise).numpy() for parts in (fields, inverses))
        found = Field(displacement, fixed.grid)
        refined = {"refine": self.refine} if self.refine else {}
        return Registration(
            fixed=fixed,
            moving=moving,
            moved=found.warp(moving),
            displacement=displacement,
            inverse_displacement=inverse,
            moved_labels=None if moving_labels is None else found.warp(moving_labels, labels=True),
            slicewise=slicewise,
            info={"model": self.name, **info, **refined, "seconds": round(time.perf_counter() - began, 4)},
        )

    def _displacements(self, moving: Image, fixed: Image, dims: int) -> tuple[Tensor, Tensor]:
        """Return displacement and inverse (N, d, *shape) in voxels: of the whole image, or of each slice."""
        moving_array = scale_of(moving, "percentile")(resample(moving, fixed.grid).array)
        fixed_array = scale_of(fixed, "percentile")(fixed.array)
        if not moving_array.min() < moving_array.max():
            raise UserError("moving is empty where fixed lies; check their origins, or align them first")
        moving_slices, fixed_slices = slices_of(moving_array, dims), slices_of(fixed_array, dims)
        with progress(f"aligning with {self.name}", len(fixed_slices)) as report:
            parts = reported(zip(moving_slices, fixed_slices, strict=True), report)
            fields = torch.from_numpy(np.stack([self._part(*part, fixed.grid.spacing[:dims]) for part in parts]))
        if not self.refine:
            return fields, invert(fields, damping=INVERSION_DAMPING)
        batches = [torch.from_numpy(np.ascontiguousarray(one))[:, None] for one in (moving_slices, fixed_slices)]
        return refine_displacement(fields, batches[0], batches[1], self.refine)

    def _part(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], spacing: Sequence[float]
    ) -> NDArray[np.float32]:
        if min(np.ptp(moving), np.ptp(fixed)) == 0:  # no contrast to align
            return np.zeros((fixed.ndim, *fixed.shape), dtype=np.float32)
        return self._align(moving, fixed, spacing).astype(np.float32)


@dataclass(frozen=True)
class Elastix(Classical):
    """Registration by elastix: a multi-resolution B-spline. It is the second row of every table.

    The same call gives the same result bit for bit, on one machine and with one number of threads.

    Attributes:
        threads: Threads of elastix for one slice or volume.
        parameters: A parameter file in elastix' own format.
        settings: Parameters that replace those of the file, such as `{"FinalGridSpacingInVoxels": "12"}`.
        slicewise: True registers a stack of thick slices slice by slice.
        name: Name in tables.
        refine: Steps of instance optimisation for each pair, from the displacement of elastix.
    """

    threads: int = 1
    parameters: Path = BSPLINE
    settings: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    slicewise: bool = True
    name: str = "elastix"
    refine: int = 0

    def __post_init__(self) -> None:
        require_steps(self.refine)

    @property
    def identity(self) -> str:
        """The name, and the refinement."""
        return f"{self.name}, refined by {self.refine}" if self.refine else self.name

    def fingerprint(self) -> str:
        """Return a text of the version, the parameters, the settings and the refinement."""
        parameters = hashlib.sha256(self.parameters.read_bytes()).hexdigest()
        plain = f"elastix {require_elastix()} {parameters} {sorted(self.settings.items())} {self.slicewise}"
        return f"{plain} refined by {self.refine}" if self.refine else plain

    def _info(self) -> Mapping[str, Any]:
        return {
            "method": "elastix",
            "version": require_elastix(),
            "parameters": self.parameters.name,
            "settings": dict(self.settings),
            "threads": self.threads,
        }

    def _align(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], spacing: Sequence[float]
    ) -> NDArray[np.floating[Any]]:
        return align(moving, fixed, spacing, self.parameters, self.settings, self.threads)
