"""A registrar with a calibration: every registration says how wrong it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.samples.intensity import Intensity, WorkingSpacing
from heteroreg.data.samples.preparation import (
    SMALLEST_AXIS,
    Preparation,
    joined_slices,
    resample,
)
from heteroreg.registration.alignment import Aligned
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.features import features_of
from heteroreg.registration.intensities import residual_images
from heteroreg.registration.model import at_least
from heteroreg.registration.result import Registration
from heteroreg.spatial.grids import resample_map
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError
from heteroreg.uncertainty.calibration import Calibration, statistics_of, with_learned
from heteroreg.uncertainty.calibration_file import read_calibration
from heteroreg.uncertainty.displacement_error import DisplacementError
from heteroreg.uncertainty.error import ErrorEstimator, error_sd
from heteroreg.uncertainty.features import Features, for_combination
from heteroreg.uncertainty.noise import NoiseEstimator
from heteroreg.uncertainty.noise import noise_sd as estimated_noise_sd

SLICES_IN_PART = 8  # of a stack, whose features are taken at once


class OtherModelError(UserError):
    """A calibration is that of another registrar."""


@dataclass(frozen=True)
class Calibrated(BaseRegistrar):
    """A registrar whose registrations have `error_95` and intervals of the label sizes.

    Attributes:
        registrar: The registrar, without an initial alignment of its own.
        calibration: Its calibration.
        estimator: The error estimator of the calibration.
        noise: Its noise estimator, whose map replaces the registrar's; None without one.
    """

    registrar: BaseRegistrar
    calibration: Calibration
    estimator: ErrorEstimator
    noise: NoiseEstimator | None = None

    @property
    def name(self) -> str:
        """Name of the registrar."""
        return self.registrar.name

    @property
    def identity(self) -> str:
        """The registrar's identity."""
        return f"{self.registrar.identity}, calibrated"

    @property
    def dims(self) -> int | None:
        """Number of axes that the images need at least."""
        return self.registrar.dims

    def __repr__(self) -> str:
        return f"Calibrated({self.registrar!r}, on {self.calibration.patients} patients)"

    def _register(self, moving: Image, fixed: Image, moving_labels: Image | None) -> Registration:
        registration = self.registrar.register(moving, fixed, moving_labels)
        calibration = self.calibration
        intensity = cast("Intensity", calibration.intensity)
        working = working_grid(fixed.grid, calibration.dims, cast("WorkingSpacing", calibration.spacing))
        own = working.same_as(fixed.grid)
        features, _ = features_of(
            self.registrar,
            resample(moving, working),
            fixed if own else resample(fixed, working),
            calibration.dims,
            intensity,
            again=calibration.again,
            registration=registration if own else None,
        )
        error = self._error(features, working, registration)
        noise_sd = registration.noise_sd
        if self.noise is not None:
            moved, onto, width = residual_images(registration, moving, fixed, calibration.dims, intensity)
            found = joined_slices(
                estimated_noise_sd(self.noise, moved, onto), calibration.dims, len(fixed.grid.shape)
            )
            noise_sd = fixed.with_array(found * np.float32(width))
        labels = registration.moving_labels or moving_labels
        return replace(registration, error=error, noise_sd=noise_sd, moving_labels=labels)

    def _error(self, features: Features, working: Grid, registration: Registration) -> DisplacementError:
        calibration, grid = self.calibration, registration.grid
        sds, logs = [], []
        for part in features.parts(SLICES_IN_PART):
            learned = error_sd(self.estimator, part.channels())
            logs.append(with_learned(learned, part.scalars()))
            sds.append(sd_of(calibration, logs[-1], learned, part))
        sd = on_grid(np.concatenate(sds), working, grid, calibration.dims)
        scalars = {name: np.concatenate([part[name] for part in logs]) for name in logs[0]}
        values = statistics_of(scalars, features.foreground)[1]
        return DisplacementError(
            sd=sd,
            displacement=registration.displacement,
            grid=grid,
            calibration=calibration,
            p_value=calibration.statistics.p_value(values),
            unlike=calibration.statistics.most_unlike(values),
        )


def with_calibration(registrar: BaseRegistrar, folder: str | Path) -> BaseRegistrar:
    """Return a registrar with the calibration in a folder.

    Args:
        registrar: The registrar.
        folder: The calibration's folder.

    Raises:
        UserError: The calibration is missing, damaged, or of another registrar.
    """
    calibration, estimator, noise = read_calibration(folder)
    if calibration.fingerprint != registrar.fingerprint():
        raise OtherModelError(
            f"{folder}: is the calibration of another model or of another version of it ({calibration.registrar}); "
            f"calibrate {registrar.name} again with `heteroreg calibrate`"
        )
    calibrated = Calibrated(registrar.by_grid(), calibration, estimator, noise)
    initial = getattr(registrar, "initial", "grid")
    return calibrated if initial == "grid" else Aligned(calibrated, initial)


def working_grid(fixed: Grid, dims: int, spacing: WorkingSpacing) -> Grid:
    """Return the grid that features are computed on: the fixed image's field of view at the working spacing."""
    grid = Preparation(dims, spacing).working_grid(fixed)
    return at_least(grid, SMALLEST_AXIS, dims)


def sd_of(calibration: Calibration, logs: Mapping[str, Floats], learned: Floats, features: Features) -> Floats:
    """Return σ (N, *shape) in mm, not yet scaled, from the logarithms of the maps by name."""
    if calibration.combination is None:
        return learned
    if not logs.keys() >= set(calibration.maps):  # a calibration of an earlier version takes these alone
        logs = for_combination(logs, features.moved, features.fixed)
    return calibration.combination(np.stack([logs[name] for name in calibration.maps], axis=-1))


def on_grid(values: Floats, working: Grid, grid: Grid, dims: int) -> Floats:
    """Return a map of slices or of one volume (N, *shape) on another grid, its edge continued outside."""
    whole = np.ascontiguousarray(joined_slices(values, dims, working.dims), dtype=np.float32)
    tensor = torch.from_numpy(whole)[None, None]
    return np.asarray(resample_map(tensor, working, grid)[0, 0].numpy())
