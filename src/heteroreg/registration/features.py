"""Features of a registration for the error estimator; they cost registrations of the same pair seen otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heteroreg.data.image import Image
from heteroreg.data.samples.intensity import Intensity
from heteroreg.data.samples.preparation import scale_of, slices_of
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.result import Registration
from heteroreg.spatial.fields import compose
from heteroreg.system.arrays import Floats
from heteroreg.uncertainty.features import Features


def features_of(
    registrar: BaseRegistrar,
    moving: Image,
    fixed: Image,
    dims: int,
    intensity: Intensity,
    *,
    again: bool,
    registration: Registration | None = None,
) -> tuple[Features, Floats]:
    """Register two images on one grid, and return what may foretell the error of the displacement.

    Args:
        registrar: The registrar, without an initial alignment of its own.
        moving: The moving image, on the grid of the fixed one.
        fixed: The fixed image.
        dims: 2 for registrations slice by slice, 3 for volumes.
        intensity: How intensities are scaled to [0, 1].
        again: Register also in the other order and under flips.
        registration: The registration of the two, if it is there already.

    Returns:
        The features, and the displacement (N, d, *shape) in voxels.
    """
    registration = registration or registrar.register(moving, fixed)
    scale = scale_of(fixed, intensity)
    spacing = np.asarray(fixed.grid.spacing[:dims], dtype=np.float32).reshape(-1, *[1] * dims)
    u = displacements(registration.displacement, dims)
    disagreement = spread = None
    if again:
        back = displacements(registrar.register(fixed, moving).displacement, dims)
        round_trip = compose(torch.from_numpy(back), torch.from_numpy(u)).numpy()
        disagreement = np.linalg.norm(round_trip * spacing, axis=1)
        spread = _spread(u, (_under_flip(registrar, moving, fixed, axes, dims) for axes in flips(dims)), spacing)

    def scalar(image: Image | None, unit: float) -> Floats | None:
        return None if image is None else slices_of(image.array.astype(np.float32) / np.float32(unit), dims)

    found = Features(
        moved=slices_of(_unit(registration.moved, moving, intensity), dims),
        fixed=slices_of(scale(fixed.array), dims),
        displacement=u * spacing,
        noise=scalar(registration.noise_sd, scale.high - scale.low),
        disagreement=disagreement,
        spread=spread,
        displacement_sd=scalar(registration.displacement_sd, 1.0),
    )
    return found, u


def _spread(u: Floats, others: Iterator[Floats], spacing: Floats) -> Floats:
    """Return the RMS length (N, *shape) in mm of the deviation of displacements from their mean.

    One at a time (Welford 1962): of a large stack they would not all fit into memory.
    """
    mean, squares, count = u.copy(), np.zeros_like(u[:, 0]), 1
    for other in others:
        count += 1
        before = (other - mean) * spacing
        mean += (other - mean) / count
        squares += (before * ((other - mean) * spacing)).sum(axis=1)
    return np.sqrt(squares / count)


def displacements(displacement: Floats, dims: int) -> Floats:
    """Return a displacement (d, *shape) as that of slices (N, 2, x, y), or of one volume (1, d, *shape)."""
    if displacement.shape[0] == dims:
        return np.ascontiguousarray(displacement[None], dtype=np.float32)
    return np.ascontiguousarray(np.moveaxis(displacement[:dims], -1, 0), dtype=np.float32)


def flips(dims: int) -> Iterator[tuple[int, ...]]:
    """Return the axes of each flip: every axis alone, and all together.

    >>> list(flips(2))
    [(0,), (1,), (0, 1)]
    """
    yield from combinations(range(dims), 1)
    yield tuple(range(dims))


def _under_flip(registrar: BaseRegistrar, moving: Image, fixed: Image, axes: Sequence[int], dims: int) -> Floats:
    """Return the displacement of the flipped pair, flipped back."""

    def flipped(image: Image) -> Image:
        return image.with_array(np.ascontiguousarray(np.flip(image.array, tuple(axes))))

    u = displacements(registrar.register(flipped(moving), flipped(fixed)).displacement, dims)
    u = np.flip(u, tuple(axis + 2 for axis in axes)).copy()
    for axis in axes:
        u[:, axis] = -u[:, axis]
    return np.asarray(u, dtype=np.float32)


def _unit(moved: Image, moving: Image, intensity: Intensity) -> NDArray[Any]:
    """Return the moved image in [0, 1], scaled as the moving image."""
    return scale_of(moving, intensity)(moved.array)
