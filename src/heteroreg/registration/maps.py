"""The arrays of one registration, all on the grid of the fixed image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from heteroreg.system.arrays import Array

GREY_IMAGES = ("fixed", "moving", "moved")
LABEL_MAPS = ("fixed_labels", "moving_labels", "moved_labels")
SCALAR_MAPS = ("noise_sd", "true_noise_sd", "weight", "displacement_sd", "error_95", "end_point_error")


@dataclass(frozen=True)
class LandmarkErrors:
    """Error of the displacement at the landmarks of the fixed image.

    Attributes:
        places: Index of each landmark on the fixed grid (n, d).
        errors: û - u* in mm along the axes of the grid (n, d).
        before: The same without a displacement (n, d).
        moving: Axes along which the registration moves: 2 for one that is slice by slice.
    """

    places: Array
    errors: Array
    before: Array
    moving: int

    def at(self, index: int) -> Self:
        """Return those that are nearest to a slice along the last axis."""
        inside = np.rint(self.places[:, -1]) == index
        return replace(
            self, places=self.places[inside, :-1], errors=self.errors[inside], before=self.before[inside]
        )


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
        initial_labels: Label map of the moving image after the initial alignment; None without one.
        noise_sd: Predicted noise sd, in the fixed image's intensity units; None without a noise estimate.
        weight: Weight of the data term; None where all voxels have the same weight.
        true_noise_sd: True sd of fixed - moved; None where it is unknown.
        displacement_sd: Predicted uncertainty of the displacement in mm; None without one.
        error_95: Half-width in mm of the 95 % interval of the displacement's error, or of the largest level that
            the calibration can give; None without a calibration.
        error_scales: By label, and `all`: the half-width of each level in units of `error_95`.
        true_error: û - u* (d, *shape) in mm; None where the truth is unknown.
        end_point_error: Its length in mm.
        landmarks: Errors at landmarks; None without any.
    """

    spacing: tuple[float, ...]
    fixed: Array
    moving: Array
    moved: Array
    displacement: Array
    fixed_labels: Array | None = None
    moving_labels: Array | None = None
    moved_labels: Array | None = None
    initial_labels: Array | None = None
    noise_sd: Array | None = None
    weight: Array | None = None
    true_noise_sd: Array | None = None
    displacement_sd: Array | None = None
    error_95: Array | None = None
    error_scales: Mapping[str, Mapping[int, float]] | None = None
    end_point_error: Array | None = None
    true_error: Array | None = None
    landmarks: LandmarkErrors | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the fixed grid."""
        return self.fixed.shape

    @property
    def error_widths(self) -> dict[str, float]:
        """By label: half-width of the interval of `error_95` along its contour, in units of `error_95`."""
        scales = self.error_scales or {}
        return {label: levels[max(levels)] for label, levels in scales.items()}

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name, without those that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(Maps)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def at(self, index: int) -> Self:
        """Return one slice along the last axis of 3D maps, with the displacement in its plane."""
        slices: dict[str, Any] = {name: array[..., index] for name, array in self.arrays().items()}
        for name in ("displacement", "true_error"):
            if name in slices:
                slices[name] = slices[name][:2]
        landmarks = None if self.landmarks is None else self.landmarks.at(index)
        return replace(self, spacing=self.spacing[:2], landmarks=landmarks, **slices)
