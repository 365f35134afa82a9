"""What one row of the scores is computed from: a registration whole, or one slice of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from heteroreg.data.cohort import Pair
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.io.displacement import read_displacement
from heteroreg.data.samples.dataset import ImageCache
from heteroreg.data.samples.preparation import check_labels, check_pair, resample
from heteroreg.evaluation.truth import end_point_error, expected_noise_sd
from heteroreg.registration.result import Registration
from heteroreg.system.arrays import Array
from heteroreg.system.errors import UserError


@dataclass(frozen=True)
class Inputs:
    """The images of a pair, read and checked.

    Attributes:
        fixed: The fixed image.
        moving: The moving image, on its own grid.
        fixed_labels: Label maps of both, or of neither.
        moving_labels: On the moving image's grid.
        true_displacement: (d, *shape) in voxels of the fixed grid, where known.
        moving_noise_sd: True noise of the moving image, on its grid, where known.
        fixed_noise_sd: True noise of the fixed image, where known.
    """

    fixed: Image
    moving: Image
    fixed_labels: Image | None = None
    moving_labels: Image | None = None
    true_displacement: Array | None = None
    moving_noise_sd: Image | None = None
    fixed_noise_sd: Image | None = None

    @classmethod
    def read(cls, pair: Pair, cache: ImageCache) -> Inputs:
        """Reads the files of a pair.

        Raises:
            UserError: A file is missing or damaged, moving and fixed differ in dimension, or labels or truth
                lie on another grid than their image.
        """
        fixed, moving = cache.image(pair.fixed), cache.image(pair.moving)
        check_pair(moving, fixed)
        fixed_labels = moving_labels = None
        if pair.fixed_labels is not None and pair.moving_labels is not None:
            fixed_labels, moving_labels = cache.labels(pair.fixed_labels), cache.labels(pair.moving_labels)
            check_labels(fixed_labels, fixed)
            check_labels(moving_labels, moving)
        return cls(
            fixed,
            moving,
            fixed_labels,
            moving_labels,
            _read_truth(pair.truth, fixed.grid),
            _read_sd(pair.truth.get("moving_noise_sd"), moving, cache),
            _read_sd(pair.truth.get("fixed_noise_sd"), fixed, cache),
        )


@dataclass(frozen=True)
class View:
    """Arrays on the fixed grid that belong to one row, (*shape) unless said otherwise.

    Attributes:
        spacing: Of each axis, in mm.
        intensity_range: Maximum minus minimum of the whole fixed image.
        fixed: The fixed image.
        moving: The moving image, resampled onto the fixed grid where grids differ.
        moved: The moved image.
        displacement: (d, *shape) in voxels.
        fixed_labels: Label maps, or None where the pair has none.
        moving_labels: Resampled like `moving`, nearest voxel.
        moved_labels: Warped by the registrar.
        noise_sd: Predicted noise, None where the registrar has none.
        weight: Weight of the data term, likewise.
        end_point_error: In mm, where the true displacement is known.
        true_noise_sd: Of fixed - moved, where the true noise is known.
        displacement_sd: σ̂_z, predicted uncertainty of the displacement in mm; None where the registrar has none.
        slice: Index along the last axis of the stack; None for a whole image.
    """

    spacing: tuple[float, ...]
    intensity_range: float
    fixed: Array
    moving: Array
    moved: Array
    displacement: Array
    fixed_labels: Array | None = None
    moving_labels: Array | None = None
    moved_labels: Array | None = None
    noise_sd: Array | None = None
    weight: Array | None = None
    end_point_error: Array | None = None
    true_noise_sd: Array | None = None
    displacement_sd: Array | None = None
    slice: int | None = None

    @property
    def slices(self) -> int:
        """How many slices a 3D view has."""
        return int(self.fixed.shape[-1])

    def at(self, index: int) -> View:
        """One slice of a 3D view as a 2D view, with the displacement in its plane."""
        arrays = {
            field.name: getattr(self, field.name)[..., index]
            for field in fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        arrays["displacement"] = arrays["displacement"][:2]
        return replace(self, spacing=self.spacing[:2], slice=index, **arrays)


def view_of(registration: Registration, inputs: Inputs) -> View:
    """Brings a registration and the inputs that it came from together on the fixed grid."""
    grid = inputs.fixed.grid
    if inputs.moving_labels is not None and registration.moved_labels is None:
        raise ValueError("the registrar was given labels and returned none")
    fixed = inputs.fixed.array
    return View(
        spacing=grid.spacing,
        intensity_range=float(fixed.max()) - float(fixed.min()),
        fixed=fixed,
        moving=resample(inputs.moving, grid).array,
        moved=registration.moved.array,
        displacement=registration.displacement,
        fixed_labels=_array(inputs.fixed_labels),
        moving_labels=_array(_on(inputs.moving_labels, grid, labels=True)),
        moved_labels=None if inputs.fixed_labels is None else _array(registration.moved_labels),
        noise_sd=_array(registration.noise_sd),
        weight=_array(registration.weight),
        end_point_error=_end_point_error(registration, inputs),
        true_noise_sd=_true_noise(registration, inputs),
        displacement_sd=_array(registration.displacement_sd),
    )


def _end_point_error(registration: Registration, inputs: Inputs) -> Array | None:
    if inputs.true_displacement is None:
        return None
    return end_point_error(registration.displacement, inputs.true_displacement, inputs.fixed.grid)


def _true_noise(registration: Registration, inputs: Inputs) -> Array | None:
    if inputs.fixed_noise_sd is None:
        return None
    # Where noise was laid over real images, the noise is known and the displacement is not.
    known = inputs.true_displacement
    displacement = registration.displacement if known is None else known
    moving_sd = _array(_on(inputs.moving_noise_sd, inputs.fixed.grid))
    return expected_noise_sd(inputs.fixed_noise_sd.array, moving_sd, displacement)


def _read_truth(truth: Mapping[str, Path], grid: Grid) -> Array | None:
    if "true_displacement" not in truth:
        return None
    path = truth["true_displacement"]
    displacement, own = read_displacement(path)
    if not own.same_as(grid, tolerance=0.05):
        raise UserError(
            f"{path}: lies on another grid ({own.shape}) than the fixed image ({grid.shape}); "
            "a true displacement must lie on the fixed grid"
        )
    return displacement


def _read_sd(path: Path | None, image: Image, cache: ImageCache) -> Image | None:
    if path is None:
        return None
    sd = cache.image(path)
    check_labels(sd, image)
    return sd


def _on(image: Image | None, grid: Grid, *, labels: bool = False) -> Image | None:
    return None if image is None else resample(image, grid, labels=labels)


def _array(image: Image | None) -> Array | None:
    return None if image is None else image.array
