"""The images, label maps and known truth of a pair, read from its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heteroreg.data.cohort import Pair
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.io.displacement import read_displacement
from heteroreg.data.landmarks import Landmarks, read_landmarks
from heteroreg.data.samples.dataset import ImageCache
from heteroreg.data.samples.preparation import check_labels, check_pair, resample
from heteroreg.evaluation.truth import end_point_error, expected_noise_sd
from heteroreg.registration.alignment import initially_placed
from heteroreg.registration.intensities import intensity_map, moved_like_fixed
from heteroreg.registration.landmarks import landmark_errors
from heteroreg.registration.maps import Maps
from heteroreg.registration.result import Registration
from heteroreg.system.arrays import Array
from heteroreg.system.errors import UserError


@dataclass(frozen=True)
class Inputs:
    """The images of a pair, read and checked.

    Attributes:
        fixed: The fixed image.
        moving: The moving image, on its own grid.
        fixed_labels: Label map of the fixed image; None unless both images have one.
        moving_labels: Label map of the moving image, on its own grid; likewise.
        true_displacement: (d, *shape) in voxels of the fixed grid; None where it is unknown, as the two below.
        moving_noise_sd: True noise sd of the moving image, on its own grid.
        fixed_noise_sd: True noise sd of the fixed image.
        landmarks: Points of both images; None without any.
    """

    fixed: Image
    moving: Image
    fixed_labels: Image | None = None
    moving_labels: Image | None = None
    true_displacement: Array | None = None
    moving_noise_sd: Image | None = None
    fixed_noise_sd: Image | None = None
    landmarks: Landmarks | None = None

    @classmethod
    def read(cls, pair: Pair, cache: ImageCache) -> Inputs:
        """Read and check the files of a pair.

        Raises:
            UserError: A file is missing or damaged, moving and fixed differ in dimension, or labels or truth
                lie on another grid than their image.
        """
        fixed, moving = cache.image(pair.fixed), cache.image(pair.moving)
        check_pair(moving, fixed)
        fixed_labels = moving_labels = None
        if pair.fixed_labels is not None and pair.moving_labels is not None:
            fixed_labels, moving_labels = cache.labels(pair.fixed_labels), cache.labels(pair.moving_labels)
            fixed_labels = check_labels(fixed_labels, fixed)
            moving_labels = check_labels(moving_labels, moving)
        return cls(
            fixed,
            moving,
            fixed_labels,
            moving_labels,
            _read_truth(pair.truth, fixed.grid),
            _read_sd(pair.truth.get("moving_noise_sd"), moving, cache),
            _read_sd(pair.truth.get("fixed_noise_sd"), fixed, cache),
            read_landmarks(pair, moving.grid, fixed.grid),
        )


def maps_of(registration: Registration, inputs: Inputs) -> Maps:
    """Return the arrays of a registration together with the fixed labels and the known truth of its pair.

    Outside the moving image `moved` has the smallest value of moving, so that scores do not depend on where 0 lies.
    Where the two images have different intensity scales, moving and moved are brought to that of the fixed image,
    as a model saw them: otherwise fixed - moved would be the difference of the scales.
    """
    if inputs.moving_labels is not None and registration.moved_labels is None:
        raise ValueError("the registrar was given labels and returned none")
    maps = replace(registration.maps(), moved=moved_like_fixed(registration, inputs.moving, inputs.fixed))
    to_fixed = intensity_map(inputs.moving, inputs.fixed)
    if to_fixed is not None:
        maps = replace(maps, moving=to_fixed(maps.moving))
    return replace(
        maps,
        fixed_labels=_array(inputs.fixed_labels),
        # A registrar need not hand back the moving labels.
        moving_labels=_array(_on(inputs.moving_labels, inputs.fixed.grid, labels=True)),
        initial_labels=_initial_labels(registration, inputs),
        end_point_error=_end_point_error(registration, inputs),
        true_error=_true_error(registration, inputs),
        landmarks=None if inputs.landmarks is None else landmark_errors(registration, inputs.landmarks),
        true_noise_sd=_true_noise(registration, inputs, 1.0 if to_fixed is None else to_fixed.factor),
    )


def _initial_labels(registration: Registration, inputs: Inputs) -> Array | None:
    if inputs.moving_labels is None or "initial" not in registration.info:
        return None
    return _array(_on(initially_placed(inputs.moving_labels, registration), inputs.fixed.grid, labels=True))


def _end_point_error(registration: Registration, inputs: Inputs) -> Array | None:
    if inputs.true_displacement is None:
        return None
    return end_point_error(registration.displacement, inputs.true_displacement, inputs.fixed.grid)


def _true_error(registration: Registration, inputs: Inputs) -> Array | None:
    if inputs.true_displacement is None:
        return None
    grid = inputs.fixed.grid
    spacing = np.asarray(grid.spacing).reshape(-1, *[1] * grid.dims)
    return np.asarray((registration.displacement - inputs.true_displacement) * spacing, dtype=np.float32)


def _true_noise(registration: Registration, inputs: Inputs, factor: float) -> Array | None:
    if inputs.fixed_noise_sd is None:
        return None
    # Where noise was laid over real images, the noise is known and the displacement is not.
    known = inputs.true_displacement
    displacement = registration.displacement if known is None else known
    moving_sd = _array(_on(inputs.moving_noise_sd, inputs.fixed.grid))
    moving_sd = None if moving_sd is None else moving_sd * np.float32(factor)
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
    return check_labels(cache.image(path), image)


def _on(image: Image | None, grid: Grid, *, labels: bool = False) -> Image | None:
    return None if image is None else resample(image, grid, labels=labels)


def _array(image: Image | None) -> Array | None:
    return None if image is None else image.array
