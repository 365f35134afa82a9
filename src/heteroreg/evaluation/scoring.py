"""The quantities that metrics are computed from, each computed once and only if a metric asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from heteroreg.evaluation import learn2reg
from heteroreg.evaluation.error import error_scores
from heteroreg.evaluation.surface import SurfaceDistances, surface_distances
from heteroreg.evaluation.truth import displacement_agreement, displacement_sd_size, noise_agreement
from heteroreg.evaluation.uncertainty import foreground_mask
from heteroreg.registration.maps import Maps
from heteroreg.spatial import warp
from heteroreg.spatial.regularity import determinant, sd_of_log
from heteroreg.system.arrays import Array, Doubles
from heteroreg.uncertainty.contours import contour_of
from heteroreg.uncertainty.sparsification import Sparsification, sparsification_curve

ScoringMode = Literal["standard", "reference", "learn2reg"]
# Rounding moves at most this much of a voxel to its neighbours.
ROUNDING = 1e-6


@dataclass(frozen=True)
class ImageScoring:
    """The quantities of a whole image, or of one of its slices.

    AUSE and AURG count all pixels, as published, and those of the foreground. Calibration and the uncertainty of
    the displacement count the foreground only: an empty background has neither residual nor motion.

    Attributes:
        maps: The maps of the registration.
        mode: How it is scored.
        intensity_range: Maximum minus minimum of the whole fixed image, the unit of residual and noise.
        background: Smallest values of the whole moved and fixed image; by default those of the maps.
    """

    maps: Maps
    mode: ScoringMode
    intensity_range: float
    background: tuple[float, float] | None = None

    @cached_property
    def jacobian(self) -> Doubles:
        """det(I + ∇u)."""
        return determinant(self.maps.displacement)

    @property
    def sd_log_jacobian(self) -> float:
        """Standard deviation of log det(I + ∇u), as the mode defines it."""
        spread = learn2reg.sd_shifted_log_jacobian if self.mode == "learn2reg" else sd_of_log
        return spread(self.jacobian)

    @cached_property
    def foreground(self) -> NDArray[np.bool_]:
        """Voxels where the moved or the fixed image is not background, see `foreground_mask`."""
        return foreground_mask(self.maps.moved, self.maps.fixed, self.background)

    @cached_property
    def residual_and_noise(self) -> tuple[Doubles, Doubles] | None:
        """fixed - moved and its predicted sd, in units of the intensity range; None without a noise map."""
        if self.maps.noise_sd is None or not self.intensity_range > 0:
            return None
        residual = (self.maps.fixed.astype(np.float64) - self.maps.moved) / self.intensity_range
        return residual, self.maps.noise_sd.astype(np.float64) / self.intensity_range

    @cached_property
    def foreground_noise(self) -> tuple[Doubles, Doubles] | None:
        """Residual and predicted sd of the foreground."""
        if self.residual_and_noise is None:
            return None
        residual, sd = self.residual_and_noise
        return residual[self.foreground], sd[self.foreground]

    @cached_property
    def curve(self) -> Sparsification | None:
        """Sparsification over all pixels; None without a noise map."""
        return _curve(self.residual_and_noise)

    @cached_property
    def curve_foreground(self) -> Sparsification | None:
        """Sparsification over the foreground; None without a noise map or a foreground."""
        return _curve(self.foreground_noise)

    @cached_property
    def displacement_sd(self) -> dict[str, float]:
        """Mean and variation of the displacement's uncertainty by metric; empty without one."""
        sd = self.maps.displacement_sd
        return {} if sd is None else displacement_sd_size(sd[self.foreground])

    @cached_property
    def truth(self) -> dict[str, float]:
        """Agreement of the predicted maps with the known truth by metric; empty where the truth is unknown."""
        maps, inside = self.maps, self.foreground
        values: dict[str, float] = {}
        if maps.displacement_sd is not None and maps.end_point_error is not None:
            sd, error = maps.displacement_sd[inside], maps.end_point_error[inside]
            values |= displacement_agreement(sd, error, len(maps.displacement))
        if maps.noise_sd is not None and maps.true_noise_sd is not None:
            values |= noise_agreement(maps.noise_sd[inside], maps.true_noise_sd[inside])
        return values

    @cached_property
    def error(self) -> dict[str, float]:
        """Scores of the intervals of the error against the known displacement; empty without either.

        The intervals are those along one direction: each axis along which voxels can move counts.
        """
        maps = self.maps
        if maps.error_95 is None or maps.error_scales is None or maps.true_error is None:
            return {}
        moving = np.asarray([axis.any() for axis in maps.displacement])
        errors = maps.true_error[moving][:, self.foreground]
        half = np.broadcast_to(maps.error_95[self.foreground], errors.shape)
        return error_scores(errors.ravel(), half.ravel(), maps.error_scales["all"])

    @cached_property
    def landmark_distances(self) -> tuple[Doubles, Doubles] | None:
        """Target registration error of each landmark in mm, and its distance before; None without landmarks."""
        found = self.maps.landmarks
        if found is None or not len(found.places):
            return None
        return np.linalg.norm(found.errors, axis=1), np.linalg.norm(found.before, axis=1)

    @cached_property
    def landmarks(self) -> dict[str, float]:
        """Scores of the intervals of the error at landmarks; empty without landmarks or a calibration.

        Each component along an axis that the registration moves along counts.
        """
        maps, found = self.maps, self.maps.landmarks
        if found is None or not len(found.places) or maps.error_95 is None or maps.error_scales is None:
            return {}
        errors = found.errors[:, : found.moving]
        half = ndimage.map_coordinates(maps.error_95, found.places.T, order=1, mode="nearest")
        return error_scores(errors.ravel(), np.repeat(half, errors.shape[1]), maps.error_scales["all"])


@dataclass(frozen=True)
class LabelScoring:
    """The quantities of one label.

    Attributes:
        maps: The maps of the registration.
        mode: How label maps are compared: `standard` or `reference`.
        label: The label.
    """

    maps: Maps
    mode: ScoringMode
    label: int

    @cached_property
    def fixed(self) -> NDArray[np.bool_]:
        """Mask of the label in the fixed image."""
        return np.asarray(self.maps.fixed_labels == self.label)

    @cached_property
    def moved(self) -> NDArray[np.bool_]:
        """Mask of the label in the moved image."""
        if self.mode == "standard":
            return np.asarray(self.maps.moved_labels == self.label)
        mask = _tensor(np.asarray(self.maps.moving_labels == self.label))
        moved = warp(mask[None], _tensor(self.maps.displacement), outside="zeros")
        return np.asarray(moved[0, 0].numpy() > ROUNDING)

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Distances between the surfaces of both masks: in mm, or in voxels in the mode `reference`."""
        return surface_distances(self.moved, self.fixed, self.maps.spacing if self.mode == "standard" else None)

    @cached_property
    def contour(self) -> dict[str, float]:
        """Scores of the intervals of the error along the contour; empty without a calibration or a contour."""
        maps = self.maps
        if maps.error_95 is None or maps.error_scales is None or not (self.moved.any() and self.fixed.any()):
            return {}
        contour = contour_of(self.moved[None], self.fixed[None], maps.spacing)
        name = str(self.label) if str(self.label) in maps.error_scales else "all"
        width = maps.error_widths[name]
        half = contour.mean(maps.error_95[None]) * np.float32(width)
        own = {level: scale / width for level, scale in maps.error_scales[name].items()}
        return error_scores(contour.error.astype(np.float64), half, own)

    @property
    def end_point_error(self) -> float | None:
        """Mean end-point error inside the fixed label in mm; None where the truth is unknown."""
        error = self.maps.end_point_error
        return None if error is None else float(error[self.fixed].mean())


def _curve(residual_and_noise: tuple[Doubles, Doubles] | None) -> Sparsification | None:
    if residual_and_noise is None:
        return None
    residual, sd = residual_and_noise
    return sparsification_curve(residual**2, sd)


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))[None]
