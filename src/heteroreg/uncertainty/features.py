"""Inputs of the error estimator: maps of a registration that may foretell its error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.system.arrays import Floats
from heteroreg.system.memory import load_ndimage

# Small values that keep logarithms finite: of lengths in mm, and of intensities in [0, 1].
LENGTH, INTENSITY = 0.05, 0.005
# SD in voxels of the smoothing of residuals and gradients, and of the surroundings of a voxel.
SMOOTHING, SURROUNDINGS = 2.0, 6.0
# Variance of intensities in [0, 1] that counts as none; what keeps log(1 - correlation) finite.
FLAT, ALIKE = 1e-4, 0.02
DISSIMILARITY, NEARBY = "dissimilarity", ", surroundings"
SCALARS = ("residual", "gradient", "motion", "noise", "disagreement", "spread", "displacement_sd")


@dataclass(frozen=True)
class Features:
    """Maps of a registration on its working grid: N slices of a stack, or one volume.

    Attributes:
        moved: (N, *shape) in [0, 1].
        fixed: Likewise.
        displacement: û (N, d, *shape) in mm along the axes of the grid.
        noise: σ̂_I (N, *shape) on images in [0, 1]; None without a noise map.
        disagreement: |u(x) + u'(x + u(x))| in mm with u' the displacement of the pair in the other order; None if
            it was not registered that way.
        spread: RMS distance in mm of the displacements under flips from their mean; None without flips.
        displacement_sd: σ̂_z (N, *shape) in mm; None if the model has none.
    """

    moved: Floats
    fixed: Floats
    displacement: Floats
    noise: Floats | None = None
    disagreement: Floats | None = None
    spread: Floats | None = None
    displacement_sd: Floats | None = None

    @property
    def foreground(self) -> NDArray[np.bool_]:
        """Voxels (N, *shape) whose neighbourhood is not empty in both images."""
        bright = np.maximum(self.moved, self.fixed)
        return np.asarray(_smooth(bright) > 2 * INTENSITY)

    def scalars(self) -> dict[str, Floats]:
        """Return the logarithms (N, *shape) of the maps that may foretell the error, by the names of `SCALARS`."""
        return self._scalars

    @cached_property
    def _scalars(self) -> dict[str, Floats]:
        residual = np.sqrt(_smooth((self.fixed - self.moved) ** 2))
        gradient = np.linalg.norm(
            np.stack([np.gradient(self.moved, axis=axis) for axis in range(1, self.moved.ndim)]), axis=0
        )
        length = np.linalg.norm(self.displacement, axis=1)
        found: dict[str, Floats] = {
            "residual": np.log(residual + INTENSITY),
            "gradient": np.log(_smooth(gradient) + INTENSITY),
            "motion": np.log(length + LENGTH),
        }
        if self.noise is not None:
            found["noise"] = np.log(self.noise + INTENSITY)
        for name in ("disagreement", "spread", "displacement_sd"):
            values = getattr(self, name)
            if values is not None:
                found[name] = np.log(values + LENGTH)
        return {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}

    def parts(self, slices: int) -> Iterator[Features]:
        """Return the features of so many slices after the other, so that little memory is needed at once."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        for first in range(0, len(self.moved), slices):
            part: dict[str, Any] = {
                name: None if values is None else values[first : first + slices] for name, values in own.items()
            }
            yield Features(**part)

    def channels(self) -> Floats:
        """Return the inputs of the error estimator (N, C, *shape): images, displacement, and the scalars."""
        images = [self.moved - 0.5, self.fixed - 0.5, np.abs(self.fixed - self.moved)]
        motion = [0.1 * self.displacement[:, axis] for axis in range(self.displacement.shape[1])]
        return np.stack([*images, *motion, *self.scalars().values()], axis=1).astype(np.float32, copy=False)


def combination_maps(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the maps of `for_combination`, given those of its `logs`."""
    own = (*names, DISSIMILARITY)
    return (*own, *(name + NEARBY for name in own))


def for_combination(logs: Mapping[str, Floats], moved: Floats, fixed: Floats) -> dict[str, Floats]:
    """Return the maps that a combination takes: those given, the dissimilarity, and each in its surroundings.

    An error spreads farther than what foretells it, so each map is also averaged over a Gaussian around the voxel.

    Args:
        logs: Logarithms of maps (N, *shape) by name.
        moved: The moved image (N, *shape) in [0, 1].
        fixed: The fixed image, likewise.
    """
    own = {name: np.asarray(values, dtype=np.float32) for name, values in logs.items()}
    own[DISSIMILARITY] = dissimilarity(moved, fixed)
    return own | {name + NEARBY: _smooth(values, SURROUNDINGS) for name, values in own.items()}


def dissimilarity(moved: Floats, fixed: Floats) -> Floats:
    """Return log(1.02 - r) (N, *shape), r the correlation of two images in [0, 1] around each voxel.

    The correlation is weighted by a Gaussian; where both images are flat, r is 0.
    """
    moved, fixed = (np.asarray(image, dtype=np.float64) for image in (moved, fixed))
    means = _smooth(moved), _smooth(fixed)
    covariance = _smooth(moved * fixed) - means[0] * means[1]
    variances = [
        np.maximum(_smooth(image * image) - mean * mean, 0) + FLAT
        for image, mean in zip((moved, fixed), means, strict=True)
    ]
    correlation = covariance / np.sqrt(variances[0] * variances[1])
    return np.asarray(np.log(1 + ALIKE - np.clip(correlation, -1, 1)), dtype=np.float32)


def _smooth(images: Floats, sd: float = SMOOTHING) -> Floats:
    """Smooth each slice or volume with a Gaussian."""
    ndimage = load_ndimage()
    return np.asarray(ndimage.gaussian_filter(images, (0, *[sd] * (images.ndim - 1)), mode="nearest"))
