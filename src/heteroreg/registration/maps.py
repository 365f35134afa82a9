"""The arrays of one registration, all on the grid of the fixed image."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.samples.preparation import resample
from heteroreg.registration.result import Registration
from heteroreg.system.arrays import Array

GREY_IMAGES = ("fixed", "moving", "moved")
LABEL_MAPS = ("fixed_labels", "moving_labels", "moved_labels")
SCALAR_MAPS = ("noise_sd", "true_noise_sd", "weight", "displacement_sd", "end_point_error")


@dataclass(frozen=True, kw_only=True)
class Maps:
    """The arrays of one registration on the fixed grid, of shape (*shape) unless said otherwise.

    Attributes:
        spacing: Size of a voxel along each axis, in mm.
        fixed: The fixed image.
        moving: The moving image, resampled onto the fixed grid.
        moved: The moved image.
        displacement: (d, *shape) in voxels.
        fixed_labels: Label map of the fixed image; None without label maps, as the two below.
        moving_labels: Label map of the moving image, resampled to the nearest voxel.
        moved_labels: Label map of the moving image, warped by the registrar.
        noise_sd: Predicted noise sd, in the fixed image's intensity units; None without a noise estimate.
        weight: Weight of the data term; None where all voxels have the same weight.
        true_noise_sd: True sd of fixed - moved; None where it is unknown.
        displacement_sd: Predicted uncertainty of the displacement in mm; None without one.
        end_point_error: Length of the displacement's error in mm; None where the truth is unknown.
    """

    spacing: tuple[float, ...]
    fixed: Array
    moving: Array
    moved: Array
    displacement: Array
    fixed_labels: Array | None = None
    moving_labels: Array | None = None
    moved_labels: Array | None = None
    noise_sd: Array | None = None
    weight: Array | None = None
    true_noise_sd: Array | None = None
    displacement_sd: Array | None = None
    end_point_error: Array | None = None

    @staticmethod
    def from_registration(registration: Registration) -> Maps:
        """Collect the arrays that a registration holds.

        The fixed labels and the two maps of the truth are unknown to a registration; add them with
        `dataclasses.replace`.
        """
        return Maps(
            spacing=registration.grid.spacing,
            fixed=registration.fixed.array,
            moving=resample(registration.moving, registration.grid).array,
            moved=registration.moved.array,
            displacement=registration.displacement,
            moving_labels=_labels_on(registration.grid, registration.moving_labels),
            moved_labels=_array(registration.moved_labels),
            noise_sd=_array(registration.noise_sd),
            weight=_array(registration.weight),
            displacement_sd=_array(registration.displacement_sd),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the fixed grid."""
        return self.fixed.shape

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name, without those that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(Maps)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def at(self, index: int) -> Self:
        """Return one slice along the last axis of 3D maps, with the displacement in its plane."""
        slices: dict[str, Any] = {name: array[..., index] for name, array in self.arrays().items()}
        slices["displacement"] = slices["displacement"][:2]
        return replace(self, spacing=self.spacing[:2], **slices)


def _array(image: Image | None) -> Array | None:
    return None if image is None else image.array


def _labels_on(grid: Grid, labels: Image | None) -> Array | None:
    return None if labels is None else resample(labels, grid, labels=True).array
